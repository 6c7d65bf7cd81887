//! Random values at the first start of an instance.

use crate::batch::Write;
use crate::records::Records;
use paracloud_sdk::Paci;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const VALUE_BYTES: usize = 1024;
/// Records of one transaction: short enough that a move does not wait for it.
const BATCH: u32 = 256;
const RECORDS_PER_MIB: u32 = 1024;

/// Fills an instance that owns and is empty, and says that it is ready: to the cloud, and to whoever asks `/healthz`.
///
/// A target waits here until it serves; then it has what the source had, and nothing is filled. What was moved away in the
/// middle of a fill stays as it is.
pub(crate) async fn fill(paci: Paci, records: Records, mib: u32, is_filled: Arc<AtomicBool>) {
    if mib > 0 {
        paci.serving().await;
        if records.is_empty() == Ok(true) {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(rand::random());
            let count = mib * RECORDS_PER_MIB;
            for first in (0..count).step_by(BATCH as usize) {
                let batch: Vec<_> =
                    (first..count.min(first + BATCH)).map(|number| record(number, &mut random)).collect();
                if let Err(error) = records.fill(&batch) {
                    tracing::warn!(%error, "moved before it was filled");
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    is_filled.store(true, Ordering::Release);
    paci.ready();
}

fn record(number: u32, random: &mut impl Rng) -> Write {
    let mut value = vec![0; VALUE_BYTES];
    random.fill_bytes(&mut value);
    Write { key: format!("k{number}").into(), value: value.into() }
}
