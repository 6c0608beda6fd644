//! What is noted of a call, for who wants to know.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::membrane::client::Node;
use crate::membrane::inspect::{IntroducedBy, Introducing, Marked, Origin};
use crate::membrane::policy::{CallWatch, Scope};
use crate::membrane::state::State;

/// Of most calls nothing is noted.
#[derive(Default)]
pub(in crate::membrane) struct Noted {
    /// Whom the policy wants to be told of its end.
    watch: Option<Rc<dyn CallWatch>>,
    /// What the call is, as what introduces the capabilities in its messages.
    interface_id: u64,
    method_id: u16,
    /// Does anybody want to know what introduced them?
    is_inspected: bool,
    /// Was the watch told? It is asked for the call's mark afterwards as well.
    is_told: bool,
    /// What the call is known by beyond its [`Hold`](super::in_flight::Hold)s; zero: nothing.
    pub(super) number: u32,
    /// On what it was made, where that keeps a call that it is pipelined on: until it has ended.
    pub(in crate::membrane) on: Option<Rc<Node>>,
}

impl Noted {
    pub(in crate::membrane) fn new(
        watch: Option<Rc<dyn CallWatch>>,
        (interface_id, method_id): (u64, u16),
        is_inspected: bool,
    ) -> Self {
        Self {
            watch,
            interface_id,
            method_id,
            is_inspected,
            is_told: false,
            number: 0,
            on: None,
        }
    }

    /// The call itself, as what introduces capabilities in its results, or its parameters.
    #[inline]
    pub(super) fn origin(&self, in_results: bool) -> Option<Origin> {
        if !self.is_inspected {
            return None;
        }
        Some(Origin {
            by: IntroducedBy {
                interface_id: self.interface_id,
                method_id: self.method_id,
                in_results,
            },
            marked: self.watch.clone().map_or(Marked::Not, Marked::By),
        })
    }

    /// Who is to be told that it has ended, the first time.
    #[inline]
    pub(super) fn tell(&mut self) -> Option<Rc<dyn CallWatch>> {
        match std::mem::replace(&mut self.is_told, true) {
            true => None,
            false => self.watch.clone(),
        }
    }

    /// Is somebody to be told of its end who has not been?
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.watch.is_some() && !self.is_told
    }

    /// Takes it out; what the call is known by stays.
    pub(super) fn take(&mut self) -> Self {
        let number = self.number;
        let taken = std::mem::take(self);
        self.number = number;
        taken
    }

    pub(super) fn ended(mut self, result: Result<(), &capnp::Error>) {
        if let Some(watch) = self.tell() {
            watch.ended(result);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(watch) = self.tell() {
            watch.canceled();
        }
    }
}

/// While it lives, what crosses is introduced by the parameters of a call.
pub(super) fn introducing_params<'a>(
    noted: &Noted,
    membrane: &'a State,
) -> Option<Introducing<'a>> {
    let inspection = membrane.inspection()?;
    Some(inspection.introducing(noted.origin(false)?))
}

/// Begins a call of `method` on `target`: tells of it, and lets the capabilities in its parameters cross.
/// Fails where limits refuse it, or where the membrane is revoked: a policy may do that now.
pub(super) fn begin(
    target: &Rc<Node>,
    method: (u64, u16),
    cross: impl FnOnce(&Noted) -> capnp::Result<()>,
) -> capnp::Result<Noted> {
    let membrane = target.membrane();
    membrane.check_revoked()?;
    membrane.admit_call()?;
    let noted = target.call_begins(method);
    let begun = membrane.check_revoked().and_then(|()| {
        cross(&noted)?;
        membrane.check_revoked()
    });
    match begun {
        Ok(()) => Ok(noted),
        Err(error) => {
            noted.ended(Err(&error));
            Err(error)
        }
    }
}

/// What the work of a call on `target` runs in, where it runs on this side.
pub(super) fn scope(noted: &Noted, target: &Node) -> Option<Rc<dyn Scope>> {
    let own = noted.watch.clone().and_then(|watch| watch.scope());
    own.or_else(|| target.membrane().scope(target.direction()))
}

/// Lets work go on in its scope.
#[inline]
pub(super) fn within<T>(
    scope: Option<&Rc<dyn Scope>>,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let Some(scope) = scope else { return poll(cx) };
    let mut polled = None;
    scope.enter(&mut || {
        if polled.is_none() {
            polled = Some(poll(cx));
        }
    });
    // A scope that does not let it go on holds it up, and is asked again.
    polled.unwrap_or_else(|| {
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
