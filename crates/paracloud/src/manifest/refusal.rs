//! What is said of a text that is no manifest before any of its fields is looked at.

use super::node::{DEPTH_MAX, PARTS_MAX};
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

/// What is wrong with it.
pub(super) fn of(error: &Error) -> String {
    let error = error.without_snippet();
    too_much(error).unwrap_or_else(|| not_yaml(error))
}

/// It is YAML, and more of it than a manifest can be.
fn too_much(error: &Error) -> Option<String> {
    if let Error::Budget { breach, .. } = error {
        return beyond(breach);
    }
    let expands = matches!(
        error,
        Error::AliasReplayCounterOverflow { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. }
    );
    let words = error.to_string();
    // Within an alias the same breach is told in words alone.
    if expands || words.contains("budget breached: Nodes") || words.contains("budget breached: Events") {
        return Some(expansion());
    }
    if matches!(error, Error::RecursiveReferencesRequireWeakTypes { .. }) {
        return Some("an alias (*name) stands in what it stands for".to_owned());
    }
    // So is the bound of its own that the reader of brackets has.
    let deep = matches!(error, Error::AliasReplayStackDepthExceeded { .. })
        || words.contains("budget breached: Depth")
        || words.contains("recursion limit");
    deep.then(depth)
}

fn beyond(breach: &BudgetBreach) -> Option<String> {
    if matches!(breach, BudgetBreach::Depth { .. }) {
        return Some(depth());
    }
    if let BudgetBreach::AliasAnchorRatio { aliases, anchors } = breach {
        let noun = if *anchors == 1 { "anchor" } else { "anchors" };
        return Some(format!("{aliases} aliases (*name) are too many for {anchors} {noun} (&name)"));
    }
    if let BudgetBreach::Aliases { aliases } = breach {
        return Some(format!("{aliases} aliases (*name) are too many"));
    }
    if let BudgetBreach::Anchors { anchors } = breach {
        return Some(format!("{anchors} anchors (&name) are too many"));
    }
    if let BudgetBreach::Documents { documents } = breach {
        return Some(format!("{documents} documents are too many: each is an app"));
    }
    let expands = matches!(
        breach,
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } | BudgetBreach::ScalarBytes { .. }
    );
    expands.then(expansion)
}

fn expansion() -> String {
    format!("aliases expand beyond {PARTS_MAX} parts (each alias, *name, counts as what it stands for)")
}

fn depth() -> String {
    format!("is nested deeper than {DEPTH_MAX} levels")
}

fn not_yaml(error: &Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    format!("is not YAML: {}", text.split(" at line ").next().unwrap_or(text).trim_end_matches(','))
}
