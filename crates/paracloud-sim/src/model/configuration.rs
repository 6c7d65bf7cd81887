//! What is searched: how many gateways, what may go wrong and how often.

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
}

/// A configuration of the model.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name in reports.
    pub name: &'static str,
    /// How the instance is moved.
    pub mode: Mode,
    /// Gateways; with two, states are taken up to their exchange.
    pub gateways: u32,
    /// Clients, each with one request at a time.
    pub requests: u8,
    /// What may go wrong.
    pub faults: Faults,
    /// Every state whose fingerprint is a multiple of this is healed and must come to rest: healing takes hundreds of
    /// steps, so in the large configurations it is tried from a sample.
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
    /// By walks at random, this many steps in all. Never called exhausted.
    Walked {
        /// Steps.
        steps: u64,
    },
}

/// The settings of all machines; their times mean nothing to a checker, which fires timers whenever it likes.
pub fn setting(mode: Mode, gateways: u32) -> Setting {
    Setting {
        coordinator: coordinator::Setting {
            gateways: (1..=gateways).map(GatewayId).collect(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 100,
            prepare_ms: 2_000,
            copy_ms: 20_000,
            drain_ms: 0,
            park_ms: 500,
            seal_ms: 1_000,
            switch_ms: 1_000,
            release_ms: 500,
            pause: convergence::Budget {
                pause_ms: 5,
                pause_ms_max: 50,
                stall_reports: 3,
                stall_reports_max: 20,
            },
        },
        agent: agent::Setting { node: NodeId(0), ask_ms: 100, restart_ms: 100, restart_ms_max: 1_000 },
        gateway: gateway::Setting { parked_ms_max: 5_000, parked_max: 16, ask_ms: 200 },
        mode,
    }
}

impl Configuration {
    /// Every configuration, the small ones first.
    pub fn all() -> Vec<Self> {
        let none = Faults::default();
        let model = |name, mode, gateways, requests, faults| Self {
            name,
            mode,
            gateways,
            requests,
            faults,
            heal_every: 4_096,
            extent: Extent::Exhausted,
            is_small: false,
        };
        let small = |name, mode, gateways, requests, faults| Self {
            heal_every: 64,
            is_small: true,
            ..model(name, mode, gateways, requests, faults)
        };
        let walked = |name, mode, is_small, steps| {
            let all = Faults { crashes: 3, losses: 3, duplicates: 2, retries: 2, lates: 2, hogs: 1 };
            Self { extent: Extent::Walked { steps }, is_small, ..model(name, mode, 2, 2, all) }
        };
        let (handoff, restart) = (Mode::Handoff, Mode::Restart);
        let one_each = Faults { crashes: 1, losses: 1, duplicates: 1, ..none };
        let a = Faults { crashes: 2, ..one_each };
        let b = Faults { retries: 1, ..one_each };
        vec![
            small("crash-handoff", handoff, 1, 1, Faults { crashes: 1, ..none }),
            small("network-handoff", handoff, 2, 1, Faults { losses: 1, duplicates: 1, ..none }),
            small("late-handoff", handoff, 1, 1, Faults { lates: 1, retries: 1, hogs: 1, ..none }),
            small("crash-restart", restart, 1, 0, Faults { crashes: 1, losses: 1, ..none }),
            small("late-restart", restart, 1, 1, Faults { lates: 1, ..none }),
            walked("some-walked-handoff", handoff, true, 200_000),
            walked("some-walked-restart", restart, true, 200_000),
            model("late-crash-handoff", handoff, 1, 1, Faults { crashes: 1, losses: 1, lates: 1, ..none }),
            model("blocked-handoff", handoff, 1, 1, Faults { crashes: 1, losses: 1, hogs: 1, ..none }),
            model("clients-restart", restart, 1, 1, Faults { crashes: 1, losses: 1, ..none }),
            model("a-handoff", handoff, 1, 1, a),
            model("a-restart", restart, 1, 0, a),
            model("b-handoff", handoff, 2, 1, b),
            model("b-restart", restart, 2, 0, b),
            walked("walked-handoff", handoff, false, 20_000_000),
            walked("walked-restart", restart, false, 20_000_000),
        ]
    }
}
