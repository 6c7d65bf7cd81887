//! What instances are called.
//!
//! An app without `scale` has one instance, of its own name: `sessions`. One with `scale` has numbered ones: `worker.1`,
//! `worker.2`, … No app has a `.` in its name, so a name says by itself whose it is; and it is safe as the name of a file.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most instances of one app, so the highest number of one.
pub const INSTANCES_PER_APP_MAX: u32 = 64;
/// The longest name of an app, in bytes.
pub const APP_BYTES_MAX: usize = 63;

/// The name of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    app: String,
    number: Option<u32>,
}

/// Why a text is no name of an instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// What would be the app's name is none.
    #[error(
        "an app has 1 to {APP_BYTES_MAX} lowercase letters, digits and hyphens, none of these at the ends"
    )]
    App,
    /// What stands behind the point is no number of an instance.
    #[error("behind the point stands the number of an instance, 1 to {INSTANCES_PER_APP_MAX}")]
    Number,
}

/// Whether an app can be called so.
pub fn is_app(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = name.starts_with('-') || name.ends_with('-');
    !name.is_empty() && name.len() <= APP_BYTES_MAX && !ends && name.bytes().all(allowed)
}

impl InstanceName {
    /// The one instance of an app without `scale`.
    ///
    /// # Errors
    /// No app can be called so.
    pub fn only(app: &str) -> Result<Self, NameError> {
        if is_app(app) { Ok(Self { app: app.to_owned(), number: None }) } else { Err(NameError::App) }
    }

    /// Instance `number` of an app with `scale`.
    ///
    /// # Errors
    /// No app can be called so, or the number is not from 1 to [`INSTANCES_PER_APP_MAX`].
    pub fn numbered(app: &str, number: u32) -> Result<Self, NameError> {
        if !(1..=INSTANCES_PER_APP_MAX).contains(&number) {
            return Err(NameError::Number);
        }
        Ok(Self { number: Some(number), ..Self::only(app)? })
    }

    /// Whose instance it is.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Its number; `None`: it is the only one.
    pub fn number(&self) -> Option<u32> {
        self.number
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((app, number)) = text.split_once('.') else { return Self::only(text) };
        let parsed = number.parse().ok().filter(|parsed: &u32| parsed.to_string() == number);
        let name = Self::only(app)?;
        Self::numbered(&name.app, parsed.ok_or(NameError::Number)?)
    }
}

impl TryFrom<String> for InstanceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            None => f.write_str(&self.app),
            Some(number) => write!(f, "{}.{number}", self.app),
        }
    }
}

/// Two names in the order in which people count: `worker.2` before `worker.10`. What is no name comes by its letters.
pub fn order(left: &str, right: &str) -> std::cmp::Ordering {
    match (left.parse::<InstanceName>(), right.parse::<InstanceName>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<InstanceName, NameError> {
        text.parse()
    }

    #[test]
    fn a_name_says_whose_instance_it_is_and_which() {
        let only = name("web-2").unwrap();
        assert_eq!((only.app(), only.number(), only.to_string()), ("web-2", None, "web-2".to_owned()));
        let second = name("worker.12").unwrap();
        let said = (second.app(), second.number(), second.to_string());
        assert_eq!(said, ("worker", Some(12), "worker.12".to_owned()));
        assert_eq!(InstanceName::numbered("worker", 12), Ok(second));
    }

    #[test]
    fn what_is_no_name_is_refused_and_each_name_is_spelt_in_one_way() {
        for text in ["", "-a", "a-", "A", "a_b", "a/b", "..", ".1", &"a".repeat(64), "a\0"] {
            assert_eq!(name(text), Err(NameError::App), "{text:?}");
        }
        for text in ["a.", "a.0", "a.01", "a.+1", "a.65", "a.1.2", "a.x", "a.99999999999", "a.-1"] {
            assert_eq!(name(text), Err(NameError::Number), "{text:?}");
        }
        assert!(serde_json::from_str::<InstanceName>("\"../etc\"").is_err());
        assert_eq!(serde_json::to_string(&name("a.64").unwrap()).unwrap(), "\"a.64\"");
    }

    #[test]
    fn instances_stand_in_the_order_in_which_people_count() {
        let mut names = ["worker.10", "web", "worker.2", "worker", "api.1"];
        names.sort_by(|left, right| order(left, right));
        assert_eq!(names, ["api.1", "web", "worker", "worker.2", "worker.10"]);
    }
}
