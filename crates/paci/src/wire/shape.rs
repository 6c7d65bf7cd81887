//! A tree of JSON as a message: which field has another type than the specification says, and in words of the contract.

use super::body;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use std::fmt::{self, Display};

/// A field of another type than the specification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    /// Its path, as it stands in JSON; `None`: each field is what it should be, and not together.
    pub field: Option<String>,
    /// What came.
    came: String,
    /// What was wanted.
    why: Why,
}

/// What the machinery of types finds; where, it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// Another type is wanted.
    Want(&'static str),
    /// What is said in words.
    Said(String),
}

impl Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        match &self.why {
            Why::Want(want) => write!(f, "{}, want {want}", self.came),
            Why::Said(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for Misshapen {}

/// Reads a tree without `null` as a message.
pub(super) fn message<M: DeserializeOwned>(value: &Value) -> Result<M, Misshapen> {
    M::deserialize(Tree(value)).map_err(|Wrong(why)| {
        let (path, culprit) = culprit(value, &|fields| M::deserialize(Tree(fields)).is_err());
        let field = (!path.is_empty()).then(|| path.join("."));
        Misshapen { field, came: body::shown(culprit), why }
    })
}

/// The value because of which a value breaks, and its path: each alone is tried. An entry of a list has the path of the list.
fn culprit<'v>(value: &'v Value, breaks: &dyn Fn(&Value) -> bool) -> (Vec<&'v str>, &'v Value) {
    match value {
        // Whatever is in it: something else is wanted.
        Value::Object(_) if breaks(&Value::Object(serde_json::Map::new())) => (Vec::new(), value),
        Value::Array(_) if breaks(&Value::Array(Vec::new())) => (Vec::new(), value),
        Value::Object(fields) => {
            let alone = |name: &String, field: &Value| {
                Value::Object(serde_json::Map::from_iter([(name.clone(), field.clone())]))
            };
            let Some((name, field)) = fields.iter().find(|(name, field)| breaks(&alone(name, field))) else {
                return (Vec::new(), value);
            };
            let (rest, culprit) = culprit(field, &|inner| breaks(&alone(name, inner)));
            (std::iter::once(name.as_str()).chain(rest).collect(), culprit)
        }
        Value::Array(entries) => {
            let alone = |entry: &Value| Value::Array(vec![entry.clone()]);
            match entries.iter().find(|entry| breaks(&alone(entry))) {
                Some(entry) => culprit(entry, &|inner| breaks(&alone(inner))),
                None => (Vec::new(), value),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (Vec::new(), value),
    }
}

/// What is wrong, of a value that somebody else knows.
#[derive(Debug)]
struct Wrong(Why);

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Want(want) => write!(f, "want {want}"),
            Why::Said(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: Display>(said: T) -> Self {
        Self(Why::Said(said.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self(Why::Want(want(&wanted.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self(Why::Want(want(&wanted.to_string())))
    }
}

/// A type of this crate, in the words of the contract.
fn want(rust: &str) -> &'static str {
    match rust {
        "u32" => "a whole number from 0 to 4294967295",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        _ => "an object",
    }
}

/// A value that messages are made of.
#[derive(Clone, Copy)]
struct Tree<'v>(&'v Value);

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(entries) => visitor.visit_seq(SeqDeserializer::new(entries.iter().map(Tree))),
            Value::Object(fields) => visitor.visit_map(MapDeserializer::new(
                fields.iter().map(|(name, field)| (name.as_str(), Tree(field))),
            )),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'v> IntoDeserializer<'v, Wrong> for Tree<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
