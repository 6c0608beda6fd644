//! Texts and attributes for people: on one line, whatever a peer has written.

use std::fmt;

use crate::trace::{Attribute, Value};

/// A text whose control characters are escaped, as not all subscribers escape those of a message.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| {
            if letter.is_control() {
                write!(f, "{}", letter.escape_debug())
            } else {
                write!(f, "{letter}")
            }
        })
    }
}

/// What there is, with commas between.
pub(super) fn list<T: fmt::Display>(
    items: impl IntoIterator<Item = T> + Clone,
) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (index, item) in items.clone().into_iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    })
}

/// `key=value`, texts in quotation marks.
pub(super) fn attributes<'a>(
    attributes: impl IntoIterator<Item = &'a Attribute> + Clone,
) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let shown = attributes.clone().into_iter().map(Shown);
        shown.enumerate().try_for_each(|(index, attribute)| {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{attribute}")
        })
    })
}

struct Shown<'a>(&'a Attribute);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", Text(&self.0.key))?;
        match &self.0.value {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bool(is) => write!(f, "{is}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::TextList(list) => write!(f, "{list:?}"),
            Value::BoolList(list) => write!(f, "{list:?}"),
            Value::IntList(list) => write!(f, "{list:?}"),
            Value::FloatList(list) => write!(f, "{list:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\u{1b}[31m\nb\u{9b}é".to_owned();
        assert_eq!(Text(&text).to_string(), "a\\u{1b}[31m\\nb\\u{9b}é");
    }

    #[test]
    fn attributes_stand_on_one_line() {
        let list = [
            Attribute::new("a\n", "x y\n\"z\""),
            Attribute::new("b", 1),
            Attribute::new("c", ["1", "\u{1b}"]),
            Attribute::new("d", 0.5),
            Attribute::new("e", [true]),
        ];
        assert_eq!(
            attributes(&list).to_string(),
            r#"a\n="x y\n\"z\"" b=1 c=["1", "\u{1b}"] d=0.5 e=[true]"#
        );
        assert_eq!(attributes(&[]).to_string(), "");
    }
}
