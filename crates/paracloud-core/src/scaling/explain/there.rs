//! What those that are there are worth, where they are not worth what the usual one is: so that a reader can add it up.

use super::super::record::Reasons;
use super::super::staffing::{Worth, WorthBy};
use super::{instance, per_second, thousandths};
use crate::ids::InstanceNumber;
use crate::page::Page;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The most lines; those that are worth least come first.
const LINES_MAX: usize = 8;
/// The most names in a line.
const NAMES_MAX: usize = 8;

/// A line for those that are alike, and one for those that are worth what the usual one is.
pub(super) fn say(page: &mut Page, reasons: &Reasons, app: &str) {
    let Some(unit) = reasons.unit.filter(|_| !reasons.worth.is_empty()) else { return };
    let mut alike: BTreeMap<Worth, Vec<InstanceNumber>> = BTreeMap::new();
    for (number, worth) in &reasons.worth {
        alike.entry(*worth).or_default().push(*number);
    }
    for (worth, numbers) in alike.iter().take(LINES_MAX) {
        let each = if numbers.len() > 1 { " each" } else { "" };
        let slots = thousandths(worth.milli);
        page.say("of these", &format!("{}: {slots}{each}: {}", names(numbers, app), why(worth.by)));
    }
    let hidden: usize = alike.values().skip(LINES_MAX).map(Vec::len).sum();
    if hidden > 0 {
        page.say("of these", &format!("and {hidden} more that are worth other figures"));
    }
    let count = usize::try_from(reasons.count).unwrap_or(usize::MAX);
    match count.saturating_sub(reasons.worth.len()) {
        0 => {}
        1 => page.say("of these", &format!("the other one: {}", thousandths(unit.slots_milli()))),
        usual => {
            page.say("of these", &format!("the other {usual}: {} each", thousandths(unit.slots_milli())));
        }
    }
}

/// Those of an app, as many as fit.
pub(super) fn names(numbers: &[InstanceNumber], app: &str) -> String {
    let shown: Vec<_> = numbers.iter().take(NAMES_MAX).map(|number| instance(app, *number)).collect();
    let hidden = numbers.len().saturating_sub(NAMES_MAX);
    let more = if hidden > 0 { format!(" and {hidden} more") } else { String::new() };
    shown.join(", ") + &more
}

fn why(by: WorthBy) -> String {
    match by {
        WorthBy::Usual => "nothing else is known of it".to_owned(),
        WorthBy::Capacity(milli) => format!("does {}", per_second(milli)),
        WorthBy::Cold { permille, warm_milli } => {
            format!("cold, {} % of {}", permille / 10, thousandths(warm_milli))
        }
        WorthBy::Starts => "does not serve yet".to_owned(),
        WorthBy::Overdue => "should serve long since, and is not counted on".to_owned(),
        WorthBy::Away => "has not served for some time, and is not counted on".to_owned(),
        WorthBy::Leaves => "leaves".to_owned(),
    }
}
