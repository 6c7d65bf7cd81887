//! Whose directory it is.

use paracloud_core::ids::NodeId;
use paracloud_substrate::layout::Layout;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn neither_agent_nor_shim_uses_a_directory_that_others_may_enter() {
    let directory = tempfile::tempdir().unwrap();
    set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let agent = paracloud_agent::run(layout, NodeId(1)).await.unwrap_err().to_string();
    let shim = paracloud_agent::shim::run(directory.path()).await.unwrap_err().to_string();
    for refused in [agent, shim] {
        assert!(refused.contains("0750") && refused.contains("chmod 700"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
