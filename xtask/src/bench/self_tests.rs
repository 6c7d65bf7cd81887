//! Two tests of the audit, on the application that runs: an audit that cannot fail says nothing.

use anyhow::{Context, Result, ensure};
use paracloud_load::driver::Driver;
use paracloud_load::ledger::Audit;

/// The key that is falsified: the first one.
const KEY: u32 = 0;

/// A write that counts as acknowledged and was never sent, then one that the application was sent twice and that was
/// counted once: an audit must find each. Gives how many there were.
///
/// # Errors
/// One was not found.
pub(super) async fn run(clients: &mut Driver) -> Result<u32> {
    clients.forge().await?;
    finds(&clients.audit().await?.writes, (1, 0)).context("a write that was never sent")?;
    clients.double().await?;
    finds(&clients.audit().await?.writes, (0, 1)).context("a write that was applied twice")?;
    Ok(2)
}

/// Whether an audit has found so many writes of [`KEY`] lost and duplicated, and nothing else.
fn finds(audit: &Audit, wanted: (u64, u64)) -> Result<()> {
    let keys: Vec<u32> = audit.findings.iter().map(|finding| finding.key).collect();
    ensure!(
        (audit.lost, audit.duplicated) == wanted && keys == [KEY],
        "the audit found {} writes lost and {} doubled, of the keys {keys:?}; there were {} and {}, of [{KEY}]",
        audit.lost,
        audit.duplicated,
        wanted.0,
        wanted.1,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_load::ledger::{Held, Ledger, Write};

    /// What an audit finds of a key of which a write is forged, or that holds a write more than was counted.
    fn audited(key: u32, forged: bool) -> Audit {
        let mut held = vec![Some(Held { counter: 0, crc32: 7 }); 2];
        let mut ledger = Ledger::from_baseline(&held);
        if forged {
            ledger.forge(Write { key, crc32: 8 });
        } else {
            held[key as usize] = Some(Held { counter: 1, crc32: 7 });
        }
        ledger.audit(&held)
    }

    #[test]
    fn only_what_was_falsified_may_be_found_and_it_must_be() {
        finds(&audited(KEY, true), (1, 0)).unwrap();
        finds(&audited(KEY, false), (0, 1)).unwrap();
        for (audit, wanted) in [
            (Audit::default(), (1, 0)),
            (Audit::default(), (0, 1)),
            (audited(KEY, true), (0, 1)),
            (audited(KEY + 1, true), (1, 0)),
            (audited(KEY + 1, false), (0, 1)),
        ] {
            assert!(finds(&audit, wanted).is_err(), "{audit:?} {wanted:?}");
        }
    }
}
