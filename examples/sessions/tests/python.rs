//! The example in plain Python keeps its word too: its own test moves it between two real processes.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_in_python_moves_and_comes_back_from_a_move_that_was_rolled_back() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python");
    let tested = Command::new("python3")
        .args(["-B", "-m", "unittest", "test_handoff"])
        .current_dir(directory)
        .output();
    let tested = tested.expect("python3 is needed for the example in Python");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}
