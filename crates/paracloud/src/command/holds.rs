//! `paracloud holds`: who asks to be left alone, from what, until when, and why.

use super::Context;
use crate::client;
use crate::failure::Failure;
use crate::figures::{age, time_of_day};
use crate::output::{Format, columns_of_stdout, say, say_object, table_with_why};
use crate::telling::plain;
use paracloud_substrate::names;
use paracloud_substrate::person::HeldOff;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Asks the controller and prints.
///
/// # Errors
/// There is no cloud here, or it does not answer.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let mut holds = client::status(&context.layout).await?.holds;
    holds.sort_by(|left, right| names::order(&left.instance, &right.instance).then(left.op.cmp(&right.op)));
    match context.format {
        Format::Json => say_object("holds", json!({ "ok": true, "holds": holds })),
        Format::Text => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            say(&text(&holds, u64::try_from(now.as_millis()).unwrap_or(u64::MAX), columns_of_stdout()))
        }
    };
    Ok(())
}

fn text(holds: &[HeldOff], now_unix_ms: u64, columns: Option<usize>) -> String {
    if holds.is_empty() {
        return "nobody asks to be left alone".to_owned();
    }
    let row = |hold: &HeldOff| {
        vec![
            hold.instance.clone(),
            hold.op.name().to_owned(),
            time_of_day(now_unix_ms.saturating_add(hold.remaining_ms)),
            // What has not passed is not said to have: the rest of a second counts as one.
            age(hold.remaining_ms.saturating_add(999)),
            plain(&hold.reason),
        ]
    };
    let rows: Vec<_> = holds.iter().map(row).collect();
    table_with_why(&["INSTANCE", "NOT TO BE", "UNTIL", "LEFT", "WHY"], &rows, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::message::HeldOp;

    #[test]
    fn who_asks_to_be_left_alone_is_shown_with_its_reason_and_its_end() {
        let held = |instance: &str, op, remaining_ms| HeldOff {
            instance: instance.to_owned(),
            op,
            remaining_ms,
            reason: "backup: until noon\u{1b}[2J".to_owned(),
        };
        let holds = [held("web", HeldOp::Move, 11_200), held("worker.2", HeldOp::Stop, 3_600_000)];
        let shown = text(&holds, 1_700_000_000_000, Some(80));
        assert!(!shown.contains('\u{1b}'), "what an application says is plain");
        insta::assert_snapshot!(format!("{shown}\n\n{}", text(&[], 0, None)));
    }
}
