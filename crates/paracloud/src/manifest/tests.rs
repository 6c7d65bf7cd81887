use super::*;
use paracloud_substrate::config::{
    Check, Flap, Probe, Protocol, Reports, Scale, Session, Shape, Size, State, Sticky, Work,
};
use std::time::Duration;

fn resolved(text: &str) -> Resolved {
    resolve(text, Path::new("/"), 2).unwrap()
}

fn problem(text: &str) -> String {
    resolve(text, Path::new("/"), 2).unwrap_err().to_string()
}

const SMALL: &str = "kind: App\nname: sessions\ncommand: [/bin/sh, '{port}']\n";

#[test]
fn three_fields_are_enough_and_the_rest_has_defaults() {
    let resolved = resolved(SMALL);
    let app = &resolved.cloud.apps[0];
    assert_eq!((app.name.as_str(), app.state, app.accept_loss), ("sessions", State::Stateful, false));
    assert_eq!(app.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(app.command, ["/bin/sh", "{port}"]);
    assert_eq!(resolved.cloud.gateways, [GatewayId(1)]);
    assert_eq!(resolved.cloud.nodes[1].host.to_string(), "127.0.1.2");
    assert!(resolved.notes.is_empty());
}

#[test]
fn every_field_reaches_the_cloud() {
    let text = "\
kind: App
name: all
command: [sh, -c, 'serve $PORT']
directory: tmp
env: {LOG: info, AT: '{host}'}
listen: [8080, '0.0.0.0:8081', '[::1]:8082']
state: none
acceptLoss: true
node: n2
readiness: {http: /healthz}
move: {prepare: 1s, copy: 2m, park: 3s, seal: 4s, guardWait: 5ms, switch: 6s, release: 7s, pause: 8ms, pauseMax: 9ms}
parking: {wait: 1h, requests: 7, replay: 64KiB}
stopGrace: 3s
drain: 250ms
protocol: h2
";
    assert!(
        problem(text)
            .contains("line 12, column 17: parking.wait: 1h is out of bounds: from 1 ms to 10 m 00 s")
    );
    let resolved = resolved(&text.replace("1h", "1m"));
    let app = &resolved.cloud.apps[0];
    assert_eq!(app.directory, Path::new("/tmp"));
    assert_eq!(app.command[0], "sh", "it is looked for when it is started");
    assert_eq!(app.env["AT"], "{host}");
    assert_eq!(
        app.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:8080", "0.0.0.0:8081", "[::1]:8082"]
    );
    assert_eq!((app.state, app.accept_loss, app.node), (State::None, true, NodeId(2)));
    assert_eq!(app.readiness, Check::by(Probe::Http("/healthz".to_owned())));
    let moved = &app.budgets;
    assert_eq!(
        [moved.prepare_ms, moved.copy_ms, moved.park_ms, moved.seal_ms, moved.guard_wait_ms],
        [1_000, 120_000, 3_000, 4_000, 5]
    );
    assert_eq!([moved.switch_ms, moved.release_ms, moved.pause_ms, moved.pause_ms_max], [6_000, 7_000, 8, 9]);
    let parking = &app.parking;
    assert_eq!([parking.parked_ms_max, parking.parked_max, parking.replay_bytes_max], [60_000, 7, 65_536]);
    assert_eq!(Duration::from_millis(app.stop_grace_ms.into()), Duration::from_secs(3));
    assert_eq!((app.drain_ms, app.protocol), (250, Protocol::H2));
    assert_eq!(resolved.cloud.gateways.len(), 3);
}

const SCALED: &str = "\
kind: App
name: worker
command: [/bin/sh, '{port}']
state: session
session: {header: X-Session, idle: 10m}
scale: {min: 2, max: 8, start: 3, period: 2s, hold: 90s, target: 65%, flap: {actions: 6, per: 5m}, drain: 1m, manualHold: 30m, shape: both, reports: ignored}
resources: {memory: 256MiB, cpu: 500m, resizeMin: {memory: 64MiB}, resizeMax: {memory: 1GiB, cpu: 2}}
readiness: {exec: [/bin/true, '{port}'], period: 250ms, timeout: 2s, failures: 5, successes: 2}
liveness: {tcp: true}
";

#[test]
fn how_many_instances_there_may_be_and_how_large_they_are_reaches_the_cloud() {
    let app = &resolved(SCALED).cloud.apps[0];
    let flap = Flap { actions: 6, per_ms: 300_000 };
    let scale = Scale {
        min: 2,
        max: 8,
        start: 3,
        period_ms: 2_000,
        hold_ms: Some(90_000),
        target_permille: 650,
        flap,
        drain_ms: 60_000,
        manual_hold_ms: 1_800_000,
        shape: Shape::Both,
        reports: Reports::Ignored,
        work: Work::Requests,
    };
    assert_eq!(app.scale, Some(scale));
    let session = Session { sticky: Sticky::Header("x-session".to_owned()), idle_ms: 600_000 };
    assert_eq!((app.state, app.session.as_ref()), (State::Session, Some(&session)));
    let size = |mib: u64, cpu_milli| Size { memory_bytes: Some(mib << 20), cpu_milli: Some(cpu_milli) };
    let sizes = app.resources;
    assert_eq!((sizes.start, sizes.least, sizes.most), (size(256, 500), size(64, 500), size(1024, 2_000)));
    let command = ["/bin/true", "{port}"].map(str::to_owned).to_vec();
    let probe = Probe::Exec(command);
    let readiness = Check { probe, period_ms: 250, timeout_ms: 2_000, failures: 5, successes: 2 };
    assert_eq!((&app.readiness, &app.liveness), (&readiness, &Some(Check::by(Probe::Tcp))));
    let scale =
        |fields: &str| resolved(&format!("{SMALL}scale: {{max: 4{fields}}}\n")).cloud.apps[0].scale.unwrap();
    let least = Scale { max: 4, ..Scale::default() };
    assert_eq!(scale(""), least, "one is enough to begin with");
    assert_eq!(scale(", work: queue"), Scale { work: Work::Queue, ..least });
}

#[test]
fn what_is_wrong_with_scale_resources_sessions_and_checks_is_said_with_line_column_and_field() {
    let with = |line: &str| problem(&format!("{SMALL}{line}\n"));
    let lines = [
        with("scale: {}"),
        with("scale: {max: 0}"),
        with("scale: {max: 65}"),
        with("scale: {min: 3, max: 2}"),
        with("scale: {max: 4, start: 5}"),
        with("scale: {min: 2, max: 4, start: 1}"),
        with("scale: {max: 4, target: 101%}"),
        with("scale: {max: 4, target: 70}"),
        with("scale: {max: 4, target: 7.5%}"),
        with("scale: {max: 4, shape: sideways}"),
        with("scale: {max: 4, shape: up}"),
        with("scale: {max: 4, shape: both}\nresources: {memory: 1MiB}"),
        with("scale: {max: 4, shape: up}\nresources: {cpu: 500m}"),
        with("scale: {max: 4, work: jobs}"),
        with("scale: {max: 4, work: queue, reports: ignored}"),
        with("scale: {max: 4, flap: {actions: 0}}"),
        with("scale: {max: 4, period: 2m}"),
        with("scale: {max: 4, manual_hold: 1h}"),
        with("node: n1\nscale: {max: 4}"),
        with("resources: {memory: 256}"),
        with("resources: {memory: 1KiB}"),
        with("resources: {memory: 99999999999999999999GiB}"),
        with("resources: {cpu: 0.5}"),
        with("resources: {cpu: 5m}"),
        with("resources: {cpu: 9999999}"),
        with("resources: {resizeMax: {memory: 1GiB}}"),
        with("resources: {memory: 256MiB, resizeMin: {memory: 512MiB}}"),
        with("resources: {cpu: 2, resizeMax: {cpu: 1}}"),
        with("state: session"),
        with("session: {cookie: sid}"),
        with("state: session\nsession: {cookie: sid, header: x}"),
        with("state: session\nsession: {header: Content-Length}"),
        with("state: session\nsession: {header: HOST}"),
        with("state: session\nsession: {idle: 1m}"),
        with("state: session\nsession: {cookie: 'a b'}"),
        with("state: session\nsession: {cookie: ''}"),
        with("liveness: {period: 1s}"),
        with("liveness: {tcp: true, failures: 0}"),
        with("liveness: {tcp: true, successes: 2}"),
        with("readiness: {tcp: true, successes: 0}"),
        with("readiness: {exec: []}"),
        with("readiness: {exec: [./no-such-file]}"),
        with("readiness: {tcp: true, timeout: 2m}"),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn several_documents_are_several_apps() {
    let second = SMALL.replace("sessions", "other") + "listen: 8090\n";
    let resolved = resolved(&format!("{SMALL}---\n{second}"));
    assert_eq!(
        resolved.cloud.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["sessions", "other"]
    );
}

#[test]
fn a_program_that_names_no_port_is_noted() {
    let resolved = resolved(&SMALL.replace(", '{port}'", ""));
    assert!(resolved.notes[0].to_string().starts_with("sessions: its command names no {port}"));
}

#[test]
fn what_is_wrong_is_said_with_line_column_and_field() {
    let with = |line: &str| problem(&format!("{SMALL}{line}\n"));
    let long: Vec<String> = (1..=9).map(|port| port.to_string()).collect();
    let lines = [
        problem(""),
        problem("kind: App\n"),
        problem("- a\n"),
        problem("kind: [App\n"),
        problem("a: b: c\n"),
        problem("kind: Service\nname: a\n"),
        problem(&SMALL.replace("sessions", "Sessions")),
        problem(&SMALL.replace("sessions", "7")),
        problem(&SMALL.replace("[/bin/sh, '{port}']", "serve")),
        problem(&SMALL.replace("[/bin/sh, '{port}']", "[]")),
        problem(&SMALL.replace("/bin/sh", "./no/such/file")),
        problem(&SMALL.replace("/bin/sh", "/etc/passwd")),
        problem(&SMALL.replace("/bin/sh", "no-such-program-anywhere")),
        problem(&SMALL.replace("'{port}'", "8080")),
        problem(&format!("{SMALL}---\n{SMALL}")),
        problem(&format!("{SMALL}---\n{}", SMALL.replace("sessions", "other"))),
        problem(&format!("{SMALL}---\n{}listen: [8090, 8091]\n", SMALL.replace("sessions", "other"))),
        with("accept_loss: true"),
        with("volumes: [a]"),
        with("name: again"),
        with("acceptLoss: yes please"),
        with("state: stateless"),
        with("node: n3"),
        with("env: {PORT: '1'}"),
        with("env: {A: 1}"),
        with("env: {A: '1', A: '2'}"),
        with("listen: localhost:8080"),
        with("listen: []"),
        with("listen: ['127.0.0.1:0']"),
        with("listen:\n  - 127.0.0.1:8080\n  - 0.0.0.0:8080"),
        with(&format!("listen: [{}]", long.join(", "))),
        with("protocol: http3"),
        with("stopGrace: 10"),
        with("stopGrace: 10 parsecs"),
        with("move: {pauze: 5ms}"),
        with("move: {pause: 1s}"),
        with("move:\n  guardWait: 3s"),
        with("move: 5ms"),
        with("parking: {requests: 0}"),
        with("parking: {replay: 1GiB}"),
        with("readiness: {http: healthz}"),
        with("readiness: {http: /a, tcp: true}"),
        with("directory: no/such"),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_more_than_a_manifest_can_be_is_said_with_its_line() {
    let tens = |part: &str| [part; 10].join(", ");
    let bomb: String =
        (1..9).map(|n| format!("  a{n}: &a{n} [{}]\n", tens(&format!("*a{}", n - 1)))).collect();
    let many = format!("x: &x 1\ny: [{}]\n", vec!["*x"; 200].join(", "));
    let name = SMALL.replace("sessions", &"a".repeat(5_000));
    let lines = [
        problem(&format!("{SMALL}env:\n  a0: &a0 [{}]\n{bomb}", tens("x"))),
        problem(&many),
        problem(&format!("{SMALL}env: {}{}\n", "[".repeat(20), "]".repeat(20))),
        problem(&"[".repeat(10_000)),
        problem(&(0..100).map(|depth| format!("{}k:\n", "  ".repeat(depth))).collect::<String>()),
        problem("kind: App\nname: &x [*x]\n"),
        problem("kind: App\nname: *nobody\n"),
        problem(&"kind: App\n---\n".repeat(2_000)),
        problem(&name),
        problem(&format!("{SMALL}node: {}", "n".repeat(5_000))),
        problem(&format!("{SMALL}stopGrace: {}s", "9".repeat(9))),
    ];
    assert!(lines.iter().all(|line| line.chars().count() < 200), "{lines:#?}");
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_a_manifest_means_is_a_manifest_that_means_the_same() {
    let all = "\
kind: App
name: all
command: [/bin/sh, -c, 'serve $PORT', '{host}', 'true', '1', '', ' a: b', '# no', \"two\\nlines\", 'é']
directory: /tmp
env: {LOG: info, AT: '{host}', NO: 'no', EMPTY: '', N: '0x10'}
listen: [8080, '0.0.0.0:8081', '[::1]:8082']
state: none
acceptLoss: true
node: n2
readiness: {http: /healthz}
move: {prepare: 90s, copy: 2m, park: 3s, seal: 4s, guardWait: 5ms, switch: 1500ms, pause: 8ms, pauseMax: 9ms}
parking: {wait: 1m, requests: 7, replay: 1KiB}
stopGrace: 3s
drain: 250ms
protocol: h2
";
    let other = "---\nkind: App\nname: other\ncommand: [/bin/sh, '{port}']\nlisten: [8090, 8091, 8092]\n";
    let scaled = format!("---\n{SCALED}listen: [8070, 8071, 8072]\n");
    let queue =
        scaled.replace("worker", "queue").replace("807", "806").replace("reports: ignored", "work: queue");
    let resolved = resolved(&format!("{all}{other}{scaled}{queue}"));
    let shown = Shown::of(&resolved.cloud).yaml().unwrap();
    let again = resolve(&shown, Path::new("/"), 2).unwrap_or_else(|problem| panic!("{problem}\n{shown}"));
    assert_eq!(again.cloud, resolved.cloud, "{shown}");
    let small = resolve(SMALL, Path::new("/"), 2).unwrap().cloud;
    insta::assert_snapshot!(Shown::of(&small).yaml().unwrap());
    let object = serde_json::to_value(Shown::of(&small)).unwrap();
    assert_eq!(object["apps"][0]["acceptLoss"], false);
    assert_eq!(object["apps"][0]["move"]["guardWait"], "1s");
    assert_eq!(object["nodes"][1], serde_json::json!({ "name": "n2", "host": "127.0.1.2" }));
}

#[test]
fn any_text_is_refused_or_resolved_but_never_a_panic() {
    for text in ["\0", "&a [*a]", "? {a: b}\n: c", "!!binary x", "%YAML 9", "<<: 1", "{", "a: &x {b: *x}"] {
        let _ = resolve(text, Path::new("/"), 2);
    }
    let deep = "[".repeat(10_000);
    assert!(resolve(&deep, Path::new("/"), 2).is_err());
}

#[test]
fn a_manifest_that_is_not_there_is_asked_for_by_the_command_that_was_given_it() {
    for command in ["up", "apply", "validate"] {
        let failure = read(Path::new("/nowhere/app.yaml"), 2, command).unwrap_err();
        assert_eq!((failure.exit, failure.why.as_str()), (Exit::Usage, "there is no such file"));
        assert_eq!(failure.next, format!("name a manifest: paracloud {command} app.yaml"));
    }
}

#[test]
fn a_manifest_is_no_longer_than_its_bound_also_where_the_file_system_knows_no_length() {
    let (input, mut output) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || {
        let comment = vec![b'#'; usize::try_from(MANIFEST_BYTES_MAX).unwrap() + 1];
        let _ = std::io::Write::write_all(&mut output, &comment);
    });
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&input));
    let failure = read(Path::new(&path), 2, "up").unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Usage, "manifest_too_large"), "{failure:?}");
    drop(input);
    writer.join().unwrap();
}

#[test]
fn the_reference_has_every_field() {
    let page = include_str!("../../../../docs/reference/manifest.md");
    let parking = ["wait", "requests", "replay"];
    let tables = [
        app::FIELDS,
        app::BALANCE,
        app::CHECK,
        scale::SESSION,
        scale::SCALE,
        scale::RESOURCES,
        app::BUDGETS,
        &parking,
    ];
    for field in tables.into_iter().flatten() {
        assert!(page.contains(&format!("\n| `{field}` |")), "{field}");
    }
    // What becomes of several fields together is told of in another table.
    let is_one = |cell: &str| cell.trim().split('`').map(str::is_empty).eq([true, false, true]);
    let rows = page.lines().filter(|line| line.split('|').nth(1).is_some_and(is_one)).count();
    assert_eq!(rows, tables.into_iter().map(<[_]>::len).sum::<usize>(), "and no other");
}

#[test]
fn what_is_wrong_with_a_policy_of_scaling_is_named_by_fields_that_a_manifest_has() {
    use paracloud_core::scaling::policy::{Policy, Shape, SizeBounds};
    let wrong: [fn(&mut Policy); 12] = [
        |it| it.min = 0,
        |it| it.max = 0,
        |it| it.start = 0,
        |it| it.period_ms = 0,
        |it| it.target_permille = 0,
        |it| it.hold.min_ms = 0,
        |it| it.flap.actions = 0,
        |it| it.flap.per_ms = 0,
        |it| it.shape = Shape::Up,
        |it| it.size = Some(SizeBounds { base_cpu_m: 1, min_cpu_m: 0, max_cpu_m: 1 }),
        |it| it.size = Some(SizeBounds { base_cpu_m: 1, min_cpu_m: 1, max_cpu_m: 0 }),
        |it| it.size = Some(SizeBounds { base_cpu_m: 0, min_cpu_m: 1, max_cpu_m: 1 }),
    ];
    for wrong in wrong {
        let mut policy = Policy::between(1, 8);
        wrong(&mut policy);
        let field = policy.check().unwrap_err().field;
        let parts: Vec<_> = field.split('.').collect();
        let is_there = match parts[..] {
            ["scale", name] => scale::SCALE.contains(&name),
            ["scale", "flap", name] => scale::FLAP.contains(&name),
            ["resources", name] => scale::RESOURCES.contains(&name),
            ["resources", of, name] => scale::RESOURCES.contains(&of) && scale::SIZE.contains(&name),
            _ => false,
        };
        assert!(is_there, "{field}");
    }
}

#[test]
fn the_worker_of_the_examples_has_as_many_slots_as_fit_into_its_memory() {
    let text = include_str!("../../../../examples/worker/app.yaml");
    let resolved = resolved(&text.replace("../../target/release/worker", "/bin/sh"));
    let app = &resolved.cloud.apps[0];
    let of = |name: &str| app.env[name].parse::<u32>().unwrap();
    let slots_bytes = u64::from(of("SLOTS")) * u64::from(of("SLOT_KIB")) * 1_024;
    assert_eq!(app.resources.start.memory_bytes, Some(slots_bytes));
}
