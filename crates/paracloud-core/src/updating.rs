//! An instance that runs something else than its app is by now comes to a process of what counts.
//!
//! One that holds nothing, of an app that may have one more, is replaced: so never fewer serve. Any other gets a new process in
//! its place, in the mode that it offers.

use crate::register::Mode;
use serde::{Deserialize, Serialize};

/// What is known of an app of which one is to be updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Nothing is lost with a process of it.
    pub is_stateless: bool,
    /// So many it has, with the one that is to be updated.
    pub count: u32,
    /// So many it may have; `None`: one alone, of its own name.
    pub most: Option<u32>,
}

/// How an instance comes to its new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Another one is started, and it leaves once that serves. Where there may be none by then, it is restarted.
    Replace,
    /// It gets a new process where it is, in this mode.
    Update(Mode),
}

impl Standing {
    /// Whether another one may come in its place: where not, there is one way, whatever it offers.
    pub fn may_replace(self) -> bool {
        self.is_stateless && self.most.is_some_and(|most| self.count < most)
    }

    /// How one that offers this mode goes. Who hands over has something to hand over, whatever was said of its app.
    pub fn way(self, mode: Mode) -> Way {
        if mode == Mode::Restart && self.may_replace() { Way::Replace } else { Way::Update(mode) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Standing = Standing { is_stateless: true, count: 2, most: Some(3) };

    #[test]
    fn who_holds_nothing_is_replaced_where_there_may_be_one_more() {
        assert_eq!(WEB.way(Mode::Restart), Way::Replace);
        let full = Standing { count: 3, ..WEB };
        let one_alone = Standing { count: 1, most: None, ..WEB };
        let stateful = Standing { is_stateless: false, ..WEB };
        for other in [full, one_alone, stateful] {
            assert_eq!(other.way(Mode::Restart), Way::Update(Mode::Restart), "{other:?}");
            assert!(!other.may_replace(), "{other:?}");
        }
    }

    #[test]
    fn who_hands_over_is_updated_where_it_is() {
        assert_eq!(WEB.way(Mode::Handoff), Way::Update(Mode::Handoff));
    }
}
