//! A name behind something else.

use std::fmt;

use super::path::{check_name, check_names};
use super::{CallOptions, ClientProvider, Path, Provided};
use crate::error::Result;

/// What a name leads to from another provider. It asks that one, and adds its name behind; where the path has
/// no room for it, it fails ([`Error::is_limit`](crate::Error::is_limit)) before that one is asked.
#[derive(Clone)]
pub struct Property<P> {
    of: P,
    name: Box<str>,
    depth: usize,
}

impl<P: ClientProvider> Property<P> {
    /// What `name` leads to from `of`.
    ///
    /// # Errors
    ///
    /// A name that is empty ([`Error::is_invalid`](crate::Error::is_invalid)) or has more than
    /// [256 bytes](Path::MAX_NAME_BYTES), and one that stands behind [64](Path::MAX_NAMES) others
    /// ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn new(of: P, name: &str) -> Result<Self> {
        check_name(name)?;
        let depth = of.depth().saturating_add(1);
        check_names(depth)?;
        Ok(Self {
            of,
            name: name.into(),
            depth,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<P: ClientProvider> ClientProvider for Property<P> {
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided> {
        path.followed_by(&self.name, |path| self.of.client_for_one_call(path, call))
    }

    fn depth(&self) -> usize {
        self.depth
    }
}

impl<P> fmt::Debug for Property<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property")
            .field("name", &self.name)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}
