//! The W3C `tracestate` list: what other tracing systems want carried along with a span context.

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use crate::{Error, Result};

/// How many members a list has at most.
const MAX_MEMBERS: usize = 32;
/// How many characters of a list are kept. W3C asks for at least as many.
const MAX_CHARS: usize = 512;
/// Members longer than this go first when a list is too long.
const LONG_MEMBER: usize = 128;
/// How long a key, or a value, is at most.
const MAX_PART: usize = 256;

/// A checked W3C `tracestate` list, most recent member first. Empty by default; a clone is cheap.
///
/// ```
/// # use capspan::trace::TraceState;
/// let mut state: TraceState = "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE".parse()?;
/// state.insert("congo", "ucfJifl5GOE")?;
/// assert_eq!(state.to_string(), "congo=ucfJifl5GOE,rojo=00f067aa0ba902b7");
/// # Ok::<(), capspan::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceState {
    /// `key=value` joined by commas, checked, within the limits; `None` for the empty list.
    list: Option<Rc<str>>,
}

impl TraceState {
    /// The empty list.
    pub const fn empty() -> Self {
        Self { list: None }
    }

    /// Is there no member?
    pub fn is_empty(&self) -> bool {
        self.list.is_none()
    }

    /// The list as it stands in the header; empty for the empty list.
    pub fn as_str(&self) -> &str {
        self.list.as_deref().unwrap_or_default()
    }

    /// The members as (key, value), most recent first; at most 32.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str()
            .split(',')
            .filter_map(|member| member.split_once('='))
    }

    /// The value of the member `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter()
            .find(|member| member.0 == key)
            .map(|member| member.1)
    }

    /// Puts a member in front, in place of one with the same key.
    ///
    /// Where the list gets longer than 32 members or 512 characters, members at the end are
    /// dropped, those longer than 128 characters first.
    ///
    /// # Errors
    /// Invalid unless `key` is 1 to 256 of `a-z 0-9 _ - * / @`, beginning with a letter or digit,
    /// and `value` 1 to 256 printable ASCII characters without `,` and `=`, not ending in a space.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<()> {
        if !is_key(key) || !is_value(value) {
            return Err(Error::invalid(format!(
                "trace state member {key:?}={value:?}"
            )));
        }
        let member = format!("{key}={value}");
        let others = self
            .as_str()
            .split(',')
            .filter(|other| !other.is_empty() && key_of(other) != key);
        let mut members: Vec<&str> = std::iter::once(member.as_str()).chain(others).collect();
        members.truncate(MAX_MEMBERS);
        *self = Self::shortened(members);
        Ok(())
    }

    fn shortened(mut members: Vec<&str>) -> Self {
        let mut chars = members.iter().map(|member| member.len() + 1).sum::<usize>();
        // One comma less than members.
        while chars > MAX_CHARS + 1 {
            let long = members
                .iter()
                .rposition(|member| member.len() > LONG_MEMBER);
            let removed = members.remove(long.unwrap_or(members.len() - 1));
            chars -= removed.len() + 1;
        }
        Self {
            list: (!members.is_empty()).then(|| members.join(",").into()),
        }
    }
}

impl FromStr for TraceState {
    type Err = Error;

    /// Reads a header value; several header lines are to be joined with commas before.
    ///
    /// White space around members and empty members are skipped. Of several members with one key,
    /// the first, which is the most recent, is kept. A list that is longer than 512 characters is
    /// shortened as by [`insert`](Self::insert).
    ///
    /// # Errors
    /// A peer's fault if a key or value is not as W3C Trace Context has it, or if there are more
    /// than 32 members.
    fn from_str(header: &str) -> Result<Self> {
        let mut members: Vec<&str> = Vec::new();
        for (index, member) in header
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .enumerate()
        {
            if index == MAX_MEMBERS {
                return Err(Error::malformed("tracestate: more than 32 members"));
            }
            match member.split_once('=') {
                Some((key, value)) if is_key(key) && is_value(value) => {
                    if !members.iter().any(|known| key_of(known) == key) {
                        members.push(member);
                    }
                }
                _ => return Err(Error::malformed("tracestate: a member is not key=value")),
            }
        }
        Ok(Self::shortened(members))
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({:?})", self.as_str())
    }
}

fn key_of(member: &str) -> &str {
    member.split_once('=').map_or(member, |parts| parts.0)
}

/// Level 2 allows every key that level 1 does.
fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    key.len() <= MAX_PART
        && bytes
            .next()
            .is_some_and(|first| matches!(first, b'a'..=b'z' | b'0'..=b'9'))
        && bytes.all(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'),
        )
}

fn is_value(value: &str) -> bool {
    (1..=MAX_PART).contains(&value.len())
        && !value.ends_with(' ')
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<String> {
        header
            .parse::<TraceState>()
            .ok()
            .map(|state| state.to_string())
    }

    #[test]
    fn w3c_conformance_of_a_list() {
        let key_256 = "a".repeat(256);
        let value_256 = "v".repeat(256);
        let cases: &[(&str, Option<&str>)] = &[
            ("", Some("")),
            ("foo=1", Some("foo=1")),
            ("foo=1,bar=2", Some("foo=1,bar=2")),
            ("foo=1 \t , \t bar=2, \t baz=3", Some("foo=1,bar=2,baz=3")),
            ("foo=1,", Some("foo=1")),
            (",,foo=1,,", Some("foo=1")),
            ("foo= 1", Some("foo= 1")),
            ("foo=1,foo=2", Some("foo=1")),
            ("0foo=1", Some("0foo=1")),
            ("foo@bar=1", Some("foo@bar=1")),
            ("t0_-*/@s0_-*/=1", Some("t0_-*/@s0_-*/=1")),
            (
                "foo=!\"#$%&'()*+-./0:;<>?@A[\\]^_`a{|}~",
                Some("foo=!\"#$%&'()*+-./0:;<>?@A[\\]^_`a{|}~"),
            ),
            ("foo", None),
            ("foo=", None),
            ("=1", None),
            ("foo=1=2", None),
            ("foo =1", None),
            ("FOO=1", None),
            ("foo.bar=1", None),
            ("@foo=1", None),
            ("_foo=1", None),
            ("foo=1;bar=2", None),
            ("foo=\u{e9}", None),
            ("foo=\t1", None),
            ("foo=\u{7f}", None),
        ];
        for (header, wanted) in cases {
            assert_eq!(read(header).as_deref(), *wanted, "{header:?}");
        }
        assert!(read(&format!("{key_256}=1")).is_some());
        assert!(read(&format!("{key_256}a=1")).is_none());
        assert!(read(&format!("foo={value_256}")).is_some());
        assert!(read(&format!("foo={value_256}v")).is_none());
    }

    #[test]
    fn more_than_32_members_are_refused() {
        let members: Vec<_> = (0..33).map(|i| format!("k{i}=1")).collect();
        assert_eq!(
            read(&members[..32].join(",")),
            Some(members[..32].join(","))
        );
        assert_eq!(read(&members.join(",")), None);
    }

    #[test]
    fn a_list_that_is_too_long_loses_long_members_then_the_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<_> = (0..10)
            .map(|i| format!("k{i}={}", "y".repeat(47)))
            .collect();
        let header = format!("{long},{}", short.join(","));
        assert_eq!(read(&header).unwrap(), short[..10].join(","));
        let header = format!("{},z=1", short.join(","));
        assert_eq!(read(&header).unwrap(), short.join(","));
    }

    #[test]
    fn exactly_512_characters_are_kept() {
        let (a, b) = (
            format!("a={}", "x".repeat(253)),
            format!("b={}", "y".repeat(254)),
        );
        let list = format!("{a},{b}");
        assert_eq!(list.len(), 512);
        assert_eq!(read(&format!("{list},c=1")), Some(format!("{a},c=1")));
        assert_eq!(read(&list), Some(list));
    }

    #[test]
    fn a_member_is_inserted_at_the_front_in_place_of_its_elder() {
        let mut state: TraceState = "a=1,b=2".parse().unwrap();
        state.insert("b", "3").unwrap();
        assert_eq!(state.as_str(), "b=3,a=1");
        assert_eq!((state.get("b"), state.get("c")), (Some("3"), None));
    }

    #[test]
    fn the_thirty_third_member_pushes_out_the_last() {
        let mut state = TraceState::empty();
        for i in 0..33 {
            state.insert(&format!("k{i}"), "1").unwrap();
        }
        assert_eq!(state.iter().count(), 32);
        assert_eq!(state.get("k0"), None);
        assert_eq!(state.iter().next(), Some(("k32", "1")));
    }

    #[test]
    fn a_bad_member_is_not_inserted() {
        let mut state = TraceState::empty();
        for (key, value) in [("", "1"), ("A", "1"), ("a", ""), ("a", "x,y"), ("a", "x ")] {
            assert!(state.insert(key, value).unwrap_err().is_invalid());
        }
        assert!(state.is_empty());
    }
}
