//! The program as a person uses it: real processes in a directory of their own, on ports that the system gives.

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "a rig that cannot be set up fails its test; other tests use the rest of it"
)]
mod rig;

use paracloud_substrate::process::Identity;
use rig::{Rig, run, wait_until};
use rustix::process::Signal;
use serde_json::json;
use std::io::Write;
use std::process::Stdio;

#[test]
fn an_app_without_state_is_moved_by_restart_and_nothing_is_left_when_the_cloud_is_stopped() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    let ps = rig.json(&["ps"]);
    assert_eq!(ps["instances"][0]["name"], "web");
    assert_eq!(ps["instances"][0]["record"]["owner"]["node"], 1);
    assert_eq!(rig.get(0), "hello\n");

    let preview = rig.json(&["move", "web", "--dry-run"]);
    assert_eq!(preview["preview"]["mode"], "restart");
    let moved = rig.json(&["move", "web", "--to", "n2"]);
    assert_eq!((&moved["ok"], &moved["outcome"]["node"]), (&true.into(), &2.into()), "{moved}");
    assert_eq!(rig.get(0), "hello\n");
    assert_eq!(rig.get(1), "hello\n");

    let events = rig.run(&["events", "--output", "json"]);
    let changes: Vec<serde_json::Value> =
        events.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let commits = changes.iter().filter(|event| event["what"]["swapped"]["change"] == "commit").count();
    assert_eq!(commits, 1, "{}", events.out);
    let logs = rig.run(&["logs", "web"]).out;
    let nodes: Vec<_> =
        logs.lines().filter(|line| line.ends_with("starting")).map(|line| &line[..3]).collect();
    assert_eq!(nodes, ["n1/", "n2/"], "{logs}");

    assert_eq!(rig.run(&["stop"]).code, 0, "nothing would be lost, so nothing is asked");
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
    assert_eq!(rig.run(&["ps"]).code, 3);
}

#[test]
fn state_is_not_lost_without_consent() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    let refused = rig.run(&["move", "web"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(
        refused.err.starts_with("error: web: ") && refused.err.contains("--accept-loss"),
        "{}",
        refused.err
    );
    assert_eq!(rig.run(&["move", "web", "--dry-run"]).code, 4);
    let asked = rig.run(&["stop"]);
    assert_eq!(asked.code, 4, "{}", asked.err);
    assert_eq!(rig.get(0), "hello\n");

    let moved = rig.json(&["move", "web", "--accept-loss"]);
    assert_eq!(moved["outcome"]["node"], 2, "{moved}");
    let stopped = rig.run(&["stop", "--yes"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "stopped; nothing is left running\n"));
    let waiting =
        format!("`paracloud up` (pid {}) ends everything; waiting for it, at most 32.00 s\n", up.pid());
    assert_eq!(stopped.err, waiting, "twice the grace, and what the rest may take");
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());

    // The next one that is up here can read what became of it, and who consented.
    let mut again = rig.up(&[]);
    again.serving();
    assert_eq!(lost(&rig), [json!("restart person"), json!("stop person")]);
    let told = rig.run(&["events"]).out;
    for line in [
        "web  a move to another node was refused (consent_needed): ",
        "its state is lost: it was stopped to be moved by restart; a person consented to that",
        "its state is lost: the cloud was ended; a person consented to that",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(again.ended(), 0);
}

/// With what state was lost, and whose consent, by the journal.
fn lost(rig: &Rig) -> Vec<serde_json::Value> {
    let of = |event: &serde_json::Value| {
        let lost = event["what"]["state_lost"].as_object()?;
        Some(json!(format!("{} {}", lost["by"].as_str()?, lost["consent"].as_str()?)))
    };
    rig.events().iter().filter_map(of).collect()
}

#[test]
fn an_instance_of_which_nothing_is_known_is_not_stopped_without_consent() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    // Nobody can say whether the process that is found is the owner: no record is left.
    let cloud = rig.path().join("cloud");
    wait_until("the shells are gone", || rig.processes("controller").is_empty());
    for memory in ["controller", "n1/records", "n2/records"] {
        std::fs::remove_dir_all(cloud.join(memory)).expect("it was made");
    }
    let mut again = rig.up(&[]);
    wait_until("it is unknown who owns", || rig.run(&["ps"]).out.contains("no node knows of a record"));
    let asked = rig.run(&["stop"]);
    assert_eq!(asked.code, 4, "{}", asked.err);
    assert!(asked.err.starts_with("error: web: what it holds is not known (process "), "{}", asked.err);
    assert_eq!(rig.json_of_refused(&["stop"], 4)["lost"], serde_json::json!(["web"]));
    assert_eq!(rig.processes("web.py").len(), 1, "it runs on");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(again.ended(), 0);
    assert!(again.said().contains("web: what it holds is dropped, and not known"), "{}", again.said());
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn what_there_is_not_is_named_and_nothing_hangs() {
    let rig = Rig::new("state: none");
    let none = rig.run(&["ps"]);
    assert_eq!(none.code, 3);
    assert!(none.err.contains("there is no cloud here") && none.err.contains("next:"), "{}", none.err);
    assert_eq!(rig.run(&["stop"]).code, 3);
    let mut up = rig.up(&[]);
    up.serving();
    for (arguments, code) in [
        (&["move", "other"][..], 2),
        (&["move", "web", "--to", "n9"], 2),
        (&["logs", "other"], 2),
        (&["node", "lost", "n9"], 2),
        (&["node", "lost", "n1"], 1),
        (&["cancel", "web"], 1),
        (&["reconsider", "web"], 1),
        (&["frobnicate"], 2),
    ] {
        let answer = rig.run(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {}", answer.err);
        assert!(answer.err.starts_with("error: "), "{arguments:?}: {}", answer.err);
    }
    let known = rig.run(&["reconsider", "web"]);
    assert!(known.err.starts_with("error: web: nothing about it is unknown\nnext: "), "{}", known.err);
    let misused = rig.json_of_refused(&["ps", "everything"], 2);
    assert_eq!(misused["error"]["code"], "usage", "{misused}");
    let refused = rig.run(&["--output", "json", "cancel", "web"]);
    let object: serde_json::Value = serde_json::from_str(&refused.out).expect("one object");
    assert_eq!(
        (&object["ok"], &object["error"]["code"]),
        (&false.into(), &"nothing_open".into()),
        "{object}"
    );
}

#[test]
fn what_a_person_should_know_of_the_manifest_is_said_at_the_start_and_once() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    let notes = up.said().matches("note: web: its command names no {port}").count();
    assert_eq!(notes, 1, "{}", up.said());
}

#[test]
fn a_failure_keeps_its_exit_code_when_nobody_reads_why() {
    let nowhere = tempfile::tempdir().expect("a directory of our own");
    let cloud = nowhere.path().join("cloud");
    for format in ["json", "text"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_paracloud"));
        command.args(["ps", "--output", format, "--dir"]).arg(&cloud);
        command.stderr(writer.try_clone().expect("a second end")).stdout(writer);
        assert_eq!(command.status().expect("it runs").code(), Some(3), "{format}");
    }
}

#[test]
fn a_second_up_is_refused_and_a_taken_address_is_named() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    let second = rig.run(&["up", rig.manifest()]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains(&format!("(pid {})", up.pid())), "{}", second.err);

    let elsewhere = rig.path().join("elsewhere");
    let taken = run(&["up", rig.manifest(), "--dir", elsewhere.to_str().expect("UTF-8")]);
    assert_eq!(taken.code, 1);
    let why = format!("error: web: cannot listen on {}", rig.address(0));
    assert!(taken.err.starts_with(&why), "{}", taken.err);
    assert_eq!(rig.get(0), "hello\n", "the first one goes on");
}

#[test]
fn ctrl_c_says_what_is_dropped_and_leaves_no_process() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    assert!(!rig.left().is_empty());
    up.signal(Signal::INT);
    assert_eq!(up.ended(), 0);
    assert!(up.said().contains("web: the state in its memory is dropped"), "{}", up.said());
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn ctrl_c_ends_everything_also_when_the_directory_was_removed_under_it() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    let cloud = rig.path().join("cloud");
    wait_until("it is removed", || {
        // Somebody may just be writing in it.
        let _ = std::fs::remove_dir_all(&cloud);
        !cloud.exists()
    });
    up.signal(Signal::INT);
    assert_eq!(up.ended(), 0, "{}", up.said());
    assert!(up.said().contains("/ending: No such file or directory"), "{}", up.said());
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_program_that_does_not_end() {
    let rig = Rig::with_program("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "stopGrace: 10m");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::INT);
    up.says("ending");
    up.signal(Signal::INT);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn a_shell_that_dies_is_started_again_and_clients_are_served() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    for shell in ["controller", "agent", "gateway"] {
        let pid = rig.left().into_iter().find(|it| it.words.get(1).is_some_and(|word| word == shell));
        rig::kill(pid.expect("it runs").pid, Signal::KILL);
        up.says("was killed by signal 9; starting it again");
    }
    wait_until("everything is connected again", || {
        let ps = rig.run(&["ps"]);
        ps.code == 0 && !ps.out.contains("connected") && ps.out.contains("serving")
    });
    assert_eq!(rig.get(0), "hello\n");
    assert_eq!(rig.get(1), "hello\n");
}

#[test]
fn a_move_is_not_followed_for_ever_when_the_controller_stands_still_and_goes_on_without_the_command() {
    let rig =
        Rig::with_program("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "state: none\nstopGrace: 10m");
    let mut up = rig.up(&[]);
    up.serving();
    let program = rig.processes("web.py");
    let (ended, ends) = std::sync::mpsc::channel();
    let cloud = rig.cloud();
    std::thread::spawn(move || ended.send(run(&["--dir", &cloud, "move", "web", "--to", "n2"])));
    // The command has heard of the move before.
    wait_until("the source is told to stop", || {
        rig.events().iter().any(|event| event["what"]["swapped"]["change"] == "seal")
    });
    let controller = rig.processes("controller")[0];
    rig::kill(controller, Signal::STOP);
    let moved = ends.recv_timeout(rig::PATIENCE).expect("the command ends");
    assert_eq!(moved.code, 3, "{}{}", moved.out, moved.err);
    let why = "the controller did not answer within 10.00 s; the move goes on without this command";
    assert!(moved.err.contains(why) && moved.err.contains("controller.log"), "{}", moved.err);

    rig::kill(controller, Signal::CONT);
    // What the move waits for.
    rig::kill(program[0], Signal::KILL);
    wait_until("it is there", || {
        rig.record().is_some_and(|record| record["owner"]["node"] == 2 && record["operation"].is_null())
    });
    assert_eq!(rig.get(0), "hello\n");
}

#[test]
fn who_asks_an_application_by_hand_hears_its_own_words_and_changes_nothing() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python/jobs.py");
    let rig = Rig::of("jobs", &json!(["python3", "-B", program]), &[&json!({ "state": "none" })], &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let record = || rig.record().map(|record| record.to_string());
    let before = record();
    let asked = rig.run(&["ask", "jobs", "quote"]);
    let price = "jobs: losing it now would cost nothing, drained in 0 ms, 0 B of state to hand over, 0 sessions that only it can serve\n";
    assert_eq!((asked.code, asked.out.as_str()), (0, price), "{}", asked.err);
    let counter = rig.json(&["ask", "jobs", "resize", "--memory", "1MiB"]);
    assert_eq!(
        (&counter["question"], &counter["answer"]["code"]),
        (&json!("resize"), &json!("DOES_NOT_FIT"))
    );
    assert_eq!(counter["answer"]["fit"]["memoryKib"], 32_768);
    let more = rig.run(&["ask", "jobs", "resize", "--cpu", "2"]);
    assert_eq!(more.out, "jobs: it would do with that\n");
    let lacking = rig.run(&["ask", "jobs", "estimate"]);
    assert_eq!(lacking.code, 1);
    assert!(lacking.err.contains("it does not claim the capability move.estimate"), "{}", lacking.err);
    assert_eq!(rig.run(&["ask", "jobs", "resize"]).code, 2, "no size is named");
    assert_eq!(rig.run(&["ask", "unheard-of", "quote"]).code, 2);
    assert_eq!(record(), before, "no operation was opened");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
}

#[test]
fn an_owner_that_fails_at_what_was_decided_is_named_with_its_code_and_ending_it_ends_the_move() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud/misbehave.py");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python");
    let short = json!({ "move": { "seal": "1500ms" }, "drain": "100ms", "stopGrace": "2s" });
    for (sins, call, node) in
        [("fails-serve", "serve", 2), ("empty-digest,fails-resume-rolled_back", "resume", 1)]
    {
        let environment = json!({ "MISBEHAVE": sins, "EXAMPLE": example });
        let rig = Rig::of("sinner", &json!(["python3", "-B", program]), &[&short], &environment);
        let mut up = rig.up(&[]);
        up.serving();
        let moved = rig.run(&["move", "sinner"]);
        assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
        let why = format!("the move is decided, but its owner answered {call} with WRONG_PHASE\n");
        assert!(moved.err.contains(&why), "{}", moved.err);
        assert!(moved.err.contains("next: paracloud logs sinner shows why; "), "{}", moved.err);
        let record = rig.record().expect("the controller answers");
        assert_eq!(record["owner"]["node"], node, "{record}");
        assert!(!record["operation"].is_null(), "it is open still: {record}");
        let shown = rig.run(&["ps"]).out;
        assert!(shown.contains(&format!(") answers {call} with WRONG_PHASE, for ")), "{shown}");
        let cancelled = rig.run(&["cancel", "sinner"]);
        assert!(
            cancelled.err.contains(&format!("its owner answers {call} with WRONG_PHASE")),
            "{}",
            cancelled.err
        );
        // Another owner is told nothing of what its forerunner was to do.
        let start = record["owner"]["start"].clone();
        let port =
            record["served"].as_str().and_then(|it| it.rsplit(':').next()).expect("an address").to_owned();
        kill_listener(&rig, &port);
        wait_until("the move ends", || {
            rig.record().is_some_and(|record| {
                record["operation"].is_null()
                    && !record["served"].is_null()
                    && record["owner"]["start"] != start
            })
        });
    }
}

/// Kills the program that was given this port.
fn kill_listener(rig: &Rig, port: &str) {
    let was_given = |pid: i32| {
        let process = procfs::process::Process::new(pid).ok()?;
        let environ = process.environ().ok()?;
        Some(environ.get(std::ffi::OsStr::new("PORT")).is_some_and(|it| it == port))
    };
    let of_program = |found: &&rig::Found| found.words.iter().any(|word| word.ends_with("misbehave.py"));
    let left = rig.left();
    let found: Vec<_> = left.iter().filter(of_program).filter(|it| was_given(it.pid) == Some(true)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    rig::kill(found[0].pid, Signal::KILL);
}

#[test]
fn an_agent_that_somebody_started_by_hand_takes_no_node_away_for_long() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    // Of a node on which nothing runs: no shim tells the first agent that there is a newer one.
    let mut by_hand = rig.start(&["agent", "--node", "n2"], Stdio::null());
    up.says("agent-n2 ended with exit status 1; starting it again");
    wait_until("the agent of `up` takes the node back", || by_hand.is_ended());
    wait_until("the node is there", || !rig.run(&["ps"]).out.contains("node n2: its agent is not connected"));
    assert_eq!(rig.json(&["move", "web", "--to", "n2"])["outcome"]["node"], 2);
}

#[test]
fn an_up_to_which_nobody_listens_looks_after_its_shells_and_ends_when_it_is_told() {
    let rig = Rig::new("state: none");
    // As a terminal that stands still: it takes not one line.
    let (_unread, mut full) = std::io::pipe().expect("a pipe");
    let room = rustix::pipe::fcntl_setpipe_size(&full, 4_096).expect("a small one");
    full.write_all(&vec![b' '; room]).expect("it has room");
    let mut up = rig.start(&["up", rig.manifest(), "--output", "json"], full);
    let serves = || rig.run(&["ps"]).out.contains("serving");
    wait_until("it serves", serves);
    let before = rig.processes("controller");
    rig::kill(before[0], Signal::KILL);
    wait_until("there is another controller", || {
        let now = rig.processes("controller");
        now.len() == 1 && now != before && serves()
    });
    up.signal(Signal::INT);
    wait_until("it ends", || up.is_ended());
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn when_up_is_killed_nothing_is_left_once_the_time_for_orphans_is_over() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[("PARACLOUD_ORPHAN_MS", "500")]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    wait_until("nothing is left", || rig.left().is_empty());
}

#[test]
fn the_next_up_adopts_what_a_killed_one_left() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    let before = rig.json(&["ps"])["instances"][0]["record"]["owner"].clone();
    up.signal(Signal::KILL);
    up.ended();
    let mut again = rig.up(&[]);
    again.serving();
    assert_eq!(rig.json(&["ps"])["instances"][0]["record"]["owner"], before, "the same process serves on");
    assert_eq!(rig.get(0), "hello\n");
    again.signal(Signal::TERM);
    assert_eq!(again.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// Gives the app of the manifest another name.
fn rename(rig: &Rig, name: &str) {
    let text = std::fs::read_to_string(rig.manifest()).expect("it was written");
    std::fs::write(rig.manifest(), text.replace("name: web\n", &format!("name: {name}\n"))).expect("ours");
}

#[test]
fn an_app_that_is_in_the_manifest_no_more_is_not_ended_without_consent() {
    let rig = Rig::new("stopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    rename(&rig, "other");
    let program = rig.processes("web.py");
    assert_eq!(program.len(), 1);

    let refused = rig.run(&["up", rig.manifest()]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(
        refused.err.starts_with("error: web: in the manifest no more, but still running here"),
        "{}",
        refused.err
    );
    let next = format!(
        "put it back into {0} at once, or consent to the loss: paracloud up {0} --accept-loss",
        rig.manifest()
    );
    assert!(refused.err.contains(&next), "{}", refused.err);
    assert_eq!(rig.processes("web.py"), program, "it runs on");

    let mut consented = rig.up_with(&["--accept-loss"], &[]);
    consented.serving();
    let now = rig.processes("web.py");
    assert_eq!((now.len(), now.contains(&program[0])), (1, false), "the other app alone");
    assert_eq!(lost(&rig), [json!("removal person")]);
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(consented.ended(), 0);
}

#[test]
fn an_adopted_process_that_the_manifest_would_start_otherwise_is_noted() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    let text = std::fs::read_to_string(rig.manifest()).expect("it was written");
    let changed = text.replace("[python3, web.py]", "[python3, web.py, '{port}']");
    std::fs::write(rig.manifest(), &changed).expect("ours");
    let mut again = rig.up(&[]);
    again.says("note: web: its process runs on as it was started");
    again.serving();
    assert_eq!(rig.json(&["move", "web"])["outcome"]["committed"], true);
    assert!(rig.left().iter().any(|it| it.words.len() == 3 && it.words[1] == "web.py"), "{:?}", rig.left());
    assert_eq!(rig.run(&["stop"]).code, 0);
    assert_eq!(again.ended(), 0);
    assert!(!again.said().contains("names no {port}"), "{}", again.said());
}

#[test]
fn an_app_without_state_that_is_in_the_manifest_no_more_is_ended() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    let program = rig.processes("web.py");
    rename(&rig, "other");
    let mut again = rig.up(&[]);
    again.serving();
    assert!(!rig.processes("web.py").contains(&program[0]));
}

#[test]
fn a_cloud_that_was_ended_and_is_up_again_serves_when_it_says_so() {
    let rig = Rig::new("state: none");
    for incarnation in 1..=3 {
        let mut up = rig.up(&[]);
        up.serving();
        let record = rig.record().expect("it serves");
        assert_eq!(record["incarnation"], incarnation, "a new process each time: {record}");
        assert_eq!(rig.processes("web.py").len(), 1);
        assert_eq!(rig.run(&["stop"]).code, 0);
        assert_eq!(up.ended(), 0);
    }
}

#[test]
fn stop_looks_for_itself_whether_anything_is_left_running() {
    let rig = Rig::with_program("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "stopGrace: 10m");
    let mut up = rig.up(&[]);
    up.serving();
    let stop = std::thread::scope(|threads| {
        let stop = threads.spawn(|| rig.json(&["stop", "--yes"]));
        up.says("ending");
        // It is killed before it has ended a program that takes its time.
        up.signal(Signal::KILL);
        up.ended();
        stop.join().expect("it ends")
    });
    assert_eq!((&stop["ok"], &stop["dropped"]), (&true.into(), &serde_json::json!(["web"])), "{stop}");
    let left: Vec<_> = stop["left"].as_array().expect("a list").iter().filter_map(|it| it.as_str()).collect();
    assert!(left.contains(&"web on n1"), "{stop}");
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn stop_waits_for_an_end_that_has_begun_and_kills_nothing_that_was_asked() {
    let rig = Rig::with_program("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "stopGrace: 2s");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::INT);
    up.says("is dropped");
    wait_until("the end has begun", || rig.path().join("cloud/ending").exists());
    let stop = rig.run(&["stop"]);
    assert_eq!((stop.code, stop.out.as_str()), (0, "stopped; nothing is left running\n"), "{}", stop.err);
    assert_eq!(up.ended(), 0);
    assert!(!up.said().contains("killing everything"), "{}", up.said());
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn stop_says_of_an_up_that_stands_still_that_it_does() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::STOP);
    let identity = Identity::of(up.pid().cast_signed()).expect("it is there");
    wait_until("it stands still", || identity.is_stopped().unwrap_or(false));
    let refused = rig.run(&["stop"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("it stands still, and hears nothing"), "{}", refused.err);
    up.signal(Signal::CONT);
    assert_eq!(rig.run(&["stop"]).code, 0);
    assert_eq!(up.ended(), 0);
}

#[test]
fn stop_ends_what_a_killed_up_left() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    up.signal(Signal::KILL);
    up.ended();
    assert_eq!(rig.run(&["stop"]).code, 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}
