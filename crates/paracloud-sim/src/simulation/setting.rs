//! What the machines of a run are set to, and how rough it is.

use crate::world::Setting;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::{agent, convergence, coordinator, gateway};
use paracloud_core::register::Mode;

/// How rough a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Chance in a thousand: of each control message to be lost, doubled, late; of each connection to break; of a
    /// client to leave when another comes.
    pub(super) drop: u32,
    pub(super) duplicate: u32,
    pub(super) delay: u32,
    pub(super) reset: u32,
    pub(super) leave: u32,
    /// Chance in a thousand of each copy to be loaded as something else.
    pub(super) spoil: u32,
    /// Virtual milliseconds between two faults at random.
    pub(super) chaos_ms: u64,
}

impl Rates {
    /// One of four ways, the first without faults at random.
    pub(super) fn of(way: u32) -> Self {
        match way {
            0 => Self { drop: 0, duplicate: 0, delay: 0, reset: 0, leave: 0, spoil: 0, chaos_ms: u64::MAX },
            1 => Self { drop: 10, duplicate: 10, delay: 10, reset: 5, leave: 20, spoil: 20, chaos_ms: 1_000 },
            2 => Self { drop: 40, duplicate: 40, delay: 60, reset: 20, leave: 50, spoil: 50, chaos_ms: 400 },
            _ => Self { drop: 20, duplicate: 20, delay: 200, reset: 10, leave: 10, spoil: 20, chaos_ms: 150 },
        }
    }
}

/// The settings of all machines, in virtual time.
pub(super) fn setting(mode: Mode) -> Setting {
    Setting {
        coordinator: coordinator::Setting {
            gateways: [GatewayId(1), GatewayId(2)].into(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 60,
            prepare_ms: 700,
            copy_ms: 700,
            drain_ms: 150,
            leave_ms: 400,
            resize_ms: 200,
            park_ms: 150,
            seal_ms: 300,
            stop_ms: 300,
            switch_ms: 300,
            release_ms: 200,
            pause: convergence::Budget {
                pause_ms: 5,
                pause_ms_max: 50,
                stall_reports: 3,
                stall_reports_max: 20,
            },
        },
        agent: agent::Setting {
            node: NodeId(0),
            ask_ms: 70,
            restart_ms: 40,
            restart_ms_max: 400,
            sound_ms: 500,
        },
        gateway: gateway::Setting { parked_ms_max: 400, parked_max: 16, ask_ms: 90, soon_ms: 5 },
        mode,
    }
}
