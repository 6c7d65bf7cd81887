//! The state channel between two agents and two programs.

use crate::rig::{N1, N2, Puppet, Rig, moving};
use paci::participant::Side;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::message::ToAgent;
use paracloud_core::register::{Mode, MoveStep, Record};
use paracloud_substrate::message::Note;

const OPERATION: OperationNumber = OperationNumber(1);
const CAPABILITIES: &[&str] = &["move.handoff"];

/// Both sides of a move, each with the token of its end.
struct Sides {
    rig: Rig,
    source: (StartId, Puppet, String),
    target: (StartId, Puppet, String),
}

impl Sides {
    fn prepared() -> Self {
        let mut rig = Rig::new();
        rig.agent(N1);
        let (source, shop) = rig.owner(N1);
        shop.hello(CAPABILITIES);
        rig.agent(N2);
        let target = rig.fresh();
        let operation = moving(source, target, shop.address, MoveStep::Open).operation;
        for (agent, start, side) in [(1, target, Side::Target), (0, source, Side::Source)] {
            let prepare = ToAgent::Prepare { operation: OPERATION, start, side, mode: Mode::Handoff };
            rig.agents[agent].tell(prepare, operation.clone());
        }
        let filled = Puppet {
            address: crate::rig::until("the target's address", || {
                let spec = std::fs::read(rig.layout.process(N2, target).join("spec.json")).ok()?;
                let spec: serde_json::Value = serde_json::from_slice(&spec).ok()?;
                let address = spec["address"].as_str()?.parse().ok()?;
                std::net::TcpStream::connect(address).ok().map(|_| address)
            }),
        };
        filled.hello(CAPABILITIES);
        let token = |puppet: Puppet| {
            puppet.next()["prepare"]["channelToken"].as_str().map(str::to_owned).unwrap_or_default()
        };
        let (given, taken) = (token(shop), token(filled));
        Self { rig, source: (source, shop, given), target: (target, filled, taken) }
    }

    fn record(&self, step: MoveStep) -> Record {
        moving(self.source.0, self.target.0, self.source.1.address, step)
    }

    fn join_both(&self) {
        // The source comes first: its end waits for the other.
        assert_eq!(self.source.1.say(&format!("join {}", self.source.2)), "OK");
        assert_eq!(self.target.1.say(&format!("join {}", self.target.2)), "OK");
    }
}

#[test]
fn what_crosses_is_counted_and_said() {
    let mut sides = Sides::prepared();
    sides.join_both();
    let bytes: u64 = 64 << 20;
    let received = sides.target.1.begin("receive");
    assert_eq!(sides.source.1.say(&format!("send {bytes}")), "sent");
    assert_eq!(received.join().unwrap(), bytes.to_string());
    sides.rig.agents[1].hear_note("all of it is counted", |note| match note {
        Note::Carried { bytes: carried } => (*carried == bytes).then_some(()),
        _ => None,
    });
}

#[test]
fn a_token_joins_one_end_once() {
    let sides = Sides::prepared();
    let (shop, filled) = (sides.source.1, sides.target.1);
    assert_eq!(shop.say(&format!("join {}", "0".repeat(32))), "NO TOKEN_UNKNOWN");
    assert_eq!(shop.say(&format!("join {}", sides.target.2)), "NO TOKEN_UNKNOWN", "it is the other side's");
    assert_eq!(shop.say("join nonsense"), "NO MALFORMED");
    sides.join_both();
    assert_eq!(shop.say(&format!("join {}", sides.source.2)), "NO TOKEN_USED");
    assert_eq!(filled.say(&format!("join {}", sides.target.2)), "NO TOKEN_USED");
    let received = filled.begin("receive");
    shop.say("send 1000");
    assert_eq!(received.join().unwrap(), "1000", "the channel is as it was");
}

#[test]
fn the_death_of_the_targets_agent_ends_the_channel_on_both_sides() {
    let mut sides = Sides::prepared();
    sides.join_both();
    let (given, taken) = (sides.source.1.begin("receive"), sides.target.1.begin("receive"));
    sides.rig.kill_agent(1);
    assert_eq!((given.join().unwrap().as_str(), taken.join().unwrap().as_str()), ("0", "0"));
}

#[test]
fn the_death_of_the_sources_agent_leaves_the_channel_as_it_is() {
    let mut sides = Sides::prepared();
    sides.join_both();
    let received = sides.target.1.begin("receive");
    // The end was handed on once the first byte arrives at the other side.
    sides.rig.agents[1].process.try_wait().unwrap();
    assert_eq!(sides.source.1.say("send 1000"), "sent");
    assert_eq!(received.join().unwrap(), "1000");
    sides.rig.kill_agent(0);
    assert!(sides.source.1.pid() > 0);
}

#[test]
fn a_token_dies_with_its_operation() {
    let mut sides = Sides::prepared();
    let mut closed = sides.record(MoveStep::Open);
    closed.operation = None;
    sides.rig.agents[0].own(&closed);
    crate::rig::until("the operation is over", || {
        // A token that is not used yet tells the two refusals apart.
        (sides.source.1.say(&format!("join {}", sides.source.2)) == "NO OPERATION_CLOSED").then_some(())
    });
}
