//! What an application asked for, behind the operation that was opened because of that.

use super::{broken, role};
use crate::figures::{age, time_of_day};
use crate::telling::plain;
use paracloud_substrate::explained::{Asked, Explained, Role};

/// Before the second line of a text.
const UNDER: usize = 12;

/// When, what, and why. `None`: it was opened for another reason.
pub(super) fn text(explained: &Explained) -> Option<String> {
    let Asked { unix_ms, record } = explained.asked.as_ref()?;
    let ago = age(explained.now_unix_ms.saturating_sub(*unix_ms));
    let sight = &record.sight;
    let why = match plain(&sight.reason) {
        reason if reason.is_empty() => "it gave no reason".to_owned(),
        reason => reason,
    };
    let lines = [
        format!("{}, {} ({ago} ago)", role(Role::Opened, explained), time_of_day(*unix_ms)),
        format!("  asked     by the application itself, {}", sight.wish.text()),
        format!("  because   {why}"),
    ];
    Some(lines.map(|line| broken(&line, UNDER)).join("\n"))
}
