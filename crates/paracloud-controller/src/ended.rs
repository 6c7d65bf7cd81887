//! How an operation ends that was just begun.

use crate::control::Control;
use crate::journal::Heard;
use crate::person::refused;
use paracloud_core::ids::OperationNumber;
use paracloud_substrate::person::{Outcome, Refused};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Its outcome. `heard`: from before it was begun on.
pub(crate) async fn outcome(
    control: &Control,
    mut heard: broadcast::Receiver<Heard>,
    instance: &str,
    operation: OperationNumber,
) -> Result<Outcome, Refused> {
    loop {
        match heard.recv().await {
            Ok(Heard::Outcome(outcome)) if outcome.instance == instance && outcome.operation == operation => {
                return Ok(outcome);
            }
            Ok(Heard::Outcome(_) | Heard::Event(_)) => {}
            // The controller ends, and this with it.
            Err(RecvError::Closed) => std::future::pending().await,
            Err(RecvError::Lagged(_)) => {
                let view = control.views.of(instance);
                if let Some(outcome) = view.as_ref().and_then(|view| view.outcome.clone())
                    && outcome.operation == operation
                {
                    return Ok(outcome);
                }
                let record = view.and_then(|view| view.record);
                if record.is_none_or(|record| record.last_operation > operation) {
                    let message =
                        format!("{instance}: operation {operation} ended, and its outcome was missed");
                    return Err(refused("outcome_missed", message, "look at paracloud events"));
                }
            }
        }
    }
}
