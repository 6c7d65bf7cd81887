//! What was lost with a cloud, or with an app of it, written into its journal when no controller lives that could.

use crate::held::Held;
use paracloud_controller::Ledger;
use paracloud_controller::store::{Options, StoreError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Consent, Event, Loss, What};
use std::time::{SystemTime, UNIX_EPOCH};

/// Keeps that a person consented to the end of what these held. Where there is no journal there is nothing to keep it in;
/// that it could not be kept changes nothing about the end.
pub fn keep(layout: &Layout, held: &[Held], by: Loss) {
    if held.is_empty() || !layout.controller().exists() {
        return;
    }
    if let Err(error) = append(layout, held, by) {
        crate::output::tell(&format!(
            "that state was lost is not in the journal: {}",
            crate::failure::chain(&error)
        ));
    }
}

fn append(layout: &Layout, held: &[Held], by: Loss) -> Result<(), StoreError> {
    let options = Options { create: false, ..Options::default() };
    let ledger = match Ledger::open(layout.controller(), options) {
        Err(StoreError::Absent { .. }) => return Ok(()),
        opened => opened?,
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    for (number, held) in (ledger.journal()?.end..).zip(held) {
        let what = What::StateLost { by, consent: Consent::Person };
        let event = Event { number, at_unix_ms, instance: held.instance.clone(), operation: None, what };
        ledger.append(&[event])?;
    }
    ledger.close()
}
