use super::*;

#[test]
fn ports_go_round_before_one_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let counter = directory.path().join("port");
    let host = IpAddr::from([127, 0, 1, 99]);
    assert!(PORTS.contains(&next_port(&counter, host).unwrap()));
    std::fs::write(&counter, "20500").unwrap();
    let first = next_port(&counter, host).unwrap();
    assert_eq!(first, 20_501);
    let _taken = TcpListener::bind((host, first + 1)).unwrap();
    assert_eq!(next_port(&counter, host).unwrap(), first + 2, "one that is taken is passed over");
    std::fs::write(&counter, "31999").unwrap();
    assert_eq!(next_port(&counter, host).unwrap(), PORTS.start);
}

#[test]
fn what_may_be_sealed_counts_as_sealed_and_so_does_what_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let process = ProcessDirectory::at(directory.path().to_path_buf());
    assert!(!process.is_sealed(), "there is no note");
    process.unseal();
    assert!(!process.sealed().exists(), "nothing was sealed: nothing is noted");
    for operation in [7, u32::MAX] {
        process.prepare_to_seal().unwrap();
        assert!(!process.is_sealed(), "there is room for a note");
        process.seal(OperationNumber(operation)).unwrap();
        process.prepare_to_seal().unwrap();
        assert!(process.is_sealed(), "operation {operation}");
        process.unseal();
        assert!(!process.is_sealed(), "operation {operation} is over");
    }
    std::fs::write(process.sealed(), "").unwrap();
    assert!(process.is_sealed(), "cut short");
    std::fs::remove_file(process.sealed()).unwrap();
    std::fs::create_dir(process.sealed()).unwrap();
    assert!(process.is_sealed(), "it cannot be read");
}

/// A link that leads to itself: it is there, and nothing can be known of it.
fn make_unknown(path: &Path) {
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(path, path).unwrap();
}

fn scanned(directory: &Path) -> Result<usize, PathBuf> {
    scan(directory).map(|found| found.len()).map_err(|error| {
        let AgentError::UnknownProcess { path, .. } = error else { panic!("{error}") };
        path
    })
}

#[test]
fn a_process_of_which_nothing_can_be_known_is_not_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let process = ProcessDirectory::at(directory.path().join("0000000000000051"));
    let spec = process.path().join("spec.json");
    let identity = Identity::own().unwrap();
    std::fs::create_dir(process.path()).unwrap();
    std::fs::write(process.marker(), "").unwrap();
    process.write_identity(&identity).unwrap();
    let unknown = Err(process.path.clone());
    assert_eq!(scanned(directory.path()), unknown, "its specification was taken away");
    std::fs::write(&spec, "").unwrap();
    assert_eq!(scanned(directory.path()), unknown, "it is damaged");
    make_unknown(&spec);
    assert_eq!(scanned(directory.path()), unknown, "it cannot be read");
    make_unknown(&process.path().join("identity.json"));
    assert_eq!(scanned(directory.path()), unknown, "nor who the process is");
}

#[test]
fn what_is_surely_over_keeps_no_agent_from_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let process = ProcessDirectory::at(directory.path().join("0000000000000051"));
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::fs::create_dir(process.path()).unwrap();
    assert_eq!(scanned(directory.path()), Ok(0), "its agent died while it made it");
    std::fs::write(process.path().join("spec.json"), "").unwrap();
    let shim = durable::lock(&process.lock()).unwrap();
    assert_eq!(scanned(directory.path()), Err(process.path.clone()), "its shim may start it any moment");
    drop(shim);
    std::fs::write(process.marker(), "").unwrap();
    assert_eq!(scanned(directory.path()), Ok(0), "it never became the program");
    process.write_identity(&Identity { boot_id: String::new(), ..Identity::own().unwrap() }).unwrap();
    assert_eq!(scanned(directory.path()), Ok(0), "the machine stopped before it was written");
    process.write_identity(&Identity::own().unwrap()).unwrap();
    process.write_exit(&Exit { how: String::new() }).unwrap();
    assert_eq!(scanned(directory.path()), Ok(0), "its death was proved");
}

#[test]
fn a_marker_that_cannot_be_looked_at_may_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let process = ProcessDirectory::at(directory.path().to_owned());
    assert!(!process.may_be_marked() && !process.is_marked().unwrap());
    make_unknown(&process.marker());
    assert!(process.may_be_marked() && process.is_marked().is_err());
}

#[test]
fn host_and_port_stand_where_they_are_asked_for() {
    let address = "127.0.1.1:20001".parse().unwrap();
    assert_eq!(filled("--listen={host}:{port}", address), "--listen=127.0.1.1:20001");
}

/// Decision 14: that is the quarantine of an address.
#[test]
fn no_port_comes_again_before_all_the_others_were_given() {
    let directory = tempfile::tempdir().unwrap();
    let counter = directory.path().join("port");
    let host = IpAddr::from([127, 0, 1, 98]);
    let mut given = std::collections::BTreeSet::new();
    while given.insert(next_port(&counter, host).unwrap()) {}
    // Others may listen everywhere (0.0.0.0) on a few of them.
    assert!(given.len() > PORTS.len() - 100, "{}", given.len());
}
