//! Which methods are told apart.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many there are at most. Peers may call what does not exist.
const MAX_METHODS: usize = 256;

/// How many of these may be known by the ids of their interfaces alone.
const MAX_BY_ID: usize = 128;

/// The methods that are told apart, on all threads.
#[derive(Debug, Default)]
pub(super) struct Methods {
    /// Locked only where a thread has a call of a method for which it has no attributes yet.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    names: HashSet<Arc<str>>,
    by_id: usize,
}

impl Methods {
    /// The name to count a call by, of which a call has returned or not; `None` where it is not told apart.
    pub(super) fn admit(&self, name: &str, has_returned: bool) -> Option<Arc<str>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.names.get(name) {
            return Some(name.clone());
        }
        // As `CallSpans` calls those of which nobody has said a name.
        let is_by_id = name.starts_with("0x");
        let may_enter = !is_by_id || (has_returned && known.by_id < MAX_BY_ID);
        if !may_enter || known.names.len() >= MAX_METHODS {
            return None;
        }
        known.by_id += usize::from(is_by_id);
        let name = Arc::<str>::from(name);
        known.names.insert(name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_those_with_a_name_whatever_peers_call() {
        let methods = Methods::default();
        let by_id = |n| methods.admit(&format!("{n:#x}/0"), true);
        let named = |n| methods.admit(&format!("Thing/{n}"), false);
        assert!((0..MAX_BY_ID).all(|n| by_id(n).is_some()));
        assert_eq!(by_id(MAX_BY_ID), None);
        let others = MAX_METHODS - MAX_BY_ID;
        assert!((0..others).all(|n| named(n).is_some()));
        assert_eq!(named(others), None);
        assert!(by_id(0).is_some() && named(0).is_some());
    }

    #[test]
    fn what_is_known_by_its_id_alone_must_have_returned_once() {
        let methods = Methods::default();
        assert_eq!(methods.admit("0xab/1", false), None);
        assert!(methods.admit("0xab/1", true).is_some());
        assert!(methods.admit("0xab/1", false).is_some());
    }
}
