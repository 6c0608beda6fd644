//! Our attributes as those of OpenTelemetry.

use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Key, KeyValue, StringValue, Value as Out};

use crate::trace::Value;

/// An attribute of a span, event, link or resource.
pub(super) fn key_value((key, value): (String, Value)) -> KeyValue {
    KeyValue::new(key, to_value(value))
}

/// The value of one.
fn to_value(value: Value) -> Out {
    match value {
        Value::Text(text) => Out::String(string(text)),
        Value::Bool(is) => Out::Bool(is),
        Value::Int(number) => Out::I64(number),
        Value::Float(number) => Out::F64(number),
        Value::TextList(list) => Out::Array(Array::String(list.into_iter().map(string).collect())),
        Value::BoolList(list) => Out::Array(Array::Bool(list)),
        Value::IntList(list) => Out::Array(Array::I64(list)),
        Value::FloatList(list) => Out::Array(Array::F64(list)),
    }
}

/// The same in a log record.
pub(super) fn to_any_value(value: Value) -> AnyValue {
    match value {
        Value::Text(text) => AnyValue::String(string(text)),
        Value::Bool(is) => AnyValue::Boolean(is),
        Value::Int(number) => AnyValue::Int(number),
        Value::Float(number) => AnyValue::Double(number),
        Value::TextList(list) => {
            any_list(list.into_iter().map(|text| AnyValue::String(string(text))))
        }
        Value::BoolList(list) => any_list(list.into_iter().map(AnyValue::Boolean)),
        Value::IntList(list) => any_list(list.into_iter().map(AnyValue::Int)),
        Value::FloatList(list) => any_list(list.into_iter().map(AnyValue::Double)),
    }
}

/// A list in a log record.
pub(super) fn any_list(list: impl Iterator<Item = AnyValue>) -> AnyValue {
    AnyValue::ListAny(Box::new(list.collect()))
}

/// What a key means in a log record.
pub(super) fn any_map(members: impl IntoIterator<Item = (Key, AnyValue)>) -> AnyValue {
    AnyValue::Map(Box::new(members.into_iter().collect()))
}

fn string(text: Box<str>) -> StringValue {
    text.into_string().into()
}
