//! Whose directory it is.

use paracloud_controller::run_until;
use paracloud_substrate::layout::Layout;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_may_enter_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let refused = run_until(layout, std::future::pending()).await.unwrap_err().to_string();
    assert!(refused.contains("0750") && refused.contains("chmod 700"), "{refused}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
