//! A table by ids that a peer may have chosen.

use std::collections::HashMap;

/// Small ids lie side by side, as those who give the lowest free id have them; all others in a map with a
/// secret hash, so that ids can be chosen neither to fill memory nor to collide.
#[derive(Debug)]
pub(super) struct Table<T> {
    dense: Vec<Option<T>>,
    sparse: HashMap<u32, T>,
    len: usize,
}

/// Ids below this may always lie side by side.
const ALWAYS_DENSE: usize = 64;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            dense: Vec::new(),
            sparse: HashMap::new(),
            len: 0,
        }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        match self.dense.get(id as usize) {
            Some(place @ Some(_)) => place.as_ref(),
            _ if self.sparse.is_empty() => None,
            _ => self.sparse.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.dense.get_mut(id as usize) {
            Some(place @ Some(_)) => place.as_mut(),
            _ if self.sparse.is_empty() => None,
            _ => self.sparse.get_mut(&id),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.dense.iter().flatten().chain(self.sparse.values())
    }

    /// Puts `value` in the place of what had that id.
    pub(super) fn insert(&mut self, id: u32, value: T) -> Option<T> {
        let at = id as usize;
        let old = if at < ALWAYS_DENSE + 2 * self.len && !self.is_sparse(id) {
            if at >= self.dense.len() {
                self.dense.resize_with(at + 1, || None);
            }
            self.dense[at].replace(value)
        } else if let Some(place @ Some(_)) = self.dense.get_mut(at) {
            place.replace(value)
        } else {
            self.sparse.insert(id, value)
        };
        self.len += usize::from(old.is_none());
        old
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let old = match self.dense.get_mut(id as usize) {
            Some(place @ Some(_)) => place.take(),
            _ if self.sparse.is_empty() => None,
            _ => self.sparse.remove(&id),
        };
        self.len -= usize::from(old.is_some());
        self.shrink();
        old
    }

    fn is_sparse(&self, id: u32) -> bool {
        !self.sparse.is_empty() && self.sparse.contains_key(&id)
    }

    /// What many had is given back when few are left.
    fn shrink(&mut self) {
        if self.len == 0 {
            if self.dense.capacity() > 4 * ALWAYS_DENSE {
                self.dense = Vec::new();
            }
            if self.sparse.capacity() > 4 * ALWAYS_DENSE {
                self.sparse = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numbers that look random, the same each time.
    fn numbers(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    #[test]
    fn it_is_a_map() {
        for seed in 1..50 {
            let mut next = numbers(seed);
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for _ in 0..2_000 {
                let id = match next() % 4 {
                    0 => next() as u32,
                    1 => u32::MAX - (next() % 8) as u32,
                    _ => (next() % 300) as u32,
                };
                let id = match next() % 2 {
                    0 => *model.keys().nth(next() as usize % 40).unwrap_or(&id),
                    _ => id,
                };
                match next() % 3 {
                    0 => assert_eq!(table.remove(id), model.remove(&id)),
                    1 => assert_eq!(table.insert(id, next()), model.insert(id, 0).map(|_| 0)),
                    _ => assert_eq!(table.get_mut(id).copied(), table.get(id).copied()),
                }
                if let Some(value) = table.get_mut(id) {
                    *value = 0;
                }
                assert_eq!(table.len(), model.len());
                assert_eq!(table.get(id), model.get(&id));
            }
        }
    }

    #[test]
    fn ids_far_apart_take_no_more_room_than_others() {
        let mut table = Table::default();
        for at in 0..1_000_u32 {
            table.insert(at.wrapping_mul(0x9E37_79B9), at);
        }
        assert!(table.dense.len() < 4_096, "{}", table.dense.len());
        let mut table = Table::default();
        for at in 0..1_000_u32 {
            table.insert(at, at);
        }
        assert!(table.sparse.is_empty());
    }

    #[test]
    fn an_empty_table_gives_its_room_back() {
        let mut table = Table::default();
        for id in 0..10_000 {
            table.insert(id, id);
        }
        for id in 0..10_000 {
            table.remove(id);
        }
        assert_eq!((table.len(), table.dense.capacity()), (0, 0));
    }
}
