//! The wrappers that are alive, by what they wrap.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::{Rc, Weak};

use rustc_hash::FxBuildHasher;

use super::Direction;
use super::client::Node;

/// A capability that crosses: whose it is (brand, address) and which way calls on its wrapper go.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) brand: usize,
    pub(super) address: usize,
    pub(super) direction: Direction,
}

/// The wrappers alive. Each is taken out by its own drop.
#[derive(Default)]
pub(super) struct Wrappers {
    /// One of them needs no allocation, and many membranes have no other.
    first: Option<(Key, Weak<Node>)>,
    /// Keys are addresses of this process, chosen by its allocator and not by a peer: a fast hash is enough.
    more: HashMap<Key, Weak<Node>, FxBuildHasher>,
}

impl Wrappers {
    /// Where the wrapper of `key` is, or is to be.
    pub(super) fn place(&mut self, key: Key) -> &mut Weak<Node> {
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some((key, Weak::new()));
        }
        match &mut self.first {
            Some((first, node)) if *first == key => node,
            _ => self.more.entry(key).or_default(),
        }
    }

    /// Is there a wrapper of `key`?
    pub(super) fn has(&self, key: &Key) -> bool {
        let known = match &self.first {
            Some((first, node)) if first == key => Some(node),
            _ => self.more.get(key),
        };
        known.is_some_and(|node| node.strong_count() > 0)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// How many are alive on which calls go this way.
    pub(super) fn count(&self, direction: Direction) -> usize {
        let first = self.first.as_ref().map(|(key, node)| (key, node));
        let all = first.into_iter().chain(&self.more);
        let alive = all.filter(|(key, node)| key.direction == direction && node.strong_count() > 0);
        alive.count()
    }

    /// Takes out `node`, which is being dropped. After its last reference went and before it came here,
    /// another may have come in its place, which stays.
    pub(super) fn remove(&mut self, node: &Node) {
        let is_it = |known: &Weak<Node>| std::ptr::eq(known.as_ptr(), node);
        if self.first.as_ref().is_some_and(|(_, known)| is_it(known)) {
            self.first = None;
        } else if !self.more.is_empty()
            && let Entry::Occupied(entry) = self.more.entry(node.key())
            && is_it(entry.get())
        {
            entry.remove();
        }
    }

    /// Those that are alive.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Rc<Node>> {
        let first = self.first.as_ref().map(|(_, node)| node);
        let all = first.into_iter().chain(self.more.values());
        all.filter_map(Weak::upgrade)
    }

    /// Those that are alive.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = Rc<Node>> {
        let first = self.first.map(|(_, node)| node);
        let all = first.into_iter().chain(self.more.into_values());
        all.filter_map(|node| node.upgrade())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membrane::state::{Options, Ref, broken};

    fn key(address: usize) -> Key {
        Key {
            brand: 0,
            address,
            direction: Direction::Inbound,
        }
    }

    /// A wrapper of its own for what is at `address`, in its place.
    fn wrapped(wrappers: &mut Wrappers, address: usize) -> Rc<Node> {
        let hook = broken(capnp::Error::failed("x".into()));
        let node = Rc::new(Node::new(
            hook,
            key(address),
            false,
            None,
            Ref::new(Options::default()),
        ));
        let place = wrappers.place(key(address));
        assert!(place.upgrade().is_none(), "there is one already");
        *place = Rc::downgrade(&node);
        node
    }

    fn assert_known(wrappers: &mut Wrappers, node: &Rc<Node>) {
        let known = wrappers.place(node.key()).upgrade();
        assert!(known.is_some_and(|known| Rc::ptr_eq(&known, node)));
    }

    #[test]
    fn the_first_place_is_used_again() {
        let mut wrappers = Wrappers::default();
        for address in [1, 2, 1] {
            let node = wrapped(&mut wrappers, address);
            assert_known(&mut wrappers, &node);
            assert!(wrappers.first.is_some() && wrappers.more.is_empty());
            wrappers.remove(&node);
            assert!(wrappers.first.is_none());
        }
    }

    #[test]
    fn who_is_in_the_map_stays_the_same_when_the_first_place_is_free() {
        let mut wrappers = Wrappers::default();
        let first = wrapped(&mut wrappers, 1);
        let second = wrapped(&mut wrappers, 2);
        assert_known(&mut wrappers, &first);
        wrappers.remove(&first);
        assert_known(&mut wrappers, &second);
        let again = wrapped(&mut wrappers, 1);
        for node in [&second, &again, &second] {
            assert_known(&mut wrappers, node);
        }
        wrappers.remove(&second);
        assert_known(&mut wrappers, &again);
        wrappers.remove(&again);
        assert!(wrappers.first.is_none() && wrappers.more.is_empty());
        assert_eq!(wrappers.into_nodes().count(), 0);
    }

    #[test]
    fn who_came_in_the_place_of_one_that_is_dropped_stays() {
        let mut wrappers = Wrappers::default();
        for others in 0..2 {
            let keep: Vec<_> = (0..others).map(|n| wrapped(&mut wrappers, 9 + n)).collect();
            let old = wrapped(&mut wrappers, 1);
            // As its last reference is gone, and its drop has not come here.
            *wrappers.place(key(1)) = Weak::new();
            let new = wrapped(&mut wrappers, 1);
            wrappers.remove(&old);
            assert_known(&mut wrappers, &new);
            wrappers.remove(&new);
            assert_eq!(
                wrappers.more.len() + usize::from(wrappers.first.is_some()),
                keep.len()
            );
        }
    }

    #[test]
    fn there_is_one_while_it_is_alive() {
        let mut wrappers = Wrappers::default();
        let nodes = [1, 2].map(|address| wrapped(&mut wrappers, address));
        assert!([1, 2].iter().all(|&address| wrappers.has(&key(address))));
        assert!(!wrappers.has(&key(3)));
        // As their last references are gone, and their drops have not come here.
        for node in nodes {
            *wrappers.place(node.key()) = Weak::new();
        }
        assert!(![1, 2].iter().any(|&address| wrappers.has(&key(address))));
    }

    #[test]
    fn all_that_are_alive_are_found() {
        let mut wrappers = Wrappers::default();
        let mut nodes: Vec<_> = (1..4).map(|n| wrapped(&mut wrappers, n)).collect();
        drop(nodes.remove(1));
        let mut found: Vec<_> = wrappers.into_nodes().map(|n| n.key().address).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 3]);
    }
}
