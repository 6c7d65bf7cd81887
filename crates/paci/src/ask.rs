//! `Ask`: what an application wants done with itself. It always expires, and is no right.

use crate::bounds;
use crate::invalid::{self, Invalid, Problem};
use crate::size::Size;
use crate::wire::{Message, only_one, wire_enum};
use serde::{Deserialize, Deserializer, Serialize};

/// `PUT /v1/ask`. One of each kind stands; the same kind said again replaces it, and for no time it withdraws it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AskRequest {
    /// How long it wants it, in milliseconds from receipt, at most [`bounds::ASK_MS_MAX`]; 0 withdraws it.
    pub valid_for_ms: u32,
    /// Why, for people.
    pub reason: String,
    /// What it wants. `None`: what this version does not know; it is refused.
    #[serde(flatten, deserialize_with = "only_one_wish", skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
}

/// What an application can want done with itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// To be moved to another node; which one is the cloud's choice.
    MoveMe(MoveMe),
    /// So many instances of its app.
    Replicas(Replicas),
    /// Another size of its own.
    Size(Size),
    /// To be drained and ended, and not started anew.
    RetireMe(RetireMe),
}

/// To be moved to another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveMe {}

/// So many instances of the app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Replicas {
    /// How many: 1 to [`bounds::REPLICAS_MAX`].
    pub count: u32,
}

/// To be drained and ended, and not started anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RetireMe {}

/// The field names of all wishes.
const WISHES: &[&str] = &["moveMe", "replicas", "size", "retireMe"];

impl Wish {
    /// Its field name in an ask.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MoveMe(_) => "moveMe",
            Self::Replicas(_) => "replicas",
            Self::Size(_) => "size",
            Self::RetireMe(_) => "retireMe",
        }
    }

    fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::MoveMe(_) | Self::RetireMe(_) => Ok(()),
            Self::Replicas(Replicas { count }) => {
                invalid::needed("replicas.count", *count)?;
                invalid::at_most("replicas.count", *count, bounds::REPLICAS_MAX)
            }
            Self::Size(size) => size.check(["size", "size.memoryKib", "size.cpuMillis"]),
        }
    }
}

impl Message for AskRequest {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::at_most("validForMs", self.valid_for_ms, bounds::ASK_MS_MAX)?;
        invalid::text("reason", &self.reason, bounds::MESSAGE_BYTES_MAX)?;
        let wish = self.wish.as_ref().ok_or(Invalid::new("wish", Problem::NoneOf { of: WISHES }))?;
        // Of one that is withdrawn only its kind counts.
        if self.valid_for_ms == 0 { Ok(()) } else { wish.validate() }
    }
}

wire_enum! {
    /// What became of an ask.
    pub enum Became {
        "BECAME_UNSPECIFIED",
        /// It is not decided yet, or waits for what passes by itself.
        Pending = "PENDING",
        /// It is being done, or is done.
        Granted = "GRANTED",
        /// It is not done, and the ask does not stand any more.
        Refused = "REFUSED",
    }
}

/// For how long an ask stands, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AskResponse {
    /// In milliseconds from now: what was asked for or less; 0: not at all.
    pub granted_valid_for_ms: u32,
    /// Why it is less than was asked for, what it waits for, or what is done, for people.
    pub message: String,
    /// What became of it, as far as that is known.
    #[serde(skip_serializing_if = "Became::is_unspecified")]
    pub became: Became,
    /// When the same said again is answered with more, in milliseconds from now, at most [`bounds::ASK_MS_MAX`]; 0: there is
    /// no more to be known.
    pub retry_after_ms: u32,
}

impl Message for AskResponse {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::at_most("grantedValidForMs", self.granted_valid_for_ms, bounds::ASK_MS_MAX)?;
        invalid::at_most("retryAfterMs", self.retry_after_ms, bounds::ASK_MS_MAX)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

fn only_one_wish<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Wish>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Wishes {
        move_me: Option<MoveMe>,
        replicas: Option<Replicas>,
        size: Option<Size>,
        retire_me: Option<RetireMe>,
    }
    let wishes = Wishes::deserialize(deserializer)?;
    only_one([
        ("moveMe", wishes.move_me.map(Wish::MoveMe)),
        ("replicas", wishes.replicas.map(Wish::Replicas)),
        ("size", wishes.size.map(Wish::Size)),
        ("retireMe", wishes.retire_me.map(Wish::RetireMe)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ReadError;

    #[test]
    fn a_wish_stands_beside_its_time_and_reason() {
        let ask = AskRequest {
            valid_for_ms: 5_000,
            reason: "the queue grows".into(),
            wish: Some(Wish::Replicas(Replicas { count: 3 })),
        };
        let text = String::from_utf8(ask.write()).unwrap();
        assert_eq!(text, r#"{"validForMs":5000,"reason":"the queue grows","replicas":{"count":3}}"#);
        assert_eq!(AskRequest::read(&ask.write()).unwrap(), ask);
    }

    #[test]
    fn nothing_and_two_things_at_once_are_no_wish() {
        let error = AskRequest::read(br#"{"validForMs":1,"cloneMe":{}}"#).unwrap_err();
        let none = "wish: none of moveMe, replicas, size, retireMe is given, and one is needed";
        assert_eq!(error.to_string(), none);
        let both = AskRequest::read(br#"{"validForMs":1,"moveMe":{},"retireMe":{}}"#);
        let Err(ReadError::Shape(both)) = both else { panic!("{both:?}") };
        assert_eq!(both.to_string(), "moveMe and retireMe are both given, and only one of them may be");
    }

    #[test]
    fn a_wish_that_is_withdrawn_needs_no_value() {
        for kind in ["replicas", "size", "moveMe", "retireMe"] {
            AskRequest::read(format!(r#"{{"validForMs":0,"{kind}":{{}}}}"#).as_bytes()).unwrap();
        }
        let stands = AskRequest::read(br#"{"validForMs":9000,"replicas":{}}"#).unwrap_err();
        assert_eq!(stands.to_string(), "replicas.count: missing or 0, must be at least 1");
        assert!(AskRequest::read(br#"{"validForMs":0}"#).is_err(), "which one is needed");
    }

    #[test]
    fn every_wish_is_named_where_one_is_missing() {
        let names = [
            Wish::MoveMe(MoveMe {}),
            Wish::Replicas(Replicas::default()),
            Wish::Size(Size::default()),
            Wish::RetireMe(RetireMe {}),
        ]
        .map(|wish| wish.name());
        assert_eq!(WISHES, names);
    }

    #[test]
    fn of_what_became_of_a_withdrawn_ask_nothing_is_written() {
        let text = String::from_utf8(AskResponse::default().write()).unwrap();
        assert_eq!(text, r#"{"grantedValidForMs":0,"message":"","retryAfterMs":0}"#);
    }
}
