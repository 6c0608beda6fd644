//! Two channels, side by side.

/// One of each for the two channels, which never mix: what the *operator* of the services sees, and
/// what the *tenant* sees whose code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels<T> {
    /// The operator's.
    pub internal: T,
    /// The tenant's.
    pub user: T,
}

impl<T> Channels<T> {
    /// What `f` makes of each.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Channels<U> {
        Channels {
            internal: f(self.internal),
            user: f(self.user),
        }
    }

    /// By reference.
    pub fn as_ref(&self) -> Channels<&T> {
        Channels {
            internal: &self.internal,
            user: &self.user,
        }
    }

    /// Each with its partner.
    pub fn zip<U>(self, other: Channels<U>) -> Channels<(T, U)> {
        Channels {
            internal: (self.internal, other.internal),
            user: (self.user, other.user),
        }
    }

    /// The internal one, then the user's.
    pub fn iter(&self) -> std::array::IntoIter<&T, 2> {
        [&self.internal, &self.user].into_iter()
    }
}
