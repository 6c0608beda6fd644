//! What some calls wait for.

use std::cell::RefCell;
use std::future::Future;

use futures::channel::oneshot;

/// Lets those go on who wait for it.
#[derive(Default)]
pub struct Gate {
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Gate {
    /// Lets those go on who wait now; who comes later waits for the next time.
    pub fn open(&self) {
        for waiting in self.waiting.take() {
            // Who no longer waits need not be told.
            let _ = waiting.send(());
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|waiting| !waiting.is_canceled());
        waiting.len()
    }

    pub(super) fn opened(&self) -> impl Future<Output = ()> + use<> {
        let (opened, waits) = oneshot::channel();
        self.waiting.borrow_mut().push(opened);
        async {
            let _ = waits.await;
        }
    }
}
