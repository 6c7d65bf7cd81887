//! What is searched: how many gateways, what may go wrong and how often.

use super::walk::Walks;
use crate::ledger::RequestId;
use crate::world::Setting;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::{agent, convergence, coordinator, gateway};
use paracloud_core::register::Mode;

/// What may go wrong, how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Faults {
    /// Crashes, of any party at any instant.
    pub crashes: u8,
    /// Lost messages.
    pub losses: u8,
    /// Doubled messages: the second copy arrives at any later time.
    pub duplicates: u8,
    /// A client's request sent again after no answer came, or a machine's repeat that comes before it is needed.
    pub retries: u8,
    /// Messages that are overtaken by later ones, and budgets and bounds that run out while something is still on its
    /// way.
    pub lates: u8,
    /// Requests that do not end and so block the seal.
    pub hogs: u8,
    /// Moves that a person gives up, at any instant before the commit.
    pub cancels: u8,
}

impl Faults {
    /// None of them.
    pub const NONE: Self =
        Self { crashes: 0, losses: 0, duplicates: 0, retries: 0, lates: 0, hogs: 0, cancels: 0 };
}

/// A client whose request carries an `Idempotency-Key`.
const KEYED: &[RequestId] = &[RequestId(0)];
/// A client whose request carries none: it is applied by one process at most, whatever becomes of it.
const PLAIN: &[RequestId] = &[RequestId(1)];
/// One of each.
const BOTH: &[RequestId] = &[RequestId(0), RequestId(1)];

/// A configuration of the model.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name in reports.
    pub name: &'static str,
    /// How the instance is moved.
    pub mode: Mode,
    /// Gateways; with two, states are taken up to their exchange.
    pub gateways: u32,
    /// What clients send, each one request at a time. Those with an even number carry an `Idempotency-Key`.
    pub requests: &'static [RequestId],
    /// Whether the instance leaves, instead of being moved.
    pub leaves: bool,
    /// Whether it may go to another revision on its node, instead of to another node.
    pub updates: bool,
    /// Whether gateways are told of a park before it comes (the phase `drain`).
    pub drains: bool,
    /// What may go wrong.
    pub faults: Faults,
    /// I5 is looked at in one state of so many: those whose fingerprint is a multiple of this are healed and must come to
    /// rest. Healing takes hundreds of steps, so in the large configurations it is tried from a sample.
    pub heal_every: u64,
    /// How far it is searched.
    pub extent: Extent,
    /// Whether it is so small that CI searches it each time.
    pub is_small: bool,
}

/// How far a configuration is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To the end.
    Exhausted,
    /// By walks at random. Never called exhausted.
    Walked(Walks),
}

/// The settings of all machines; their times mean nothing to a checker, which fires timers whenever it likes.
pub fn setting(mode: Mode, gateways: u32, drains: bool) -> Setting {
    Setting {
        coordinator: coordinator::Setting {
            gateways: (1..=gateways).map(GatewayId).collect(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 100,
            prepare_ms: 2_000,
            copy_ms: 20_000,
            drain_ms: if drains { 500 } else { 0 },
            leave_ms: 2_000,
            resize_ms: 2_000,
            park_ms: 500,
            seal_ms: 1_000,
            stop_ms: 1_000,
            switch_ms: 1_000,
            release_ms: 500,
            pause: convergence::Budget {
                pause_ms: 5,
                pause_ms_max: 50,
                stall_reports: 3,
                stall_reports_max: 20,
            },
        },
        agent: agent::Setting {
            node: NodeId(0),
            ask_ms: 100,
            restart_ms: 100,
            restart_ms_max: 1_000,
            sound_ms: 1_000,
        },
        gateway: gateway::Setting { parked_ms_max: 5_000, parked_max: 16, ask_ms: 200, soon_ms: 10 },
        mode,
    }
}

impl Configuration {
    /// A configuration that is searched to the end.
    pub const fn exhausted(
        name: &'static str,
        mode: Mode,
        gateways: u32,
        requests: &'static [RequestId],
        faults: Faults,
    ) -> Self {
        let (heal_every, extent) = (256, Extent::Exhausted);
        Self {
            name,
            mode,
            gateways,
            requests,
            leaves: false,
            updates: false,
            drains: false,
            faults,
            heal_every,
            extent,
            is_small: false,
        }
    }

    /// It is searched in CI, I5 in every state.
    #[must_use]
    pub const fn small(self) -> Self {
        Self { heal_every: 1, is_small: true, ..self }
    }

    /// Its moves have the phase `drain`.
    #[must_use]
    pub const fn draining(self) -> Self {
        Self { drains: true, ..self }
    }

    /// Its instance is moved or updated.
    #[must_use]
    pub const fn updating(self) -> Self {
        Self { updates: true, ..self }
    }

    /// Its instance leaves; what a person cancels is called back.
    #[must_use]
    pub const fn leaving(self) -> Self {
        Self { leaves: true, ..self }
    }

    /// It is walked, not searched.
    #[must_use]
    pub const fn walked(self, count: u32) -> Self {
        Self { extent: Extent::Walked(Walks { count, depth: 400 }), ..self }
    }

    /// Every configuration, the small ones first.
    pub fn all() -> Vec<Self> {
        const NONE: Faults = Faults::NONE;
        let (handoff, restart) = (Mode::Handoff, Mode::Restart);
        let one_each = Faults { crashes: 1, losses: 1, duplicates: 1, ..NONE };
        let a = Faults { crashes: 2, ..one_each };
        let b = Faults { retries: 1, ..one_each };
        let leave = Faults { crashes: 1, losses: 1, cancels: 1, ..NONE };
        let late_crash = Faults { crashes: 1, losses: 1, lates: 1, ..NONE };
        let all = Faults { crashes: 3, losses: 3, duplicates: 2, retries: 2, lates: 2, hogs: 1, cancels: 1 };
        let model = Self::exhausted;
        vec![
            model("crash-handoff", handoff, 1, PLAIN, Faults { crashes: 1, ..NONE }).updating().small(),
            model("network-handoff", handoff, 2, KEYED, Faults { losses: 1, duplicates: 1, ..NONE })
                .updating()
                .small(),
            model("late-handoff", handoff, 1, KEYED, Faults { lates: 1, retries: 1, hogs: 1, ..NONE })
                .updating()
                .small(),
            model("drain-handoff", handoff, 2, &[], Faults { crashes: 1, ..NONE })
                .draining()
                .updating()
                .small(),
            model("cancel-handoff", handoff, 1, KEYED, Faults { losses: 1, cancels: 1, ..NONE })
                .draining()
                .updating()
                .small(),
            model("crash-restart", restart, 1, PLAIN, Faults { crashes: 1, losses: 1, ..NONE })
                .updating()
                .small(),
            model("late-restart", restart, 1, KEYED, Faults { lates: 1, ..NONE }).updating().small(),
            model("drain-restart", restart, 2, &[], Faults { crashes: 1, ..NONE })
                .draining()
                .updating()
                .small(),
            model("cancel-restart", restart, 1, PLAIN, Faults { losses: 1, cancels: 1, ..NONE })
                .draining()
                .updating()
                .small(),
            model("leave-handoff", handoff, 1, KEYED, leave).leaving().small(),
            model("leave-restart", restart, 1, PLAIN, leave).leaving().small(),
            model("leave-two-handoff", handoff, 2, PLAIN, Faults { crashes: 1, cancels: 1, ..NONE })
                .leaving()
                .small(),
            model("leave-two-restart", restart, 2, KEYED, Faults { losses: 1, cancels: 1, ..NONE })
                .leaving()
                .small(),
            model("walk-some-handoff", handoff, 2, BOTH, all).draining().updating().small().walked(500),
            model("walk-some-restart", restart, 2, BOTH, all).draining().updating().small().walked(500),
            model("late-crash-handoff", handoff, 1, KEYED, late_crash),
            model("late-crash-restart", restart, 1, PLAIN, late_crash),
            model("blocked-handoff", handoff, 1, KEYED, Faults { crashes: 1, losses: 1, hogs: 1, ..NONE }),
            model("leave-wide-handoff", handoff, 2, KEYED, leave).leaving(),
            model("a-handoff", handoff, 1, PLAIN, a),
            model("a-restart", restart, 1, PLAIN, a),
            model("b-handoff", handoff, 2, KEYED, b),
            model("b-restart", restart, 2, KEYED, b),
            model("walk-handoff", handoff, 2, BOTH, all).draining().walked(50_000),
            model("walk-restart", restart, 2, BOTH, all).draining().walked(50_000),
        ]
    }
}
