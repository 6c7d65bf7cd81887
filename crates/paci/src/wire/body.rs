//! The bytes of a body as a tree of JSON, and what is wrong with bytes that are none.
//!
//! A field that is given twice is refused: a parser that took one of the two would take what its sender may not have meant.

use super::ReadError;
use crate::invalid;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};
use std::fmt;

/// So many bytes before a fault are shown with it.
const NEAR_BYTES_MAX: usize = 20;

/// Reads a body that must be one JSON object.
pub(super) fn object(body: &[u8]) -> Result<Value, ReadError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ReadError::Empty);
    }
    let mut path = Path::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let read = Node(&mut path).deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    match read {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(ReadError::NotAnObject { came: kind(&other) }),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(match path.twice {
                Some(field) => ReadError::Twice { field, line, column },
                None if error.classify() == Category::Eof => ReadError::Cut { line, column },
                None => ReadError::NotJson { line, column, near: near(body, line, column) },
            })
        }
    }
}

/// What a value is, for people.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as it is shown to people: itself where it is short by nature.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => invalid::quoted(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
    }
}

/// What stands before a fault, and the byte of it.
fn near(body: &[u8], line: usize, column: usize) -> String {
    let line = body.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let end = column.min(line.len());
    String::from_utf8_lossy(&line[end.saturating_sub(NEAR_BYTES_MAX)..end]).into_owned()
}

/// Where a parser is, and the field that it met twice.
#[derive(Default)]
struct Path {
    names: Vec<String>,
    twice: Option<String>,
}

/// The value at this place.
struct Node<'p>(&'p mut Path);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element_seed(Node(&mut *self.0))? {
            entries.push(entry);
        }
        Ok(Value::Array(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            self.0.names.push(name.clone());
            if fields.contains_key(&name) {
                self.0.twice = Some(self.0.names.join("."));
                return Err(de::Error::custom("a field is given twice"));
            }
            let value = object.next_value_seed(Node(&mut *self.0))?;
            self.0.names.pop();
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        object(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_json_is_shown_with_its_place() {
        for (body, said) in [
            ("", "the body is empty, want a JSON object, such as {}"),
            (" \n", "the body is empty, want a JSON object, such as {}"),
            ("hello", "the body cannot be read as JSON at line 1, column 1: `h`"),
            (
                "{\"ttlMs\": 1,\n \"reason\": tru}",
                "the body cannot be read as JSON at line 2, column 15: ` \"reason\": tru}`",
            ),
            ("{}{}", "the body cannot be read as JSON at line 1, column 3: `{}{`"),
            ("{\"ttlMs\": 1", "the body ends at line 1, column 11, before its JSON does"),
            ("[]", "the body is a list, want a JSON object, such as {}"),
            ("7", "the body is a number, want a JSON object, such as {}"),
            ("null", "the body is null, want a JSON object, such as {}"),
        ] {
            assert_eq!(refused(body), said, "{body:?}");
        }
        let deep = refused(&"[".repeat(1_000));
        assert!(deep.starts_with("the body cannot be read as JSON at line 1, column 1"), "{deep}");
    }

    #[test]
    fn a_field_that_is_given_twice_is_named_with_its_place() {
        assert_eq!(refused(r#"{"a": 1, "a": 1}"#), "a: given twice, the second time at line 1, column 12");
        assert_eq!(
            refused("{\"told\": {\"list\": [{\"b\": 1, \"b\": null}]}}"),
            "told.list.b: given twice, the second time at line 1, column 31"
        );
        assert!(object(br#"{"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}, {"b": 1}]}"#).is_ok());
    }

    #[test]
    fn a_body_is_read_as_the_library_reads_it() {
        let body = r#"{"a": [1, -2, 0.5, 1e3, null, true], "b": {"c": "ä\u00e4\n"}, "d": {}}"#;
        assert_eq!(object(body.as_bytes()).unwrap(), serde_json::from_str::<Value>(body).unwrap());
    }
}
