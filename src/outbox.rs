//! What was written and is not sent yet: of several senders, all that must go before something else does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// Those who have something to send over one connection. Clones are the same one.
///
/// It keeps none of them alive, and costs next to nothing while there are none.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// In the order in which they came.
    senders: RefCell<BTreeMap<u64, Weak<dyn Sender>>>,
    /// How many they are. Asked with every call.
    count: Cell<usize>,
    next: Cell<u64>,
    unanswered: Cell<usize>,
}

/// That something was sent over the connection and is not answered. Dropping it says that it is over.
pub(crate) struct Unanswered(Outbox);

/// Who may have something to send.
pub(crate) trait Sender {
    /// Sends it now. It may run anybody's code, which may come back here.
    fn send_now(self: Rc<Self>);
}

/// That somebody has something to send. Dropping it takes it back.
pub(crate) struct Entry {
    outbox: Outbox,
    number: u64,
}

impl Outbox {
    /// Lets `sender` send before anything that must not overtake it. Once: then it is to enter again.
    pub(crate) fn enter(&self, sender: Weak<dyn Sender>) -> Entry {
        let number = self.inner.next.get();
        self.inner.next.set(number + 1);
        self.inner.change(|senders| senders.insert(number, sender));
        Entry {
            outbox: self.clone(),
            number,
        }
    }

    /// How much of what all of them have sent is not answered, also for those who are gone.
    pub(crate) fn unanswered(&self) -> usize {
        self.inner.unanswered.get()
    }

    /// Counts one more.
    pub(crate) fn sent(&self) -> Unanswered {
        self.inner.unanswered.set(self.unanswered() + 1);
        Unanswered(self.clone())
    }

    /// Lets all who have entered send. Who enters meanwhile is left for another time.
    #[inline]
    pub(crate) fn send_all(&self) {
        if self.inner.count.get() > 0 {
            self.send_until_now();
        }
    }

    fn send_until_now(&self) {
        let last = self
            .inner
            .senders
            .borrow()
            .last_key_value()
            .map(|(last, _)| *last);
        let Some(last) = last else {
            return;
        };
        while let Some(sender) = self.take_until(last) {
            if let Some(sender) = sender.upgrade() {
                sender.send_now();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.count.get() == 0 && self.inner.senders.borrow().is_empty()
    }

    fn take_until(&self, last: u64) -> Option<Weak<dyn Sender>> {
        self.inner.change(|senders| {
            let first = senders.first_entry()?;
            (*first.key() <= last).then(|| first.remove())
        })
    }
}

impl Inner {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, Weak<dyn Sender>>) -> T) -> T {
        let mut senders = self.senders.borrow_mut();
        let result = change(&mut senders);
        self.count.set(senders.len());
        result
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Self(outbox) = self;
        outbox.inner.unanswered.set(outbox.unanswered() - 1);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.outbox
            .inner
            .change(|senders| senders.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes that it sends, and does what it is to do within.
    struct Note<F: Fn()> {
        name: &'static str,
        log: Rc<RefCell<Vec<&'static str>>>,
        within: F,
    }

    impl<F: Fn()> Sender for Note<F> {
        fn send_now(self: Rc<Self>) {
            self.log.borrow_mut().push(self.name);
            (self.within)();
        }
    }

    #[derive(Default)]
    struct Setting {
        outbox: Outbox,
        log: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Setting {
        fn sender(&self, name: &'static str, within: impl Fn() + 'static) -> Rc<dyn Sender> {
            Rc::new(Note {
                name,
                log: self.log.clone(),
                within,
            })
        }
    }

    #[test]
    fn all_send_in_the_order_in_which_they_came_and_once() {
        let setting = Setting::default();
        let senders = ["a", "b", "c"].map(|name| setting.sender(name, || {}));
        let entries = senders
            .each_ref()
            .map(|sender| setting.outbox.enter(Rc::downgrade(sender)));
        setting.outbox.send_all();
        setting.outbox.send_all();
        assert_eq!(*setting.log.borrow(), ["a", "b", "c"]);
        drop(entries);
        assert!(setting.outbox.is_empty());
    }

    #[test]
    fn who_takes_it_back_or_is_gone_sends_nothing() {
        let setting = Setting::default();
        let senders = ["a", "b", "c"].map(|name| setting.sender(name, || {}));
        let [a, b, c] = senders;
        let [first, _second, _third] =
            [&a, &b, &c].map(|sender| setting.outbox.enter(Rc::downgrade(sender)));
        drop((first, b));
        setting.outbox.send_all();
        assert_eq!(*setting.log.borrow(), ["c"]);
    }

    #[test]
    fn who_sends_may_enter_again_and_that_is_for_another_time() {
        let setting = Setting::default();
        let (outbox, log) = (setting.outbox.clone(), setting.log.clone());
        let again = setting.sender("again", || {});
        let weak = Rc::downgrade(&again);
        let entries = Rc::new(RefCell::new(Vec::new()));
        let kept = entries.clone();
        let first = setting.sender("first", move || {
            kept.borrow_mut().push(outbox.enter(weak.clone()));
        });
        let _entry = setting.outbox.enter(Rc::downgrade(&first));
        setting.outbox.send_all();
        assert_eq!(*log.borrow(), ["first"]);
        setting.outbox.send_all();
        assert_eq!(*log.borrow(), ["first", "again"]);
        drop(entries);
    }

    #[test]
    fn what_must_go_before_something_else_goes_also_from_within() {
        let setting = Setting::default();
        let outbox = setting.outbox.clone();
        let first = setting.sender("first", move || outbox.send_all());
        let second = setting.sender("second", || {});
        let _entries = [&first, &second].map(|sender| setting.outbox.enter(Rc::downgrade(sender)));
        setting.outbox.send_all();
        assert_eq!(*setting.log.borrow(), ["first", "second"]);
    }
}
