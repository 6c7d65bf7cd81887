//! Programs know what they read: every object names its form, and the page about them has it.

use crate::rig::Rig;
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/reference/json.md");

/// Every line is an object of this form.
fn all_of(form: &str, lines: &str) {
    assert!(PAGE.contains(&format!("`{form}`")), "{form}");
    assert!(!lines.trim().is_empty(), "{form}: nothing was said");
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(object["schema"], form, "{line}");
    }
}

#[test]
fn every_object_of_every_command_names_its_form() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    let said = |arguments: &[&str]| rig.run(&[arguments, &["--output", "json"]].concat()).out;
    all_of("paracloud.validate/v1", &said(&["validate", rig.manifest()]));
    all_of("paracloud.ps/v1", &said(&["ps"]));
    all_of("paracloud.move/v1", &said(&["move", "web", "--dry-run"]));
    all_of("paracloud.move/v1", &said(&["move", "web"]));
    all_of("paracloud.event/v1", &said(&["events"]));
    all_of("paracloud.log/v1", &said(&["logs", "web"]));
    all_of("paracloud.holds/v1", &said(&["holds"]));
    for refused in [
        &["cancel", "web"][..],
        &["reconsider", "web"],
        &["node", "lost", "n9"],
        &["logs", "nobody"],
        &["scale", "web", "2"],
    ] {
        all_of("paracloud.error/v1", &said(refused));
    }
    all_of("paracloud.stop/v1", &said(&["stop", "--yes"]));
    assert_eq!(up.ended(), 0);
    all_of("paracloud.up/v1", &up.said());
    for form in ["cancel", "reconsider", "node", "scale", "drain-node", "demo"] {
        assert!(PAGE.contains(&format!("`paracloud.{form}/v1`")), "{form}");
    }
}
