//! Whether owners are alive, where the manifest says how that is seen from outside.
//!
//! It begins when the process has been ready once, so a slow start is no failure. It is not looked while clients may wait in
//! a pause of a move: a program may stand still there, and nobody but the coordinator ends what it moves. What a program
//! says of itself does not count here: who asked for the probe wants it looked at.
//!
//! One that is not alive is ended as when the cloud ends: told to stop if it listens, then asked by its shim, then killed. The
//! machine of the instance hears of a death, and proposes another process as after any.

use super::ending::Parting;
use super::{Event, Node};
use crate::probe::{self, Watch};
use paci::state::State;
use paracloud_core::ids::StartId;
use paracloud_substrate::message::{Note, Speaker};
use tokio::task::JoinHandle;

/// The looks at one process, as long as they are to go on.
#[derive(Debug, Default)]
pub(super) struct Liveness(Option<JoinHandle<()>>);

impl Drop for Liveness {
    fn drop(&mut self) {
        if let Some(looks) = &self.0 {
            looks.abort();
        }
    }
}

impl Node {
    /// Begins looking at those who are to be looked at, and stops it for those who are not, or not now.
    pub(super) fn watch_lives(&mut self) {
        let ids: Vec<_> = self.starts.keys().copied().collect();
        for id in ids {
            let is_due = self.is_to_live(id);
            let Some(start) = self.starts.get_mut(&id) else { continue };
            if !is_due {
                start.liveness = Liveness::default();
                continue;
            }
            let check =
                self.instances.get(&start.instance).and_then(|instance| instance.app.liveness.clone());
            let Some(check) = check.filter(|_| start.liveness.0.is_none()) else { continue };
            let watch = Watch { check, address: start.address, process: start.process.clone() };
            let events = self.events.clone();
            start.liveness = Liveness(Some(tokio::spawn(async move {
                let answered = watch.until_failed().await;
                let _ = events.send(Event::NotAlive { start: id, answered }).await;
            })));
        }
    }

    /// Whether a process owns its instance, was ready, is not being ended, and no clients may wait for its move.
    fn is_to_live(&self, id: StartId) -> bool {
        let Some(start) = self.starts.get(&id).filter(|start| start.runs()) else { return false };
        let Some(instance) = self.instances.get(&start.instance) else { return false };
        let record = instance.machine.machine().record();
        let owns = record.is_some_and(|record| record.owner.start == id);
        // The register knows it of one that was started under the agent before, or has said since that it is not ready.
        let has_served = record.is_some_and(|record| record.served.is_some());
        let was_ready = has_served || start.was_ready || start.session.state == Some(State::Ready);
        let is_ending = self.ending.is_some() || start.parting != Parting::None;
        owns && was_ready && !is_ending && !instance.pauses(id)
    }

    /// The probe says that a process is not alive: it is ended, if that still concerns anybody.
    pub(super) fn not_alive(&mut self, id: StartId, answered: &str) {
        if !self.is_to_live(id) {
            return;
        }
        let Some(start) = self.starts.get_mut(&id) else { return };
        let (name, address) = (start.instance.clone(), start.address);
        let Some(check) = self.instances.get(&name).and_then(|instance| instance.app.liveness.clone()) else {
            return;
        };
        let asked = probe::asked(&check.probe, address);
        let times = check.failures;
        tracing::warn!(start = %id, instance = name, asked, answered, "a process is not alive");
        let what = format!("it is not alive, and is ended: {asked}: {answered} ({times} times in a row)");
        self.note(&name, None, Note::Remark { by: Speaker::Agent, what });
        self.end_by_itself(id, "its liveness probe fails");
    }
}
