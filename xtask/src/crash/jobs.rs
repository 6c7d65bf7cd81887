//! The clients of a trial whose application is a queue of jobs, and what is to be there of what was acknowledged.
//!
//! A job that is answered with 200 is done. One that is answered with 202 is taken, and must be done: by the process that
//! took it, before that may end. A client that hears neither was turned away, or does not know.

use super::http;
use super::trial::{ANSWER_S_MAX, Verdict};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Clients of each gateway.
const CLIENTS: usize = 3;
/// How long a job is, and the pause of a client behind it, in milliseconds.
const JOB_MS: u32 = 5;
const PAUSE_MS: u64 = 15;
/// How long a client waits for its answer, in seconds: longer than anybody is stopped.
const PATIENCE_S: u64 = 40;
/// Jobs that were answered before the story begins, and after a trial.
const WARM_JOBS: u64 = 20;
/// How long so many answers may take, and all that was taken may take to be done, in seconds.
const DONE_S_MAX: u64 = 30;
/// How often it is looked, in milliseconds.
const LOOK_MS: u64 = 5;

/// What became of a job, as its client heard.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// It is done, by this instance.
    Done(String),
    /// It is taken, by this instance.
    Taken(String),
    /// Neither: what was heard instead.
    Failed(String),
}

/// The answer to a job.
#[derive(Deserialize)]
struct Answer {
    at: String,
    done: bool,
}

/// The part of a process's ledger that matters here.
#[derive(Debug, Default, Deserialize)]
struct Ledger {
    open_ids: BTreeSet<String>,
    done_ids: BTreeSet<String>,
}

/// Clients at work.
pub(super) struct Jobs {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Vec<(String, Heard)>>,
    answered: Arc<AtomicU64>,
}

/// What a process of an instance left behind, that is not asked any more.
#[derive(Debug, Clone)]
pub(super) struct Past {
    /// Its instance.
    pub(super) instance: String,
    /// Its log.
    pub(super) log: PathBuf,
    /// It was struck dead, so that it could not end what it had taken.
    pub(super) was_struck: bool,
}

impl Jobs {
    /// Clients at work, the first of them answered. The names of their jobs begin with `trial`.
    pub(super) async fn start(gateways: &[SocketAddr], trial: &str) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for (place, gateway) in gateways.iter().enumerate() {
            for client in 0..CLIENTS {
                let name = format!("{trial}-{place}-{client}");
                tasks.spawn(client_of(*gateway, name, stopped.clone(), Arc::clone(&answered)));
            }
        }
        let jobs = Self { stop, tasks, answered };
        jobs.more(WARM_JOBS).await?;
        Ok(jobs)
    }

    /// Waits for so many more answers.
    async fn more(&self, more: u64) -> Result<()> {
        let (wanted, begun) = (self.answered.load(Ordering::Relaxed) + more, Instant::now());
        while self.answered.load(Ordering::Relaxed) < wanted {
            ensure!(begun.elapsed().as_secs() < DONE_S_MAX, "the clients are not answered");
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(())
    }

    /// Ends the clients, once they are seen to be served, and enters what is lost of what they heard. `present` are those
    /// that serve; `past` is who is there no longer. Where nobody whom a client was connected to was struck, none may have
    /// been turned away.
    pub(super) async fn settle(
        mut self,
        verdict: &mut Verdict,
        present: &BTreeMap<String, SocketAddr>,
        past: Option<&Past>,
        may_fail: bool,
    ) -> Result<()> {
        self.more(WARM_JOBS).await?;
        self.stop.send_replace(true);
        let mut all = BTreeMap::new();
        while let Some(heard) = self.tasks.join_next().await {
            all.extend(heard.context("a client panicked")?);
        }
        let mut ledgers = BTreeMap::new();
        for (instance, address) in present {
            ledgers.insert(instance.clone(), at_rest(*address, &all).await?);
        }
        judge(verdict, &all, &ledgers, past, may_fail);
        Ok(())
    }
}

/// Says what is wrong with what the clients heard, given what the processes hold that are there.
fn judge(
    verdict: &mut Verdict,
    all: &BTreeMap<String, Heard>,
    ledgers: &BTreeMap<String, Ledger>,
    past: Option<&Past>,
    may_fail: bool,
) {
    let undone = past.map(|past| undone(&past.log)).unwrap_or_default();
    let mut failed = Vec::new();
    for (id, heard) in all {
        let has_done = |ledger: &&Ledger| ledger.done_ids.contains(id);
        let times = ledgers.values().filter(has_done).count();
        verdict.duplicated += u64::from(times > 1);
        let at = match heard {
            // The answer itself is the proof that it was done.
            Heard::Done(_) => continue,
            Heard::Taken(at) => at,
            Heard::Failed(what) => {
                failed.push(what);
                continue;
            }
        };
        let here = ledgers.get(at).is_some_and(|ledger| ledger.done_ids.contains(id));
        match past.filter(|past| past.instance == *at) {
            _ if here => {}
            // Who was struck dead could not tell any more what it had not done.
            Some(past) if past.was_struck => verdict.lost_with_owner += 1,
            Some(_) if !undone.contains(id) => {}
            Some(_) | None => verdict.lost += 1,
        }
    }
    verdict.failed = u64::try_from(failed.len()).unwrap_or(u64::MAX);
    if let Some(first) = failed.first().filter(|_| !may_fail) {
        verdict.is_broken_by(format!("{} jobs were turned away, the first with: {first}", failed.len()));
    }
}

/// What a process ended without having done, as it said in its log.
fn undone(log: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains("stopped before all was done"));
    let words = lines.flat_map(|line| line.split(|it: char| !(it.is_ascii_alphanumeric() || it == '-')));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

async fn client_of(
    gateway: SocketAddr,
    name: String,
    stopped: watch::Receiver<bool>,
    answered: Arc<AtomicU64>,
) -> Vec<(String, Heard)> {
    let mut all = Vec::new();
    while !*stopped.borrow() {
        let id = format!("{name}-{}", all.len());
        let wait = all.len() % 2 == 0;
        let body = json!({ "ms": JOB_MS, "id": id, "wait": wait }).to_string();
        let heard = http::ask(gateway, "POST /work", &body, Duration::from_secs(PATIENCE_S)).await;
        let heard = match heard {
            Ok(answer) => heard_in(&answer),
            Err(error) => Heard::Failed(format!("{error:#}")),
        };
        answered.fetch_add(u64::from(!matches!(heard, Heard::Failed(_))), Ordering::Relaxed);
        all.push((id, heard));
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    all
}

fn heard_in(answer: &str) -> Heard {
    let told = serde_json::from_str::<Answer>(http::body(answer));
    match (http::status(answer), told) {
        (Some(200), Ok(Answer { at, done: true })) => Heard::Done(at),
        (Some(202), Ok(Answer { at, done: false })) => Heard::Taken(at),
        _ => Heard::Failed(answer.lines().next().unwrap_or("nothing").to_owned()),
    }
}

/// The ledger of a process once it has done all of these that it took.
async fn at_rest(address: SocketAddr, all: &BTreeMap<String, Heard>) -> Result<Ledger> {
    let begun = Instant::now();
    loop {
        let ledger = ledger(address).await?;
        if !ledger.open_ids.iter().any(|id| all.contains_key(id)) {
            return Ok(ledger);
        }
        ensure!(begun.elapsed().as_secs() < DONE_S_MAX, "jobs are not done: {:?}", ledger.open_ids);
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

async fn ledger(address: SocketAddr) -> Result<Ledger> {
    let answer = http::ask(address, "GET /ledger", "", Duration::from_secs(ANSWER_S_MAX)).await?;
    ensure!(http::status(&answer) == Some(200), "GET /ledger: {answer}");
    Ok(serde_json::from_str(http::body(&answer))?)
}

/// Work that was put into the jobs that a process works on, in milliseconds.
pub(super) async fn invested_ms(address: SocketAddr) -> Result<u64> {
    let answer = http::ask(address, "GET /ledger", "", Duration::from_secs(ANSWER_S_MAX)).await?;
    let ledger: serde_json::Value = serde_json::from_str(http::body(&answer))?;
    ledger["invested_ms"].as_u64().context("a ledger that does not say what was invested")
}

/// Whether a process works on a job of so many milliseconds.
pub(super) async fn has_long_job(address: SocketAddr, ms: u32) -> Result<bool> {
    let answer = http::ask(address, "GET /ledger", "", Duration::from_secs(ANSWER_S_MAX)).await?;
    let ledger: serde_json::Value = serde_json::from_str(http::body(&answer))?;
    let left_ms = ledger["left_ms"].as_u64().context("a ledger that does not say what is left")?;
    Ok(left_ms > u64::from(ms) / 3)
}

/// Gives a process itself a job of so many milliseconds.
pub(super) async fn give(address: SocketAddr, ms: u32) -> Result<()> {
    let body = json!({ "ms": ms, "wait": false }).to_string();
    let answer = http::ask(address, "POST /work", &body, Duration::from_secs(ANSWER_S_MAX)).await?;
    ensure!(http::status(&answer) == Some(202), "POST /work: {answer}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVER: &str = "worker.2";

    fn all(heard: &[(&str, Heard)]) -> BTreeMap<String, Heard> {
        heard.iter().map(|(id, heard)| ((*id).to_owned(), heard.clone())).collect()
    }

    fn done(instance: &str, ids: &[&str]) -> (String, Ledger) {
        let done_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        (instance.to_owned(), Ledger { done_ids, ..Ledger::default() })
    }

    fn judged(
        heard: &[(&str, Heard)],
        ledgers: &[(String, Ledger)],
        past: Option<&Past>,
        may_fail: bool,
    ) -> Verdict {
        let mut verdict = Verdict { fired: true, ended: true, ..Verdict::default() };
        let ledgers = ledgers.iter().map(|(instance, ledger)| {
            let (_, ledger) = done(instance, &ledger.done_ids.iter().map(String::as_str).collect::<Vec<_>>());
            (instance.clone(), ledger)
        });
        judge(&mut verdict, &all(heard), &ledgers.collect(), past, may_fail);
        verdict
    }

    fn past(log: &Path, was_struck: bool) -> Past {
        Past { instance: LEAVER.to_owned(), log: log.to_owned(), was_struck }
    }

    #[test]
    fn what_was_taken_and_is_not_done_where_it_was_taken_is_lost() {
        let taken = [("a", Heard::Taken("worker.1".to_owned()))];
        assert_eq!(judged(&taken, &[done("worker.1", &["a"])], None, false).lost, 0);
        assert_eq!(judged(&taken, &[done("worker.1", &["b"])], None, false).lost, 1);
        let other = [done("worker.1", &[]), done(LEAVER, &["a"])];
        assert_eq!(judged(&taken, &other, None, false).lost, 1, "another one has done it");
        assert_eq!(judged(&[("a", Heard::Done(LEAVER.to_owned()))], &[], None, false).lost, 0);
    }

    #[test]
    fn who_has_left_has_done_what_it_took_unless_its_log_names_it_or_it_was_struck_dead() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, "told to stop\n").unwrap();
        let taken = [("7-0-1-3", Heard::Taken(LEAVER.to_owned()))];
        assert_eq!(judged(&taken, &[], Some(&past(&log, false)), false).lost, 0);
        let line = "ERROR stopped before all was done undone=1 ids={\"7-0-1-3\"}\n";
        std::fs::write(&log, line).unwrap();
        assert_eq!(judged(&taken, &[], Some(&past(&log, false)), false).lost, 1);
        let struck = judged(&taken, &[], Some(&past(&log, true)), false);
        assert_eq!((struck.lost, struck.lost_with_owner), (0, 1));
        assert_eq!(judged(&taken, &[], None, false).lost, 1, "nobody has it, and nobody has left");
    }

    #[test]
    fn a_job_that_two_have_done_is_one_too_many_and_nobody_is_turned_away_without_a_reason() {
        let heard = [("a", Heard::Done(LEAVER.to_owned()))];
        let twice = [done("worker.1", &["a"]), done(LEAVER, &["a"])];
        assert_eq!(judged(&heard, &twice, None, false).duplicated, 1);
        let failed = [("a", Heard::Failed("HTTP/1.1 502 Bad Gateway".to_owned()))];
        let refused = judged(&failed, &[], None, false);
        assert!(!refused.is_good() && refused.violation.unwrap().contains("502"));
        let struck = judged(&failed, &[], None, true);
        assert!(struck.is_good() && struck.failed == 1);
    }

    #[test]
    fn an_answer_says_whether_a_job_is_done_or_taken_and_by_whom() {
        let answer = |status: &str, done: bool| {
            heard_in(&format!("HTTP/1.1 {status}\r\n\r\n{{\"id\":\"a\",\"at\":\"w.1\",\"done\":{done}}}"))
        };
        assert_eq!(answer("200 OK", true), Heard::Done("w.1".to_owned()));
        assert_eq!(answer("202 Accepted", false), Heard::Taken("w.1".to_owned()));
        assert_eq!(answer("503 Full", false), Heard::Failed("HTTP/1.1 503 Full".to_owned()));
        assert_eq!(heard_in(""), Heard::Failed("nothing".to_owned()));
    }
}
