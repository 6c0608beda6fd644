//! The wrappers that are alive, by what they wrap.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::{Rc, Weak};

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
    more: HashMap<Key, Weak<Node>, BuildHasherDefault<AddressHasher>>,
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

/// Keys are addresses of this process, chosen by its allocator and not by a peer: mixing is enough.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Knuth's multiplicative hashing; the rotation lets high bits count in the next round.
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
