//! A hundred WebSocket clients, half on each gateway, talk both ways while their server moves.

use crate::clients::Clients;
use crate::rig::Rig;
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
        let sockets = clients.audit_clean().sockets;
        assert_eq!(sockets.closes, BTreeMap::from([(1012, SOCKETS.into())]), "{move_of}: {sockets:?}");
        assert_eq!((sockets.reconnects, sockets.tries_max), (SOCKETS.into(), 1), "{move_of}: {sockets:?}");
        assert!(sockets.acknowledged >= SOCKETS.into(), "{move_of}: {sockets:?}");
        assert!(sockets.received >= SOCKETS.into(), "{move_of}: {sockets:?}");
    }
}
