//! An operation that cannot go on without a node whose agent is away: it is waited for, and that is said.

use super::Instance;
use crate::peers::Peer;
use crate::register::Gone;
use paracloud_core::ids::NodeId;
use paracloud_core::migration::Phase;
use paracloud_core::register::{Move, MoveStep, Record};
use paracloud_substrate::message::Note;
use std::time::{Duration, Instant};

/// It is looked this often whether an operation waits for a node that is away, in milliseconds.
const LOOK_MS: u64 = 500;
/// An agent that is not connected and was not heard for so long is said to be waited for, in milliseconds: one that died
/// is started again sooner.
pub const AWAY_MS: u64 = 5_000;

impl Instance {
    /// When to look next; `None` if nothing that is open can wait without a bound.
    pub(super) fn look_due(&self) -> Option<Instant> {
        if self.gathering.is_some() {
            return None;
        }
        let machine = self.machine.machine();
        let waits = machine.record().is_some_and(|record| !awaited(record, machine.phase()).is_empty());
        waits.then_some(self.look)
    }

    /// Says, once a phase, which node it is waited for.
    pub(super) async fn look_for_the_awaited(&mut self) -> Result<(), Gone> {
        self.look = Instant::now() + Duration::from_millis(LOOK_MS);
        let machine = self.machine.machine();
        let (Some(record), phase) = (machine.record(), machine.phase()) else { return Ok(()) };
        let operation = record.last_operation;
        let peers = &self.control.peers;
        let lost = self.control.lost();
        let away = awaited(record, phase).into_iter().find_map(|(node, duty)| {
            let silent_ms = peers.silent_ms(Peer::Agent(node));
            let is_away = !peers.is_there(Peer::Agent(node)) && silent_ms >= AWAY_MS && !lost.contains(&node);
            is_away.then_some((node, duty, silent_ms))
        });
        let Some((node, duty, silent_ms)) = away else { return Ok(()) };
        if self.awaited == Some((operation, phase, node)) {
            return Ok(());
        }
        self.awaited = Some((operation, phase, node));
        let node = self.control.node_name(node);
        tracing::warn!(instance = self.app.name, %phase, node, silent_ms, "an operation waits for an agent that is away");
        self.note(Some(operation), Note::Awaited { node, silent_ms, duty: duty.to_owned() }).await
    }
}

/// The nodes whose agents an open operation may wait for in this phase, without a bound or for the time of a whole copy,
/// and what each is to do. What has another budget ends soon by that.
fn awaited(record: &Record, phase: Phase) -> Vec<(NodeId, &'static str)> {
    let owner = record.owner.node;
    let Some(Move { source, target, step, .. }) = record.moving() else {
        return match phase {
            Phase::Start => vec![(owner, "to start the app anew")],
            Phase::Return => vec![(owner, "to tell the owner that it is called back")],
            Phase::Retire => vec![(owner, "to say that the owner's process is dead")],
            Phase::Idle
            | Phase::Offer
            | Phase::Prepare
            | Phase::Copy
            | Phase::Drain
            | Phase::Park
            | Phase::Seal
            | Phase::Switch
            | Phase::Doom
            | Phase::Serve
            | Phase::Undo
            | Phase::Release
            | Phase::Leave
            | Phase::Resize => Vec::new(),
        };
    };
    match phase {
        Phase::Idle
        | Phase::Offer
        | Phase::Prepare
        | Phase::Drain
        | Phase::Park
        | Phase::Release
        | Phase::Leave
        | Phase::Return
        | Phase::Resize => Vec::new(),
        Phase::Copy => [source, target].map(|side| (side.node, "to say how far the copy is")).into(),
        Phase::Start => vec![(owner, "to start the app anew")],
        // Each has a budget, but the only copy is waited for.
        Phase::Seal | Phase::Switch => vec![
            (source.node, "to say whether the source's process is sealed, or dead"),
            (target.node, "to say whether the target's process has the state, or is dead"),
        ],
        Phase::Serve => vec![(owner, "to tell the owner that it serves")],
        Phase::Undo => vec![(owner, "to tell the owner that the move is off")],
        Phase::Doom => vec![(target.node, "to say that the target's process is dead")],
        Phase::Retire if *step == MoveStep::Undo => {
            vec![(target.node, "to say that the target's process is dead")]
        }
        Phase::Retire => vec![(source.node, "to say that the source's process is dead")],
    }
}
