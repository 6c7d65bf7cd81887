//! Clients of a rig that keep count: requests and WebSockets, through both gateways.

use crate::rig::Rig;
use paracloud_load::meter::Seen;
use paracloud_load::{Audited, Config, Load};
use serde_json::json;
use tokio::runtime::Runtime;

/// Clients at work, until they are dropped.
pub(crate) struct Clients {
    load: Load,
    /// After the load: its tasks end first.
    runtime: Runtime,
}

impl Clients {
    /// Begins to load the app of a rig, which is `sessions`.
    pub(crate) fn start(rig: &Rig, config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be had");
        let config = Config { gateways: vec![rig.address(0), rig.address(1)], ..config };
        let load = runtime.block_on(paracloud_load::start(config)).expect("the app answers");
        Self { load, runtime }
    }

    /// A modest load, with so many WebSockets.
    pub(crate) fn modest(rig: &Rig, sockets: u16) -> Self {
        let some = Config { requests_per_s: 50, writes_per_request: 4, value_bytes: 64, ..Config::default() };
        Self::start(rig, Config { sockets, socket_message_ms: 50, twice_permille: 100, ..some })
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.load.seen()
    }

    /// Lets them come to rest, compares, and lets them go on.
    pub(crate) fn audit(&mut self) -> Audited {
        self.runtime.block_on(self.load.audit()).expect("the app tells what it holds")
    }

    /// Compares, and insists that nothing was lost, doubled or refused.
    pub(crate) fn audit_clean(&mut self) -> Audited {
        let audited = self.audit();
        assert!(audited.is_clean(), "{audited:#?}");
        let seen = self.seen();
        assert_eq!((seen.errors.total(), seen.unknown, seen.given_up), (0, 0, 0), "{seen:#?}");
        audited
    }
}

#[test]
fn an_audit_finds_a_write_that_was_never_sent_and_one_that_was_applied_twice() {
    let rig = Rig::sessions(&json!({}), &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, 0);
    clients.audit_clean();
    clients.load.forge();
    let forged = clients.audit().writes;
    clients.runtime.block_on(clients.load.double()).expect("the app applies it");
    let doubled = clients.audit().writes;
    for (audit, wanted) in [(forged, (1, 0)), (doubled, (0, 1))] {
        assert_eq!((audit.lost, audit.duplicated), wanted, "{audit:?}");
        assert_eq!((audit.findings.len(), audit.findings[0].key), (1, 0), "{audit:?}");
    }
    clients.audit_clean();
}
