//! What an instance goes by is changed while it runs. A machine keeps what it was set to, so that its log replays: another one
//! takes its place, once no operation is open.

use super::Instance;
use crate::register::Gone;
use paracloud_core::migration::coordinator::Input;
use paracloud_substrate::config::App;

impl Instance {
    /// Its app was changed.
    pub(super) fn configured(&mut self, app: App) {
        let (name, node) = (self.app.name.clone(), self.app.node);
        self.app = App { name, node, ..app };
    }

    /// Goes by what it is set to by now, if it is at rest.
    pub(super) async fn renew_at_rest(&mut self) -> Result<(), Gone> {
        if self.gathering.is_some() || self.stuck.is_some() {
            return Ok(());
        }
        let at_rest = self.machine.machine().record().filter(|record| record.operation.is_none());
        let Some(record) = at_rest.cloned() else { return Ok(()) };
        if *self.machine.setting() == self.control.cloud().coordinator_setting(&self.app) {
            return Ok(());
        }
        self.begin_anew();
        self.take(Input::Recovered(record)).await
    }
}
