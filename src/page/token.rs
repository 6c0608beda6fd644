//! Who may see the page, where not everybody may.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, Result};

/// How long a token may be.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// What one has to know to see a page: 16 to 256 visible ASCII characters.
///
/// ```
/// # use capspan::page::Token;
/// let token: Token = "0f3c2a77c1f2448e9a51".parse()?;
/// assert!("short".parse::<Token>().is_err());
/// # Ok::<(), capspan::Error>(())
/// ```
#[derive(Clone)]
pub struct Token {
    text: Arc<str>,
    /// What a browser is given in its place: so the token itself lies in no cookie.
    cookie: Arc<str>,
}

impl Token {
    /// Is it this? The time that it takes does not tell how much of it was right.
    pub(super) fn is(&self, text: &str) -> bool {
        is_same(&self.text, text)
    }

    pub(super) fn is_cookie(&self, text: &str) -> bool {
        is_same(&self.cookie, text)
    }

    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }
}

impl FromStr for Token {
    type Err = Error;

    /// # Errors
    /// Invalid where it is too short, too long, or has other characters.
    fn from_str(text: &str) -> Result<Self> {
        if !LENGTHS.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let (least, most) = (LENGTHS.start(), LENGTHS.end());
            return Err(Error::invalid(format!(
                "a token for the page: {least} to {most} visible ASCII characters without spaces"
            )));
        }
        // Keys from the operating system, that nobody else has: the cookie of this process.
        let part = |part: u8| RandomState::new().hash_one(part);
        Ok(Self {
            text: text.into(),
            cookie: format!("{:016x}{:016x}", part(0), part(1)).into(),
        })
    }
}

fn is_same(known: &str, given: &str) -> bool {
    let (known, given) = (known.as_bytes(), given.as_bytes());
    let differs = known.iter().enumerate().fold(0, |differs, (at, byte)| {
        let other = given.get(at).copied().unwrap_or(!byte);
        std::hint::black_box(differs | (byte ^ other))
    });
    differs == 0 && known.len() == given.len()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_of_it_is_it() {
        let token: Token = "0123456789abcdef".parse().unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcdee",
            "0123456789abcde",
            "0123456789abcdef0",
        ] {
            assert!(!token.is(other), "{other}");
        }
        assert!(token.is_cookie(token.cookie()) && !token.is(token.cookie()));
    }

    #[test]
    fn what_can_be_guessed_or_not_be_sent_is_none() {
        for text in [
            "",
            "0123456789abcde",
            "0123456789abcd f",
            "0123456789abcdeä",
        ] {
            assert!(text.parse::<Token>().unwrap_err().is_invalid(), "{text}");
        }
        assert!("x".repeat(257).parse::<Token>().is_err());
    }

    #[test]
    fn it_is_not_printed() {
        let token: Token = "0123456789abcdef".parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
