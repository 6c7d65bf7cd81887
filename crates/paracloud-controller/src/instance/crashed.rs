//! An owner whose process ended by itself.

use super::Instance;
use paracloud_core::ids::StartId;
use paracloud_core::register::Record;

impl Instance {
    /// A process ended. In an operation that may be as it should be, and what ended an operation is said with it.
    pub(super) fn crashed(&self, start: StartId, how: &str) {
        let record = self.machine.machine().record();
        let is_its =
            |record: &Record| record.owner.start == start && record.operation.is_none() && !record.gone;
        if record.is_some_and(is_its) {
            self.control.crashed(&self.app.name, start, how, self.history.served_unix_ms);
        }
    }
}
