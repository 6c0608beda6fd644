//! Values in places. The first place needs no allocation, and mostly there is no second.

use slab::Slab;

/// Keeps values, each in a place of its own until it is removed.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// Place zero.
    first: Option<T>,
    /// The other places, one more than the key.
    more: Slab<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            first: None,
            more: Slab::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Puts `value` into a place that is free.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> usize {
        match &mut self.first {
            first @ None => {
                *first = Some(value);
                0
            }
            Some(_) => self.more.insert(value) + 1,
        }
    }

    /// What is in `place`.
    #[inline]
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        match place.checked_sub(1) {
            None => self.first.as_mut(),
            Some(key) => self.more.get_mut(key),
        }
    }

    /// Takes out what is in `place`.
    #[inline]
    pub(crate) fn remove(&mut self, place: usize) -> Option<T> {
        match place.checked_sub(1) {
            None => self.first.take(),
            Some(key) => self.more.try_remove(key),
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let more = self.more.iter_mut().map(|(_, value)| value);
        self.first.iter_mut().chain(more)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        let more = self.more.into_iter().map(|(_, value)| value);
        self.first.into_iter().chain(more)
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_keeps_its_place() {
        let mut slots = Slots::default();
        let places: Vec<_> = (0..4).map(|n| slots.insert(n)).collect();
        assert_eq!(slots.remove(places[0]), Some(0));
        assert_eq!(slots.remove(places[2]), Some(2));
        assert_eq!(
            (slots.remove(places[0]), slots.remove(places[2])),
            (None, None)
        );
        let again = [slots.insert(10), slots.insert(12), slots.insert(13)];
        for (place, value) in again.into_iter().zip([10, 12, 13]) {
            assert_eq!(slots.get_mut(place).copied(), Some(value));
        }
        assert_eq!(slots.get_mut(places[1]).copied(), Some(1));
        assert_eq!(slots.get_mut(100), None);
        let mut all: Vec<_> = slots.into_values().collect();
        all.sort_unstable();
        assert_eq!(all, [1, 3, 10, 12, 13]);
    }

    #[test]
    fn empty_is_without_any_value() {
        let mut slots = Slots::default();
        assert!(slots.is_empty());
        let places = [slots.insert('a'), slots.insert('b')];
        assert_eq!(slots.len(), 2);
        slots.remove(places[0]);
        assert!(!slots.is_empty());
        slots.remove(places[1]);
        assert!(slots.is_empty());
    }
}
