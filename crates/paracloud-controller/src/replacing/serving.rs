//! What comes in the place of another one is waited for, and gets its size.

use crate::control::Control;
use crate::ended::outcome;
use crate::orders::By;
use crate::person::{refused, rejection};
use paracloud_substrate::config::App;
use paracloud_substrate::figures::millis;
use paracloud_substrate::person::Refused;
use std::time::Duration;
use tokio::time::Instant;

/// One whose processes end before they serve is given up after so many.
const ENDED_MAX: u32 = 3;
/// It is looked so often whether a new instance serves, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// What takes no longer than this comes up, whatever its manifest says of moves, in milliseconds.
pub(crate) const COMES_UP_MS_MIN: u32 = 120_000;
/// Its size is waited for so long, in milliseconds.
const SIZE_MS_MAX: u64 = 30_000;

/// So long it is waited until a new instance of an app serves, in milliseconds.
pub(crate) fn comes_up_ms(app: &App) -> u64 {
    app.budgets.prepare_ms.saturating_add(app.budgets.switch_ms).max(COMES_UP_MS_MIN).into()
}

/// Waits until a new instance serves.
///
/// # Errors
/// It does not come up, or leaves again.
pub(super) async fn wait(control: &Control, app: &App, name: &str) -> Result<(), Refused> {
    let bound_ms = comes_up_ms(app);
    let until = Instant::now() + Duration::from_millis(bound_ms);
    let mut first = None;
    let within = loop {
        let record = control.views.of(name).and_then(|view| view.record).filter(|record| !record.gone);
        if record.as_ref().is_some_and(|record| record.served.is_some()) {
            return Ok(());
        }
        let incarnation = record.as_ref().map(|record| record.incarnation.0);
        first = first.or(incarnation);
        let ended = incarnation.zip(first).map_or(0, |(now, first)| now.saturating_sub(first));
        // Somebody took it away before it served.
        let has_left = first.is_some() && record.is_none() || control.leaving(name).is_some();
        if ended >= ENDED_MAX || has_left {
            break String::new();
        }
        if Instant::now() >= until {
            break format!(" within {}", millis(bound_ms));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    };
    let record = control.views.of(name).and_then(|view| view.record).filter(|record| !record.gone);
    let unready = record.and_then(|record| control.why_unready(name, &record));
    let why = unready.map_or_else(String::new, |it| format!(": {}: {}", it.asked, it.answered));
    let message = format!("{name} did not come up{within}{why}");
    Err(refused("not_serving", message, format!("look at `paracloud logs {name}`")))
}

/// What comes in the place of one that was given another size gets that too. Where it does not, it serves all the same.
pub(super) async fn same_size(control: &Control, instance: &str, substitute: &str, by: &By) {
    let size = |name: &str| control.views.of(name)?.record?.size;
    let Some(to) = size(instance).filter(|to| size(substitute) != Some(*to)) else { return };
    let heard = control.heard.subscribe();
    let resized = async {
        match control.resize(substitute, to, by).await {
            Err(rejected) => Some(rejection(control, substitute, rejected).message),
            Ok(operation) => match outcome(control, heard, substitute, operation).await {
                Err(refused) => Some(refused.message),
                Ok(ended) if ended.committed => None,
                Ok(ended) => Some(ended.cause.unwrap_or_else(|| "it was given up".to_owned())),
            },
        }
    };
    let bound = Duration::from_millis(SIZE_MS_MAX);
    let why = tokio::time::timeout(bound, resized).await;
    let why = why.unwrap_or_else(|_| Some("it takes longer than it is waited for".to_owned()));
    if let Some(why) = why {
        let what = format!("it does not have the size of {instance}, in whose place it came: {why}");
        control.keep_remark(substitute, None, what).await;
    }
}
