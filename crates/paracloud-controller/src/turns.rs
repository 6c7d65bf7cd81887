//! One after the other, of each app: whoever takes a turn waits until the one before has given it back, and nobody waits for
//! another app.

use crate::control::locked;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// There are as many as apps were ever configured.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// It is given back when what is returned is dropped.
    pub(crate) async fn take(&self, app: &str) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(locked(&self.0).entry(app.to_owned()).or_default());
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_free(turns: &Turns, app: &str) -> bool {
        tokio::select! {
            biased;
            _ = turns.take(app) => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn an_app_waits_for_its_own_turn_and_for_no_other_app() {
        let turns = Turns::default();
        let first = turns.take("worker").await;
        assert!(!is_free(&turns, "worker").await && is_free(&turns, "web").await);
        drop(first);
        assert!(is_free(&turns, "worker").await);
    }
}
