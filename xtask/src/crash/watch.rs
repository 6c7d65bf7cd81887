//! Who accepts requests, asked at every process itself, all through a trial.
//!
//! One request after the other: what was accepted has an order, whatever the processes do beside each other. The
//! request is a read of one key, which takes the guard for the moment of its answer, so it keeps no seal waiting; a
//! process that stands still costs its bound and no more.

use super::starts;
use paracloud_core::ids::{Placement, StartId};
use paracloud_substrate::layout::Layout;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest that one process may take to answer, in milliseconds.
const ANSWER_MS_MAX: u64 = 200;
/// The pause after everybody was asked once, in milliseconds.
const PAUSE_MS: u64 = 4;
/// The status line up to and with the status: `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// What a process said to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It acted as the owner.
    Accepted,
    /// 421: it is not the one.
    Refused,
    /// Neither.
    Nothing,
}

/// What a watch saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Who accepted, in this order; each once for as long as nobody else did.
    pub(super) accepted: Vec<StartId>,
    /// How many requests each refused.
    pub(super) refused: BTreeMap<StartId, u64>,
    /// Two processes that were there at once, where there may be one.
    pub(super) together: Option<(StartId, StartId)>,
}

/// A watch in progress. It ends when it is dropped.
pub(super) struct Watch {
    stop: watch::Sender<bool>,
    task: JoinSet<Seen>,
}

impl Watch {
    /// Begins to watch everybody of an instance who is not proved dead now. With `one_at_once`, no process may be there before the
    /// one before it is dead.
    pub(super) fn begin(layout: Layout, instance: &'static str, one_at_once: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(watch(layout, instance, one_at_once, stopped));
        Self { stop, task }
    }

    /// Ends it and says what it saw; `None` if the watch itself came to nothing.
    pub(super) async fn end(mut self) -> Option<Seen> {
        self.stop.send_replace(true);
        self.task.join_next().await?.ok()
    }
}

async fn watch(
    layout: Layout,
    instance: &str,
    one_at_once: bool,
    mut stopped: watch::Receiver<bool>,
) -> Seen {
    let mut past = starts::all(&layout, instance);
    past.retain(|place| starts::is_proved_dead(&layout, *place));
    let mut addresses = BTreeMap::<Placement, SocketAddr>::new();
    let mut seen = Seen::default();
    while !*stopped.borrow() {
        let present: Vec<_> = starts::all(&layout, instance).difference(&past).copied().collect();
        for place in &present {
            if let Some(address) = starts::address(&layout, *place, instance) {
                addresses.insert(*place, address);
            }
        }
        for (place, address) in &addresses {
            match ask(*address).await {
                Answer::Accepted if seen.accepted.last() == Some(&place.start) => {}
                Answer::Accepted => seen.accepted.push(place.start),
                Answer::Refused => *seen.refused.entry(place.start).or_default() += 1,
                Answer::Nothing => {}
            }
        }
        if one_at_once && seen.together.is_none() {
            seen.together = together(&layout, &present);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(PAUSE_MS)) => {}
            _ = stopped.changed() => {}
        }
    }
    seen
}

/// Two processes, one of which runs while the other may run already.
fn together(layout: &Layout, present: &[Placement]) -> Option<(StartId, StartId)> {
    // Looked at in this order: one was started before the other is seen running, and is not proved dead after.
    let started: Vec<_> = present.iter().filter(|place| starts::was_started(layout, **place)).collect();
    for one in &started {
        for other in started.iter().filter(|other| *other != one) {
            if starts::runs(layout, **one) && !starts::is_proved_dead(layout, **other) {
                return Some((one.start, other.start));
            }
        }
    }
    None
}

/// Asks one process, bounded.
pub(super) async fn ask(address: SocketAddr) -> Answer {
    let answered = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /keys/k0 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; STATUS_BYTES];
        stream.read_exact(&mut head).await?;
        std::io::Result::Ok(head)
    };
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answered).await {
        Ok(Ok(head)) => match head.get(STATUS_BYTES - 3..) {
            Some(b"200" | b"404") => Answer::Accepted,
            Some(b"421") => Answer::Refused,
            Some(_) | None => Answer::Nothing,
        },
        Ok(Err(_)) | Err(_) => Answer::Nothing,
    }
}

/// What is wrong with who accepted, given who owned by the register, in this order. `None`: nothing.
pub(super) fn judge(accepted: &[StartId], owners: &[StartId]) -> Option<String> {
    for (place, start) in accepted.iter().enumerate() {
        let before = accepted.get(..place).unwrap_or_default();
        if let Some(between) = before.last().filter(|last| *last != start)
            && before.contains(start)
        {
            return Some(format!("{start} accepted requests again after {between} had"));
        }
    }
    let mut rest = owners;
    for start in accepted {
        let Some(place) = rest.iter().position(|owner| owner == start) else {
            let what =
                if owners.contains(start) { "after an owner that came after it" } else { "and never owned" };
            return Some(format!(
                "{start} accepted requests {what}: {accepted:?}, by the register {owners:?}"
            ));
        };
        rest = rest.get(place + 1..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StartId = StartId(1);
    const B: StartId = StartId(2);
    const C: StartId = StartId(3);

    #[test]
    fn whoever_owns_may_accept_in_the_registers_order() {
        assert_eq!(judge(&[], &[A]), None, "nobody was caught answering");
        assert_eq!(judge(&[A, B], &[A, B]), None);
        assert_eq!(judge(&[A, C], &[A, B, C]), None, "an owner that was never caught answering");
        assert_eq!(judge(&[A], &[A, B, A]), None, "promoted after a target that never served");
        assert_eq!(judge(&[B], &[A, B]), None);
    }

    #[test]
    fn a_process_that_accepts_again_after_another_is_found() {
        assert!(judge(&[A, B, A], &[A, B]).unwrap().contains("again"));
        assert!(judge(&[A, B, A], &[A, B, A]).unwrap().contains("again"), "not even a promoted one");
        assert!(judge(&[A, B, C, B], &[A, B, C]).unwrap().contains("again"));
    }

    #[test]
    fn an_owner_that_the_register_does_not_know_of_is_found() {
        assert!(judge(&[A, C], &[A, B]).unwrap().contains("never owned"));
        assert!(judge(&[B], &[A]).unwrap().contains("never owned"));
    }

    #[test]
    fn owners_in_another_order_than_the_registers_are_found() {
        assert!(judge(&[B, A], &[A, B]).unwrap().contains("after an owner"));
    }

    #[tokio::test]
    async fn an_answer_is_told_from_a_refusal_and_from_silence() {
        for (status, wanted) in [
            ("200 OK", Answer::Accepted),
            ("404 Not Found", Answer::Accepted),
            ("421 Misdirected Request", Answer::Refused),
            ("503 Service Unavailable", Answer::Nothing),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let served = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 256]).await.unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(ask(address), served);
            assert_eq!(answer, wanted, "{status}");
            drop(listener);
            assert_eq!(ask(address).await, Answer::Nothing, "nobody listens any more");
        }
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(ask(silent.local_addr().unwrap()).await, Answer::Nothing);
    }
}
