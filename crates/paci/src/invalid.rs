//! What is wrong with a message: which field, which bound, and the size of what came.

use crate::bounds;
use crate::wire::Known;

/// A field that breaks its bound or its meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field in the message, as it stands in JSON: `estimate.schema.name`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A text or a list that is needed, and absent or empty.
    #[error("missing or empty, and it is needed")]
    Missing,
    /// A number that counts from 1, and is absent or 0.
    #[error("missing or 0, must be at least 1")]
    Zero,
    /// A number that may be absent, and is too small.
    #[error("{value}, must be at least {value_min}")]
    TooSmall {
        /// What came.
        value: u32,
        /// The bound.
        value_min: u32,
    },
    /// Of several fields, of which one is needed, there is none.
    #[error("none of {} is given, and one is needed", of.join(", "))]
    NoneOf {
        /// The fields.
        of: &'static [&'static str],
    },
    /// A text passes its bound.
    #[error("{bytes} bytes, at most {bytes_max}")]
    TooLong {
        /// What came.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A list passes its bound.
    #[error("{count} entries, at most {count_max}")]
    TooMany {
        /// What came.
        count: usize,
        /// The bound.
        count_max: usize,
    },
    /// A number passes its bound.
    #[error("{value}, at most {value_max}")]
    TooBig {
        /// What came.
        value: u32,
        /// The bound.
        value_max: u32,
    },
    /// Text of the wrong form.
    #[error("{came}, want {want}")]
    Malformed {
        /// What came, or how long it is.
        came: String,
        /// The form.
        want: &'static str,
    },
    /// A name that this version does not know, or none. To an upcall with it the answer is `UNSUPPORTED`.
    #[error("{}, want one of {}", came.as_deref().unwrap_or("missing"), known.join(", "))]
    Unknown {
        /// What came. `None`: nothing, or who holds the message against its bounds does not know it any more.
        came: Option<String>,
        /// The names that this version knows.
        known: &'static [&'static str],
    },
    /// The field does not belong beside the others.
    #[error("does not belong here: {why}")]
    OutOfPlace {
        /// The rule.
        why: &'static str,
    },
}

impl Invalid {
    pub(crate) const fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }
}

/// The form of a name: what may stand in a path, a label and a file name as it is.
const NAME: &str = "letters, digits and any of . _ - only";
/// The form of a text: it goes into logs and tables, so it must not steer a terminal.
const TEXT: &str = "text without control characters";
/// So much of a text that is refused is shown.
const QUOTED_BYTES_MAX: usize = 40;

/// Text of at most so many bytes, perhaps empty.
pub(crate) fn text(field: &'static str, value: &str, bytes_max: usize) -> Result<(), Invalid> {
    if value.len() > bytes_max {
        return Err(Invalid::new(field, Problem::TooLong { bytes: value.len(), bytes_max }));
    }
    if value.chars().any(char::is_control) {
        return Err(Invalid::new(field, Problem::Malformed { came: quoted(value), want: TEXT }));
    }
    Ok(())
}

/// Text that must not be empty.
pub(crate) fn needed_text(field: &'static str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() {
        return Err(Invalid::new(field, Problem::Missing));
    }
    text(field, value, bounds::STRING_BYTES_MAX)
}

/// A name: not empty, and of characters that need no escape anywhere.
pub(crate) fn name(field: &'static str, value: &str, bytes_max: usize) -> Result<(), Invalid> {
    if value.is_empty() {
        return Err(Invalid::new(field, Problem::Missing));
    }
    text(field, value, bytes_max)?;
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Invalid::new(field, Problem::Malformed { came: quoted(value), want: NAME }));
    }
    Ok(())
}

/// A list of names.
pub(crate) fn names(field: &'static str, values: &[String], count_max: usize) -> Result<(), Invalid> {
    count(field, values.len(), count_max)?;
    values.iter().try_for_each(|value| name(field, value, bounds::NAME_BYTES_MAX))
}

/// Lowercase hexadecimal digits and nothing else.
pub(crate) fn is_lowercase_hex(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A text as it is shown to people: what would steer a terminal is escaped, and a long one is cut.
pub(crate) fn quoted(text: &str) -> String {
    let cut = text.floor_char_boundary(QUOTED_BYTES_MAX);
    let more = if cut < text.len() { "…" } else { "" };
    format!("{:?}{more}", &text[..cut])
}

/// A message for people made to fit: cut between characters, control characters replaced.
pub(crate) fn fitting(message: &str) -> String {
    let cut = message.floor_char_boundary(bounds::MESSAGE_BYTES_MAX);
    message[..cut].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A list of at most so many entries.
pub(crate) fn count(field: &'static str, count: usize, count_max: usize) -> Result<(), Invalid> {
    if count > count_max {
        return Err(Invalid::new(field, Problem::TooMany { count, count_max }));
    }
    Ok(())
}

/// A number of at most so much.
pub(crate) fn at_most(field: &'static str, value: u32, value_max: u32) -> Result<(), Invalid> {
    if value > value_max {
        return Err(Invalid::new(field, Problem::TooBig { value, value_max }));
    }
    Ok(())
}

/// A number that counts from 1.
pub(crate) fn needed(field: &'static str, value: u32) -> Result<(), Invalid> {
    if value == 0 {
        return Err(Invalid::new(field, Problem::Zero));
    }
    Ok(())
}

/// A number that counts from 1 where it is there.
pub(crate) fn not_zero(field: &'static str, value: Option<u32>) -> Result<(), Invalid> {
    match value {
        Some(0) => Err(Invalid::new(field, Problem::TooSmall { value: 0, value_min: 1 })),
        Some(_) | None => Ok(()),
    }
}

/// An enum value other than its zero.
pub(crate) fn known<T: Known>(field: &'static str, value: &T) -> Result<(), Invalid> {
    if *value == T::default() {
        return Err(Invalid::new(field, Problem::Unknown { came: None, known: T::NAMES }));
    }
    Ok(())
}

/// Refuses a field that does not belong beside the others.
pub(crate) fn in_place(field: &'static str, belongs: bool, why: &'static str) -> Result<(), Invalid> {
    if !belongs {
        return Err(Invalid::new(field, Problem::OutOfPlace { why }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field_the_bound_and_the_size() {
        let error = text("message", &"x".repeat(201), bounds::MESSAGE_BYTES_MAX).unwrap_err();
        assert_eq!(error.to_string(), "message: 201 bytes, at most 200");
        assert_eq!(count("modes", 9, 8).unwrap_err().to_string(), "modes: 9 entries, at most 8");
        assert_eq!(at_most("etaMs", 7, 6).unwrap_err().to_string(), "etaMs: 7, at most 6");
        assert_eq!(
            needed("operation", 0).unwrap_err().to_string(),
            "operation: missing or 0, must be at least 1"
        );
        let zero = not_zero("concurrency", Some(0)).unwrap_err();
        assert_eq!(zero.to_string(), "concurrency: 0, must be at least 1");
        assert_eq!(not_zero("concurrency", None), Ok(()));
    }

    #[test]
    fn what_came_is_shown_so_far_that_it_is_known_again_and_steers_no_terminal() {
        let wrong = name("key", "a b", 64).unwrap_err();
        assert_eq!(wrong.to_string(), "key: \"a b\", want letters, digits and any of . _ - only");
        let steers = text("reason", "\u{1b}[2J", 200).unwrap_err();
        assert_eq!(steers.to_string(), "reason: \"\\u{1b}[2J\", want text without control characters");
        let long = name("key", &"ä".repeat(30), 64).unwrap_err().to_string();
        assert_eq!(long, format!("key: \"{}\"…, want letters, digits and any of . _ - only", "ä".repeat(20)));
    }

    #[test]
    fn a_text_that_steers_a_terminal_is_refused() {
        assert!(text("message", "all well", 200).is_ok());
        assert!(text("message", "\u{1b}[2J", 200).is_err());
        assert!(text("message", "two\nlines", 200).is_err());
    }

    #[test]
    fn a_name_needs_no_escape_anywhere() {
        assert!(name("key", "nightly-2026.05_a", 64).is_ok());
        for bad in ["", "a/b", "a b", "ä", "a%20"] {
            assert!(name("key", bad, 64).is_err(), "{bad}");
        }
    }
}
