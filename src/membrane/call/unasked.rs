//! A call that somebody wants to know the end of, and whose answer nobody waits for: only capabilities that
//! are pipelined on it are used. The driver waits in their place.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll};

use super::in_flight::{Hold, Kind};
use crate::membrane::state::{Ref, State};

/// Waits for the end of a call, and keeps nothing of it. It is woken when the call is gone.
struct Unasked<K: Kind, F> {
    membrane: Weak<State>,
    key: usize,
    number: u32,
    poll: F,
    kind: PhantomData<fn() -> K>,
}

/// The promise of the call that `hold` is on is being dropped. Lets the driver wait for its answer, by
/// `poll`, where the call goes on for others and its end is to be told.
pub(super) fn wait<K: Kind + 'static>(
    hold: &Hold<K>,
    poll: impl FnMut(Hold<K>, &mut Context<'_>) -> Poll<()> + Unpin + 'static,
) {
    let membrane = hold.membrane();
    let Some(tasks) = membrane.tasks() else {
        return;
    };
    let Some(number) = hold.leave_unasked() else {
        return;
    };
    tasks.spawn(Unasked {
        membrane: membrane.downgrade(),
        key: hold.key(),
        number,
        poll,
        kind: PhantomData,
    });
}

impl<K: Kind, F> Future for Unasked<K, F>
where
    F: FnMut(Hold<K>, &mut Context<'_>) -> Poll<()> + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Another call may be in its place.
        let hold = Ref::upgrade(&this.membrane)
            .and_then(|membrane| Hold::find(membrane, this.key, this.number));
        match hold {
            Some(hold) => (this.poll)(hold, cx),
            None => Poll::Ready(()),
        }
    }
}
