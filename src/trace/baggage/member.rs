//! One member of the list, checked.

use std::fmt;

use super::percent::{self, is_octet};
use crate::{Error, Result};

/// `key=value;properties`, the value decoded.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Member {
    key: Box<str>,
    value: Box<str>,
    /// As they stand in the list, without white space.
    properties: Box<str>,
}

impl Member {
    /// One that this process makes.
    pub(super) fn new(key: &str, value: &str, properties: &str) -> Result<Self> {
        if !is_token(key) {
            return Err(Error::invalid(format!("baggage key {key:?}")));
        }
        let properties = match properties.is_empty() {
            true => Some(String::new()),
            false => read_properties(properties),
        };
        let Some(properties) = properties else {
            let error = format!("the properties of the baggage member {key}");
            return Err(Error::invalid(error));
        };
        Ok(Self {
            key: key.into(),
            value: value.into(),
            properties: properties.into(),
        })
    }

    /// One that came in.
    pub(super) fn read(text: &str) -> Result<Self> {
        let (pair, properties) = match text.split_once(';') {
            Some((pair, properties)) => (pair, read_properties(properties)),
            None => (text, Some(String::new())),
        };
        match (read_pair(pair), properties) {
            (Some((key, value)), Some(properties)) => Ok(Self {
                key: key.into(),
                value: percent::decode(value).into(),
                properties: properties.into(),
            }),
            _ => Err(Error::malformed(
                "baggage: a member is not key=value;properties",
            )),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }

    pub(super) fn properties(&self) -> &str {
        &self.properties
    }

    pub(super) fn encoded_len(&self) -> usize {
        let properties = match self.properties.len() {
            0 => 0,
            length => length + 1,
        };
        self.key.len() + 1 + percent::encoded_len(&self.value) + properties
    }
}

/// As it stands in the list.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.key)?;
        percent::encode(&self.value, f)?;
        match self.properties.is_empty() {
            true => Ok(()),
            false => write!(f, ";{}", self.properties),
        }
    }
}

/// Properties without the white space that may stand around each part; `None` where one is wrong.
fn read_properties(text: &str) -> Option<String> {
    let mut properties = String::with_capacity(text.len());
    for property in text.split(';') {
        if !properties.is_empty() {
            properties.push(';');
        }
        match property.contains('=') {
            true => {
                let (key, value) = read_pair(property)?;
                properties.extend([key, "=", value]);
            }
            false => {
                let key = trim(property);
                properties.push_str(is_token(key).then_some(key)?);
            }
        }
    }
    Some(properties)
}

/// A key and a value that is not decoded.
fn read_pair(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (trim(key), trim(value));
    (is_token(key) && value.bytes().all(is_octet)).then_some((key, value))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// What HTTP calls a token.
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}
