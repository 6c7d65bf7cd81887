//! How a message becomes JSON and back: proto3 JSON, with the freedoms of its parsers cut down to what the
//! specification says.
//!
//! Fields are lowerCamelCase; unknown ones are ignored; a missing one, and one that is `null`, has its default; an
//! enum value that is not known reads as the unspecified one, which is not written; a field that is given twice is refused.
//! What was read is then held against its bounds.

mod body;
mod refusal;
mod shape;

pub use refusal::ReadError;
pub use shape::Misshapen;

use crate::bounds;
use crate::invalid::{Invalid, Problem};
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
        decoded(body).map(|(message, _)| message)
    }

    /// Reads a body and holds it against its bounds.
    ///
    /// # Errors
    /// As [`Message::decode`], or a field breaks its bound.
    fn read(body: &[u8]) -> Result<Self, ReadError> {
        let (message, value) = decoded::<Self>(body)?;
        match message.validate() {
            Ok(()) => Ok(message),
            Err(invalid) => Err(ReadError::Invalid(with_what_came(invalid, &value))),
        }
    }

    /// The message as JSON.
    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a message is numbers, text and lists: all of it has a form in JSON")
    }
}

/// Reads a body, and keeps what it was read from.
fn decoded<M: Message>(body: &[u8]) -> Result<(M, Value), ReadError> {
    if body.len() > M::BODY_BYTES_MAX {
        return Err(ReadError::TooLong { bytes: body.len(), bytes_max: M::BODY_BYTES_MAX });
    }
    let mut value = body::object(body)?;
    drop_nulls(&mut value);
    let message = shape::message(&value).map_err(ReadError::Shape)?;
    Ok((message, value))
}

/// A name that is not known is lost once it was read as the unspecified one: people are told it all the same.
fn with_what_came(mut invalid: Invalid, value: &Value) -> Invalid {
    if let Problem::Unknown { came: came @ None, .. } = &mut invalid.problem {
        let field = invalid.field.split('.').try_fold(value, |value, name| value.get(name));
        *came = field.map(body::shown);
    }
    invalid
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

/// Takes the one member of a `oneof` that is set; two are an error. Each with its name.
pub(crate) fn only_one<T, E: serde::de::Error, const N: usize>(
    members: [(&'static str, Option<T>); N],
) -> Result<Option<T>, E> {
    let mut set = members.into_iter().filter_map(|(name, member)| Some((name, member?)));
    match (set.next(), set.next()) {
        (one, None) => Ok(one.map(|(_, member)| member)),
        (first, Some((second, _))) => {
            let first = first.map_or("", |(name, _)| name);
            Err(E::custom(format_args!("{first} and {second} are both given, and only one of them may be")))
        }
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

            /// The names of all of them, in the same order.
            pub const NAMES: &[&'static str] = &[$($text),+];

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

/// An enum of the specification, of which people are told what it may be.
pub(crate) trait Known: Default + PartialEq {
    /// Each name but that of the unspecified value.
    const NAMES: &'static [&'static str];
}

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

        impl $name {
            /// Whether it is absent, or a name that this version does not know. It is not written.
            pub fn is_unspecified(&self) -> bool {
                *self == Self::Unspecified
            }
        }

        impl $crate::wire::Known for $name {
            const NAMES: &'static [&'static str] = match Self::NAMES {
                [_, known @ ..] => known,
                [] => &[],
            };
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
