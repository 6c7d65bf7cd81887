//! A hundred WebSocket clients, half on each gateway, talk both ways while their server moves.

use crate::clients::Clients;
use crate::rig::{Rig, wait_until};
use serde_json::json;
use std::collections::BTreeMap;

const SOCKETS: u16 = 100;

#[test]
fn every_websocket_is_closed_once_with_1012_and_is_at_the_target_with_its_first_try() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "8" }));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, SOCKETS);
    for (node, move_of) in [(2, "there"), (1, "back")] {
        let quiet = clients.audit_clean().sockets;
        assert_eq!((quiet.sessions, quiet.closes.len()), (SOCKETS.into(), 0), "{move_of}: before: {quiet:?}");

        let moved = rig.json(&["move", "sessions"]);
        assert_eq!(moved["outcome"]["node"], node, "{moved}");
        let told = (&moved["outcome"]["websockets_closed"], &moved["outcome"]["clients_known"]);
        assert_eq!(told, (&SOCKETS.into(), &true.into()), "{moved}");
        // A client to which nothing is owed may read its Close only after an audit.
        let (mut closes, mut reconnects, mut acknowledged, mut received) = (BTreeMap::new(), 0, 0, 0);
        wait_until("every client has read its Close", || {
            let sockets = clients.audit_clean().sockets;
            assert!(sockets.tries_max <= 1, "{move_of}: {sockets:?}");
            sockets.closes.iter().for_each(|(code, count)| *closes.entry(*code).or_default() += count);
            reconnects += sockets.reconnects;
            acknowledged += sockets.acknowledged;
            received += sockets.received;
            reconnects >= u64::from(SOCKETS)
        });
        assert_eq!(closes, BTreeMap::from([(1012, u64::from(SOCKETS))]), "{move_of}");
        assert_eq!(reconnects, u64::from(SOCKETS), "{move_of}");
        assert!(acknowledged.min(received) >= u64::from(SOCKETS), "{move_of}: {acknowledged}, {received}");
    }
}
