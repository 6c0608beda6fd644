//! Who waits for the same call.
//!
//! A promise that is polled by several remembers the last one only. So, where there are several, it is
//! polled with the bell, which wakes all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::slots::Slots;

/// Wakes all who listen.
#[derive(Default)]
pub(super) struct Bell {
    listening: Mutex<Slots<Waker>>,
}

/// One who may be listening, for as long as it lives.
#[derive(Default)]
pub(super) struct Listener {
    place: Option<(Arc<Bell>, usize)>,
}

impl Bell {
    fn listening(&self) -> MutexGuard<'_, Slots<Waker>> {
        // Nothing that panics is done while it is held.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring(&self) {
        // Whoever is woken may come back here at once.
        let listening: Vec<Waker> = self.listening().iter_mut().map(|w| w.clone()).collect();
        for waker in listening {
            waker.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

impl Listener {
    /// Lets `waker` be woken by `bell`, the same each time.
    pub(super) fn listen(&mut self, bell: &Arc<Bell>, waker: &Waker) {
        let waker = waker.clone();
        let Some((_, place)) = self.place else {
            let place = bell.listening().insert(waker);
            self.place = Some((bell.clone(), place));
            return;
        };
        let known = bell
            .listening()
            .get_mut(place)
            .map(|known| std::mem::replace(known, waker));
        drop(known);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((bell, place)) = self.place.take() {
            let waker = bell.listening().remove(place);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_who_still_listen_are_woken() {
        let bell = Arc::new(Bell::default());
        let woken = [(); 3].map(|()| Arc::new(Woken::default()));
        let (mut first, mut second) = (Listener::default(), Listener::default());
        let counts = || [0, 1, 2].map(|at: usize| woken[at].0.load(Ordering::Relaxed));
        first.listen(&bell, &woken[0].clone().into());
        second.listen(&bell, &woken[1].clone().into());
        bell.ring();
        assert_eq!(counts(), [1, 1, 0]);
        // Another waker in the place of the one before.
        second.listen(&bell, &woken[2].clone().into());
        Waker::from(bell.clone()).wake();
        assert_eq!(counts(), [2, 1, 1]);
        drop(first);
        bell.ring();
        assert_eq!(counts(), [2, 1, 2]);
        drop(second);
        bell.ring();
        assert_eq!(counts(), [2, 1, 2]);
        assert_eq!(Arc::strong_count(&woken[1]), 1);
        assert_eq!(Arc::strong_count(&bell), 1);
    }
}
