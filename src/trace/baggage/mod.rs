//! W3C Baggage: what the first service of a trace wants the others to know.
//!
//! - `member`: one member of the list, checked.
//! - `percent`: how values are written in the list.

mod member;
mod percent;

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};
use member::Member;

/// Names with values that travel with a trace, from service to service: the W3C `baggage` list. Empty by
/// default.
///
/// Whoever is called sees it, and may hand it on: nothing secret belongs there, and nothing in it may be
/// believed. Values are any text; in the list they are percent-encoded.
///
/// ```
/// # use capspan::trace::Baggage;
/// let mut baggage: Baggage = "tenant=7, user=Am%C3%A9lie;seen".parse()?;
/// assert_eq!(baggage.get("user"), Some("Amélie"));
/// baggage.set("plan", "free; for now")?;
/// assert_eq!(baggage.to_string(), "tenant=7,user=Am%C3%A9lie;seen,plan=free%3B%20for%20now");
/// # Ok::<(), capspan::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    /// Checked, within the limits. A key may stand more than once, if it came so.
    members: Vec<Member>,
    /// Of the list that they make.
    bytes: usize,
}

impl Baggage {
    /// How many members a list has at most, as W3C has it.
    pub const MAX_MEMBERS: usize = 64;

    /// How many bytes a list has at most, as W3C has it.
    pub const MAX_BYTES: usize = 8192;

    /// Nothing.
    pub const fn new() -> Self {
        Self {
            members: Vec::new(),
            bytes: 0,
        }
    }

    /// What can be read of `list`, which came from a peer, and how many of its members were left out:
    /// those that are not as W3C Baggage has them, those beyond the first 64, and those that do not fit
    /// into 8,192 bytes.
    ///
    /// A value whose percent-encoding is no UTF-8 has U+FFFD in its place. Where `list` must be right as
    /// a whole, parse it.
    pub fn readable(list: &str) -> (Self, usize) {
        let mut baggage = Self::new();
        let left_out = members(list)
            .filter(|member| {
                let member = Member::read(member);
                member.and_then(|member| baggage.push(member)).is_err()
            })
            .count();
        (baggage, left_out)
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many bytes the list has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of `key`; where that stands more than once, the first.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key).map(Member::value)
    }

    /// What else is said of `key`, as it stands in the list, such as `ttl=30;sampled`; empty where there is
    /// nothing.
    pub fn properties(&self, key: &str) -> Option<&str> {
        self.find(key).map(Member::properties)
    }

    /// The members as (key, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|member| (member.key(), member.value()))
    }

    /// Sets the value of `key`, without properties: in its place if it is there, else at the end.
    ///
    /// # Errors
    ///
    /// A key that is not one or more of the letters, digits and ``!#$%&'*+-.^_`|~``
    /// ([`Error::is_invalid`](crate::Error::is_invalid)); more than 64 members, or more than 8,192 bytes in
    /// all ([`Error::is_limit`](crate::Error::is_limit)). Then nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.set_with_properties(key, value, "")
    }

    /// The same with properties, as they stand in the list: `ttl=30;sampled`.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); and properties that are not as W3C Baggage has them
    /// ([`Error::is_invalid`](crate::Error::is_invalid)).
    pub fn set_with_properties(&mut self, key: &str, value: &str, properties: &str) -> Result<()> {
        // Before anything of it is copied.
        check_bytes(key.len() + 1 + percent::encoded_len(value) + properties.len())?;
        let member = Member::new(key, value, properties)?;
        let mut changed = Self::new();
        let mut member = Some(member);
        for known in &self.members {
            if known.key() != key {
                changed.push(known.clone())?;
            } else if let Some(member) = member.take() {
                changed.push(member)?;
            }
        }
        if let Some(member) = member {
            changed.push(member)?;
        }
        *self = changed;
        Ok(())
    }

    /// Takes `key` out. Was it there?
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.key() != key);
        self.bytes = list_len(&self.members);
        self.members.len() < before
    }

    fn find(&self, key: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.key() == key)
    }

    fn push(&mut self, member: Member) -> Result<()> {
        if self.members.len() == Self::MAX_MEMBERS {
            return Err(Error::limit(format!(
                "the baggage would have {} members; the limit is {}",
                self.members.len() + 1,
                Self::MAX_MEMBERS
            )));
        }
        let comma = usize::from(!self.members.is_empty());
        let bytes = self.bytes + comma + member.encoded_len();
        check_bytes(bytes)?;
        self.members.push(member);
        self.bytes = bytes;
        Ok(())
    }
}

/// The members of a list, without white space around them. Empty ones are none.
fn members(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

fn list_len(members: &[Member]) -> usize {
    let commas = members.len().saturating_sub(1);
    members.iter().map(Member::encoded_len).sum::<usize>() + commas
}

fn check_bytes(bytes: usize) -> Result<()> {
    match bytes {
        0..=Baggage::MAX_BYTES => Ok(()),
        _ => Err(Error::limit(format!(
            "the baggage would have {bytes} bytes; the limit is {}",
            Baggage::MAX_BYTES
        ))),
    }
}

impl FromStr for Baggage {
    type Err = Error;

    /// Reads a header value; several header lines are to be joined with commas before. White space around
    /// members and empty members are skipped.
    ///
    /// # Errors
    ///
    /// A peer's fault if a member is not as W3C Baggage has it; more than 64 members, or 8,192 bytes as this
    /// writes them ([`Error::is_limit`](crate::Error::is_limit)).
    fn from_str(list: &str) -> Result<Self> {
        let mut baggage = Self::new();
        for member in members(list) {
            baggage.push(Member::read(member)?)?;
        }
        Ok(baggage)
    }
}

/// The list, as it stands in the header.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, member) in self.members.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            member.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Baggage({:?})", self.to_string())
    }
}

#[cfg(test)]
mod tests;
