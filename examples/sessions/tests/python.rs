//! The examples in plain Python keep their word too: their own tests ask them what an agent would.

use std::path::Path;
use std::process::Command;

fn tested(test: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python");
    let tested = Command::new("python3").args(["-B", "-m", "unittest", test]).current_dir(directory).output();
    let tested = tested.expect("python3 is needed for the examples in Python");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}

#[test]
fn the_queue_in_python_says_what_it_has_to_do_and_answers_what_it_would_cost() {
    tested("test_jobs");
}

#[test]
fn the_example_in_python_moves_and_comes_back_from_a_move_that_was_rolled_back() {
    tested("test_handoff");
}
