//! Accepting connections: never more than a number at a time, and not without a pause when there is no descriptor left.

use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Pause after a connection that could not be accepted, in milliseconds.
pub(crate) const AGAIN_MS: u64 = 100;

/// Accepts connections until it is dropped; they end with it. One more than `connections_max` waits.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: UnixListener,
    connections_max: usize,
    serve: impl Fn(UnixStream) -> F + Send,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut serving = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let conversation = serve(stream);
                serving.spawn(async move {
                    conversation.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
            }
        }
        while serving.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::process::{Child, Command};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;
    use tokio::io::AsyncReadExt;
    use tokio::task::JoinHandle;

    /// Serves until the other end is closed. Says how many are served, and how many were.
    fn serving(listener: UnixListener, connections_max: usize) -> (Arc<AtomicUsize>, JoinHandle<()>) {
        let begun = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&begun);
        let serve = move |mut stream: UnixStream| {
            counts.fetch_add(1, Ordering::Relaxed);
            async move { drop(stream.read(&mut [0]).await) }
        };
        (begun, tokio::spawn(accept(listener, connections_max, serve)))
    }

    /// The clock stands still as long as there is anything to do.
    async fn until_nothing_is_to_do() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_served_at_a_time_than_there_is_room_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (begun, _accepting) = serving(UnixListener::bind(&path).unwrap(), 2);
        let mut clients: Vec<_> =
            (0..5).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        for served in 2..=5 {
            until_nothing_is_to_do().await;
            assert_eq!(begun.load(Ordering::Relaxed), served);
            clients.remove(0);
        }
    }

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Descriptors are a process's own, so it runs in one of its own; and who spins never ends, so it is killed.
    #[tokio::test(start_paused = true)]
    async fn who_has_no_descriptor_left_waits_until_there_is_one() {
        const ALONE: &str = "PARACLOUD_TEST_ACCEPT_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name = "accept::tests::who_has_no_descriptor_left_waits_until_there_is_one";
            let own = std::env::current_exe().unwrap();
            let mut alone = Killed(Command::new(own).args(["--exact", name]).env(ALONE, "").spawn().unwrap());
            let end = Instant::now() + Duration::from_secs(30);
            let ended = loop {
                if let Some(ended) = alone.0.try_wait().unwrap() {
                    break ended;
                }
                assert!(Instant::now() < end, "it spins");
                std::thread::sleep(Duration::from_millis(5));
            };
            assert!(ended.success());
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (begun, _accepting) = serving(UnixListener::bind(&path).unwrap(), 2);
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let before = getrlimit(Resource::Nofile);
        let next = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..before }).unwrap();
        until_nothing_is_to_do().await;
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        setrlimit(Resource::Nofile, before).unwrap();
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        until_nothing_is_to_do().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
