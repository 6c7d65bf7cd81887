//! What a guard is held for: the cloud is told when it holds up a seal.

use paci::bounds::STRING_BYTES_MAX;
use std::ops::Deref;
use std::sync::Arc;

/// A text that the contract takes: 1 to [`STRING_BYTES_MAX`] bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route(Arc<str>);

/// What stands for a name that is empty.
const NAMELESS: &str = "-";

impl From<&str> for Route {
    /// Made to fit: cut between characters, control characters replaced by question marks.
    fn from(text: &str) -> Self {
        let cut = &text[..text.floor_char_boundary(STRING_BYTES_MAX)];
        Self(match cut {
            "" => NAMELESS.into(),
            cut if cut.contains(char::is_control) => cut.replace(char::is_control, "?").into(),
            cut => cut.into(),
        })
    }
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use paci::answer::{Answer, Verdict};
    use paci::finding::{Blocked, Finding};
    use paci::names::AnswerCode;
    use paci::upcall::Upcall;
    use paci::wire::Message;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_too_long_is_cut_between_characters() {
        assert_eq!(&*Route::from("POST /transfer"), "POST /transfer");
        assert_eq!(&*Route::from(&*format!("a{}", "ä".repeat(100))), format!("a{}", "ä".repeat(63)));
        assert_eq!(&*Route::from("nightly\n\u{1b}[2J"), "nightly??[2J");
        assert_eq!(&*Route::from(""), "-");
    }

    proptest! {
        #[test]
        fn whatever_a_guard_is_held_for_can_be_told(text in "(?s).{0,200}") {
            let blocked = Blocked { route: Route::from(&*text).to_string(), held_ms: 1 };
            let seal = Upcall { operation: 1, attempt: 1, ..Upcall::default() };
            let answer = Answer::to(&seal, Verdict::Failed).because(AnswerCode::SealBlocked);
            prop_assert_eq!(answer.with(Finding::Blocked(blocked)).validate(), Ok(()));
        }
    }
}
