//! The names that lead to a method.

use crate::error::{Error, Result};

/// The names that lead from a capability to a method, first one first: at most 64.
///
/// It is the caller's scratch list: cleared and used again it allocates nothing. Whoever makes the call puts the
/// names into the request; Cap'n Proto itself knows no properties.
#[derive(Debug, Default)]
pub struct Path<'a> {
    names: Vec<&'a str>,
    /// For how many names there must be room yet, as what is asked first comes before them.
    reserved: usize,
}

impl<'a> Path<'a> {
    /// How many names a path has at most.
    pub const MAX_NAMES: usize = 64;

    /// How many bytes a name has at most.
    pub const MAX_NAME_BYTES: usize = 256;

    /// No names.
    pub const fn new() -> Self {
        Self {
            names: Vec::new(),
            reserved: 0,
        }
    }

    /// The names, first one first.
    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Forgets all names.
    pub fn clear(&mut self) {
        self.names.clear();
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// As [`Property::new`](super::Property::new) for the name, and where there would be more than
    /// [`MAX_NAMES`](Self::MAX_NAMES) ([`Error::is_limit`](crate::Error::is_limit)). Then it is not added.
    pub fn push(&mut self, name: &'a str) -> Result<()> {
        check_name(name)?;
        self.check_room()?;
        self.names.push(name);
        Ok(())
    }

    /// Does what `attempt` does; if that fails or panics, the path is as it was before.
    pub fn attempt<T>(&mut self, attempt: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut undo = Undo {
            names: self.names.len(),
            reserved: self.reserved,
            is_committed: false,
            path: self,
        };
        let result = attempt(undo.path);
        undo.is_committed = result.is_ok();
        result
    }

    /// Does what `before` does, and adds `name`, for which there is room: that is made sure of first. If
    /// `before` fails or panics, the path is as it was.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), in which case `before` is not even called; else what `before` fails with.
    pub fn followed_by<T>(
        &mut self,
        name: &'a str,
        before: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        check_name(name)?;
        self.check_room()?;
        self.attempt(|path| {
            path.reserved += 1;
            let result = before(path)?;
            path.reserved -= 1;
            path.names.push(name);
            Ok(result)
        })
    }

    fn check_room(&self) -> Result<()> {
        check_names(self.names.len() + self.reserved + 1)
    }
}

/// What a path was, unless it is committed.
struct Undo<'p, 'a> {
    path: &'p mut Path<'a>,
    names: usize,
    reserved: usize,
    is_committed: bool,
}

impl Drop for Undo<'_, '_> {
    fn drop(&mut self) {
        if !self.is_committed {
            self.path.names.truncate(self.names);
        }
        self.path.reserved = self.reserved;
    }
}

/// May a path have this many names?
pub(super) fn check_names(names: usize) -> Result<()> {
    match names {
        0..=Path::MAX_NAMES => Ok(()),
        _ => Err(Error::limit(format!(
            "the path to a method would have {names} names; the limit is {}",
            Path::MAX_NAMES
        ))),
    }
}

pub(super) fn check_name(name: &str) -> Result<()> {
    match name.len() {
        0 => Err(Error::invalid("the name of a property is empty")),
        1..=Path::MAX_NAME_BYTES => Ok(()),
        bytes => Err(Error::limit(format!(
            "the name of a property has {bytes} bytes; the limit is {}",
            Path::MAX_NAME_BYTES
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    #[test]
    fn names_stand_in_the_order_in_which_they_lead() {
        let mut path = Path::new();
        let inner = |path: &mut Path<'_>| path.followed_by("a", |_| Ok(()));
        path.followed_by("b", inner).unwrap();
        path.push("c").unwrap();
        assert_eq!(path.names(), ["a", "b", "c"]);
    }

    #[test]
    fn what_fails_leaves_no_name() {
        let mut path = Path::new();
        path.push("kept").unwrap();
        let fails = |path: &mut Path<'_>| -> Result<()> {
            path.push("lost")?;
            Err(Error::failed("as it was asked to"))
        };
        path.attempt(fails).unwrap_err();
        path.followed_by("lost as well", fails).unwrap_err();
        assert_eq!(path.names(), ["kept"]);
        let panics = |path: &mut Path<'_>| -> Result<()> {
            path.push("lost")?;
            resume_unwind(Box::new("oh"))
        };
        let run = AssertUnwindSafe(|| path.followed_by("x", panics));
        assert!(catch_unwind(run).is_err());
        assert_eq!((path.names(), path.reserved), (&["kept"][..], 0));
    }

    #[test]
    fn a_path_has_at_most_64_names_and_that_is_seen_before_anything_is_done() {
        let mut path = Path::new();
        for _ in 0..63 {
            path.push("x").unwrap();
        }
        let two = |path: &mut Path<'_>| {
            path.followed_by("y", |path| {
                path.followed_by("z", |_| -> Result<()> { panic!("there is no room") })
            })
        };
        let error = two(&mut path).unwrap_err();
        assert!(error.is_limit());
        assert_eq!(
            error.reason(),
            "the path to a method would have 65 names; the limit is 64"
        );
        path.push("x").unwrap();
        assert!(path.push("x").unwrap_err().is_limit());
        assert_eq!(path.names().len(), 64);
    }

    #[test]
    fn a_name_has_between_1_and_256_bytes() {
        let mut path = Path::new();
        assert!(path.push("").unwrap_err().is_invalid());
        let long = "x".repeat(257);
        let error = path.push(&long).unwrap_err();
        assert_eq!(
            error.reason(),
            "the name of a property has 257 bytes; the limit is 256"
        );
        path.push(&long[..256]).unwrap();
        assert_eq!(path.names().len(), 1);
    }
}
