//! Attributes: what is said about a span or an event.

use std::borrow::Cow;

use super::limits::cut_text;

/// The value of an attribute. Made from the natural Rust types by `From`.
///
/// Texts are kept as they are, control characters included: who shows them escapes them, as JSON does. A NaN
/// keeps its bits on its way to another process.
///
/// ```
/// # use capspan::trace::Value;
/// assert_eq!(Value::from("GET"), Value::Text("GET".into()));
/// assert_eq!(Value::from(200), Value::Int(200));
/// assert_eq!(Value::from(["a", "b"]), Value::TextList(vec!["a".into(), "b".into()]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Box<str>),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; infinities and NaN are allowed.
    Float(f64),
    /// Several texts.
    TextList(Vec<Box<str>>),
    /// Several times yes or no.
    BoolList(Vec<bool>),
    /// Several whole numbers.
    IntList(Vec<i64>),
    /// Several numbers.
    FloatList(Vec<f64>),
}

impl Value {
    /// The bytes that count towards the limit on one value: a text's length (in a list at least
    /// 1), a number's 8, a boolean's 1.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) => 8,
            Self::TextList(list) => list.iter().map(|text| element_size(text)).sum(),
            Self::BoolList(list) => list.len(),
            Self::IntList(list) => list.len() * 8,
            Self::FloatList(list) => list.len() * 8,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What fits into `max` bytes of a value that is larger: a text cut at a character boundary,
    /// the first elements of a list. `None` if it fits as it is. A single number always fits.
    pub(super) fn cut_to(&self, max: usize) -> Option<Self> {
        match self {
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
            _ if self.size() <= max => None,
            Self::Text(text) => Some(Self::Text(cut_text(text, max).into())),
            Self::TextList(list) => {
                let mut size = 0;
                let fitting = list.iter().take_while(|text| {
                    size += element_size(text);
                    size <= max
                });
                Some(Self::TextList(fitting.cloned().collect()))
            }
            Self::BoolList(list) => Some(Self::BoolList(list[..max].to_vec())),
            Self::IntList(list) => Some(Self::IntList(list[..max / 8].to_vec())),
            Self::FloatList(list) => Some(Self::FloatList(list[..max / 8].to_vec())),
        }
    }

    /// About what it takes in memory: a list of empty texts is not free.
    fn footprint(&self) -> usize {
        match self {
            Self::TextList(list) => self.size() + list.len() * size_of::<Box<str>>(),
            _ => self.size(),
        }
    }
}

/// An empty text counts as well, so that no list is endless.
fn element_size(text: &str) -> usize {
    text.len().max(1)
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Dotted lower-case words by custom, e.g. `http.request.method`. An empty key is refused
    /// where the attribute is written on a span.
    pub key: Box<str>,
    /// What is said.
    pub value: Value,
}

impl Attribute {
    /// An attribute; nothing is checked before it is written on a span.
    pub fn new(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into().into_boxed_str(),
            value: value.into(),
        }
    }
}

/// What an attribute counts towards the limit on all of a span: its bytes, and 32 for itself.
pub(super) fn footprint(key: &str, value: &Value) -> usize {
    key.len() + value.footprint() + 32
}

/// Attributes in the order in which their keys were first set; a key stands once.
///
/// Looked up by walking the list: it is meant for the few (by default at most 128) that a span has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    list: Vec<Attribute>,
}

impl Attributes {
    /// No attributes; allocates nothing.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.iter()
            .find(|attribute| &*attribute.key == key)
            .map(|attribute| &attribute.value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.list.iter()
    }

    /// Sets `key` to `value` in its place, or at the end if it is new. Returns the value it had.
    pub fn insert(&mut self, key: impl AsRef<str> + Into<Box<str>>, value: Value) -> Option<Value> {
        upsert(&mut self.list, key, value)
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = &'a Attribute;
    type IntoIter = std::slice::Iter<'a, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        let mut all = Self::new();
        for attribute in attributes {
            all.insert(attribute.key, attribute.value);
        }
        all
    }
}

/// Sets a key in its place, or at the end of the list if it is new. Returns the value it had.
pub(super) fn upsert(
    list: &mut Vec<Attribute>,
    key: impl AsRef<str> + Into<Box<str>>,
    value: Value,
) -> Option<Value> {
    match list.iter_mut().find(|known| &*known.key == key.as_ref()) {
        Some(known) => Some(std::mem::replace(&mut known.value, value)),
        None => {
            let key = key.into();
            list.push(Attribute { key, value });
            None
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into_boxed_str())
    }
}

macro_rules! from_text {
    ($($text:ty),*) => {$(
        impl From<$text> for Value {
            fn from(text: $text) -> Self {
                Self::Text(text.into())
            }
        }

        impl From<Vec<$text>> for Value {
            fn from(list: Vec<$text>) -> Self {
                Self::TextList(list.into_iter().map(Into::into).collect())
            }
        }

        impl<const N: usize> From<[$text; N]> for Value {
            fn from(list: [$text; N]) -> Self {
                Self::TextList(list.into_iter().map(Into::into).collect())
            }
        }
    )*};
}

from_text!(&str, Box<str>, Cow<'_, str>);

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::TextList(list.into_iter().map(String::into_boxed_str).collect())
    }
}

impl From<&[&str]> for Value {
    fn from(list: &[&str]) -> Self {
        Self::TextList(list.iter().map(|text| Box::from(*text)).collect())
    }
}

macro_rules! from_scalar {
    ($one:ident, $list:ident, $wide:ty: $($scalar:ty),*) => {$(
        impl From<$scalar> for Value {
            fn from(scalar: $scalar) -> Self {
                Self::$one(<$wide>::from(scalar))
            }
        }

        impl From<Vec<$scalar>> for Value {
            fn from(list: Vec<$scalar>) -> Self {
                Self::$list(list.into_iter().map(<$wide>::from).collect())
            }
        }

        impl From<&[$scalar]> for Value {
            fn from(list: &[$scalar]) -> Self {
                Self::$list(list.iter().copied().map(<$wide>::from).collect())
            }
        }

        impl<const N: usize> From<[$scalar; N]> for Value {
            fn from(list: [$scalar; N]) -> Self {
                Self::$list(list.into_iter().map(<$wide>::from).collect())
            }
        }
    )*};
}

from_scalar!(Bool, BoolList, bool: bool);
from_scalar!(Int, IntList, i64: i64, i32, i16, i8, u32, u16, u8);
from_scalar!(Float, FloatList, f64: f64, f32);

/// A number above [`i64::MAX`] becomes the text of its digits.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::from(number.to_string()), Self::Int)
    }
}

/// A number above [`i64::MAX`] becomes the text of its digits.
impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_types_become_values() {
        assert_eq!(Value::from(String::from("a")), Value::Text("a".into()));
        assert_eq!(Value::from(true), Value::Bool(true));
        assert_eq!(Value::from(7_u32), Value::Int(7));
        assert_eq!(Value::from(1.5_f32), Value::Float(1.5));
        assert_eq!(Value::from(vec![1_i64, 2]), Value::IntList(vec![1, 2]));
        assert_eq!(Value::from([true]), Value::BoolList(vec![true]));
        assert_eq!(Value::from(&[0.5][..]), Value::FloatList(vec![0.5]));
        assert_eq!(
            Value::from(vec!["a".to_owned()]),
            Value::TextList(vec!["a".into()])
        );
    }

    #[test]
    fn a_number_too_large_for_an_int_keeps_its_digits() {
        assert_eq!(Value::from(5_usize), Value::Int(5));
        assert_eq!(
            Value::from(u64::MAX),
            Value::Text("18446744073709551615".into())
        );
    }

    #[test]
    fn a_key_stands_once_and_keeps_its_place() {
        let mut attributes = Attributes::new();
        assert_eq!(attributes.insert("a", 1.into()), None);
        assert_eq!(attributes.insert("b", 2.into()), None);
        assert_eq!(attributes.insert("a", 3.into()), Some(Value::Int(1)));
        let keys: Vec<_> = attributes.iter().map(|attribute| &*attribute.key).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(attributes.get("a"), Some(&Value::Int(3)));
        assert_eq!(attributes.get("c"), None);
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(Value::from("añb").cut_to(2), Some(Value::from("a")));
        assert_eq!(Value::from("añb").cut_to(3), Some(Value::from("añ")));
        assert_eq!(Value::from("añb").cut_to(4), None);
    }

    #[test]
    fn a_list_is_cut_to_the_elements_that_fit() {
        assert_eq!(
            Value::from([1_i64, 2, 3]).cut_to(17),
            Some(Value::from([1_i64, 2]))
        );
        assert_eq!(
            Value::from([true, false]).cut_to(1),
            Some(Value::from([true]))
        );
        assert_eq!(
            Value::from(["aa", "bbb", "c"]).cut_to(4),
            Some(Value::from(["aa"]))
        );
        assert_eq!(
            Value::from(["", "", ""]).cut_to(2),
            Some(Value::from(["", ""]))
        );
        assert_eq!(Value::from(1).cut_to(0), None);
    }
}
