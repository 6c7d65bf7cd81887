//! How a message becomes JSON and back: proto3 JSON, with the freedoms of its parsers cut down to what the
//! specification says.
//!
//! Fields are lowerCamelCase; unknown ones are ignored; a missing one, and one that is `null`, has its default; an
//! enum value that is not known reads as the unspecified one. What was read is then held against its bounds.

use crate::bounds;
use crate::invalid::Invalid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message of the contract.
///
/// ```
/// use paci::hold::HoldRequest;
/// use paci::wire::Message;
///
/// let hold = HoldRequest::read(br#"{"key": "payroll", "ttlMs": 60000, "unheardOf": [1, 2]}"#)?;
/// assert_eq!(hold.ttl_ms, 60_000);
/// assert_eq!(hold.reason, "");
/// # Ok::<(), paci::wire::ReadError>(())
/// ```
pub trait Message: Serialize + DeserializeOwned {
    /// Longest body that is read as this message.
    const BODY_BYTES_MAX: usize = bounds::BODY_BYTES_MAX;

    /// Holds the message against its bounds.
    ///
    /// # Errors
    /// The first field that breaks a bound.
    fn validate(&self) -> Result<(), Invalid>;

    /// Reads a body without holding it against its bounds: for who must answer an invalid message by its number.
    ///
    /// # Errors
    /// The body is too long, is not a JSON object, or a field has another type than the specification says.
    fn decode(body: &[u8]) -> Result<Self, ReadError> {
        if body.len() > Self::BODY_BYTES_MAX {
            return Err(ReadError::TooLong { bytes: body.len(), bytes_max: Self::BODY_BYTES_MAX });
        }
        let mut value: Value = serde_json::from_slice(body).map_err(ReadError::NotJson)?;
        if !value.is_object() {
            return Err(ReadError::NotAnObject);
        }
        drop_nulls(&mut value);
        Self::deserialize(&value).map_err(|cause| {
            let field = culprit(&value, &|fields| Self::deserialize(fields).is_err());
            ReadError::Shape(Misshapen { field, cause })
        })
    }

    /// Reads a body and holds it against its bounds.
    ///
    /// # Errors
    /// As [`Message::decode`], or a field breaks its bound.
    fn read(body: &[u8]) -> Result<Self, ReadError> {
        let message = Self::decode(body)?;
        message.validate()?;
        Ok(message)
    }

    /// The message as JSON.
    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a message is numbers, text and lists: all of it has a form in JSON")
    }
}

/// Why a body is not the message that was expected.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It passes its bound.
    #[error("body: {bytes} bytes, at most {bytes_max}")]
    TooLong {
        /// What came.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// It is not JSON.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but no object.
    #[error("the body is JSON but no object")]
    NotAnObject,
    /// A field has another type than the specification says.
    #[error("the body does not have the shape of the message")]
    Shape(#[source] Misshapen),
    /// A field breaks its bound.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A field of another type than the specification says.
#[derive(Debug, thiserror::Error)]
#[error("{}{cause}", field.as_ref().map_or_else(String::new, |field| format!("{field}: ")))]
pub struct Misshapen {
    /// Its path, as it stands in JSON; `None`: each field is what it should be, and not together.
    pub field: Option<String>,
    cause: serde_json::Error,
}

/// The path of the field because of which a value breaks: each alone is tried. An entry of a list has the path of the list.
fn culprit(value: &Value, breaks: &dyn Fn(&Value) -> bool) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let alone = |name: &String, field: &Value| {
                Value::Object(serde_json::Map::from_iter([(name.clone(), field.clone())]))
            };
            let (name, field) = fields.iter().find(|(name, field)| breaks(&alone(name, field)))?;
            let rest = culprit(field, &|inner| breaks(&alone(name, inner)));
            Some(rest.map_or_else(|| name.clone(), |rest| format!("{name}.{rest}")))
        }
        Value::Array(entries) => {
            let alone = |entry: &Value| Value::Array(vec![entry.clone()]);
            let entry = entries.iter().find(|entry| breaks(&alone(entry)))?;
            culprit(entry, &|inner| breaks(&alone(inner)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// In proto3 JSON `null` stands for the default, as absence does.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes the one member of a `oneof` that is set; two are an error.
pub(crate) fn only_one<T, E: serde::de::Error, const N: usize>(
    members: [Option<T>; N],
) -> Result<Option<T>, E> {
    let mut set = members.into_iter().flatten();
    match (set.next(), set.next()) {
        (one, None) => Ok(one),
        (_, Some(_)) => Err(E::custom("two members of a oneof are set; at most one may be")),
    }
}

/// Names that stand for values: an enum with its text, all its values, and its printed form.
macro_rules! names {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$value_meta])* $value,)+ }

        impl $name {
            /// Every value, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The name as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }

            /// The value of this name, if it is one.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

/// An enum of the specification: as [`names`], and its first value is the unspecified one, which an absent or unknown
/// name reads as.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $unspecified:literal, $($rest:tt)+ }) => {
        $crate::wire::names! {
            $(#[$meta])*
            #[derive(Default)]
            pub enum $name {
                /// Absent, or a name that this version does not know.
                #[default]
                Unspecified = $unspecified,
                $($rest)+
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::from_name(&name).unwrap_or_default())
            }
        }
    };
}
pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::HoldRequest;
    use crate::state::{State, StateChange};
    use proptest::prelude::*;

    #[test]
    fn an_unknown_field_is_ignored() {
        let change = StateChange::read(br#"{"state":"READY","mood":{"of":["the","day"]}}"#).unwrap();
        assert_eq!(change.state, State::Ready);
    }

    #[test]
    fn a_missing_field_and_a_null_have_the_default() {
        let hold = HoldRequest::read(br#"{"key":"k","ttlMs":null,"ops":null,"reason":null}"#).unwrap();
        assert_eq!(hold, HoldRequest { key: "k".into(), ..HoldRequest::default() });
    }

    #[test]
    fn an_unknown_enum_value_reads_as_unspecified() {
        let change = StateChange::decode(br#"{"state":"DREAMING"}"#).unwrap();
        assert_eq!(change.state, State::Unspecified);
    }

    #[test]
    fn a_body_that_passes_its_bound_is_not_even_parsed() {
        let body = vec![b'['; bounds::BODY_BYTES_MAX + 1];
        let error = StateChange::read(&body).unwrap_err();
        assert_eq!(error.to_string(), "body: 16385 bytes, at most 16384");
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["", "{", "null", "7", "[]", "\"READY\"", "{}{}"] {
            assert!(StateChange::decode(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_refused() {
        for body in [
            r#"{"ttlMs":"60000"}"#,
            r#"{"ttlMs":-1}"#,
            r#"{"ttlMs":1.5}"#,
            r#"{"ttlMs":4294967296}"#,
            r#"{"ops":"move"}"#,
            r#"{"key":7}"#,
        ] {
            assert!(matches!(HoldRequest::decode(body.as_bytes()), Err(ReadError::Shape(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn reading_any_bytes_gives_a_message_or_an_error(body in any::<Vec<u8>>()) {
            let _ = HoldRequest::read(&body);
        }
    }
}
