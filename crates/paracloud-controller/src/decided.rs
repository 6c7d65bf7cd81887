//! What a person's order was made into is kept with its reasons before it is carried out, and which operations came of it.

use crate::control::Control;
use crate::journal::now_unix_ms;
use paracloud_core::ids::OperationNumber;
use paracloud_core::ordered::{Decision, Record};
use paracloud_substrate::decision::{Hindrance, Opened};
use serde::{Deserialize, Serialize};

/// A decision that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decided {
    app: String,
    at_ms: u64,
}

impl Control {
    /// Keeps a decision about an app; of none: about what is on a node.
    pub(crate) async fn decided(&self, app: &str, decision: Decision) -> Decided {
        let record = Record { at_ms: now_unix_ms(), decision };
        self.scaling.keep_order(app, &record).await;
        Decided { app: app.to_owned(), at_ms: record.at_ms }
    }
}

impl Decided {
    /// An operation of an instance was opened or given up by it; none: it was started.
    pub(crate) fn opened(&self, control: &Control, instance: &str, operation: Option<OperationNumber>) {
        self.came(control, instance, operation, None);
    }

    /// This kept something from being begun on an instance.
    pub(crate) fn hindered(&self, control: &Control, instance: &str, hindrance: Hindrance) {
        self.came(control, instance, None, Some(hindrance));
    }

    fn came(
        &self,
        control: &Control,
        instance: &str,
        operation: Option<OperationNumber>,
        hindrance: Option<Hindrance>,
    ) {
        let opened = Opened { decided_ms: self.at_ms, instance: instance.to_owned(), operation, hindrance };
        control.scaling.opened(&self.app, opened);
    }
}
