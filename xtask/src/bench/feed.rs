//! The controller's place: it tells a gateway where the instances are, and what each says of itself.
//!
//! What an instance says is asked of it again and again (`GET /said` of `worker`): an instance that pauses does not answer
//! meanwhile, and what it said before grows old, as it would from an agent.

use anyhow::{Context, Result};
use paracloud_core::ids::{Placement, StartId};
use paracloud_core::migration::gateway::Table;
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_load::look::Window;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::link::{Writer, halves};
use paracloud_substrate::message::{Caller, FromGatewayLine, ToGatewayLine};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often an instance is asked, in milliseconds: as often as `worker` reports while something changes.
const LOOK_MS: u64 = 100;
/// How long it is waited for.
const LOOK_WAIT_MS: u64 = 1_000;
/// How long what it says counts, in milliseconds.
const LEASE_MS: u32 = 3_000;
/// What instances said and the gateway was not told yet.
const SAID_MAX: usize = 64;

/// What became of an instance: its number from 1 on, and its record.
pub(super) type Became = (u32, Record);

/// The record of the first process of an instance, which serves there.
///
/// # Errors
/// It cannot serve: never, for a process that was just started.
pub(super) fn serving(owner: Placement, address: SocketAddr) -> Result<Record> {
    Ok(Record::first(owner).apply(&Change::Serve(address), Proposer::Coordinator)?)
}

/// Serves one gateway until it goes: `APP.1`, `APP.2`, … of every app are what these records say. Whatever an instance says
/// is heard by `hear` as well.
///
/// # Errors
/// The gateway does not come, or says what it does not understand.
pub(super) async fn serve(
    socket: UnixListener,
    apps: Vec<String>,
    mut records: mpsc::Receiver<Became>,
    hear: impl Fn(u32, &Advice),
) -> Result<()> {
    let (stream, _) = socket.accept().await?;
    let (mut reader, mut writer) = halves(stream);
    reader.read::<Caller>().await?.context("the gateway has left before it said who it is")?;
    let (says, mut said) = mpsc::channel(SAID_MAX);
    let mut known: BTreeMap<u32, Record> = BTreeMap::new();
    let mut asking: BTreeMap<u32, (StartId, Asking)> = BTreeMap::new();
    loop {
        tokio::select! {
            line = reader.read::<FromGatewayLine>() => match line? {
                None => return Ok(()),
                Some(FromGatewayLine::Machine { instance, message: FromGateway::Ask }) => {
                    let number = instance.rsplit_once('.').and_then(|(_, number)| number.parse::<u32>().ok());
                    let number = number.context("the gateway asks for an instance without a number")?;
                    if let Some(record) = known.get(&number) {
                        tell_table(&mut writer, &instance, record).await?;
                    }
                }
                Some(_) => {}
            },
            Some((number, record)) = records.recv() => {
                for app in &apps {
                    tell_table(&mut writer, &format!("{app}.{number}"), &record).await?;
                }
                let address = record.served.filter(|_| !record.gone);
                let start = record.owner.start;
                if asking.get(&number).is_some_and(|(of, _)| *of != start || address.is_none()) {
                    asking.remove(&number);
                }
                if let Some(address) = address {
                    let ask = || Asking(tokio::spawn(ask(number, start, address, says.clone())));
                    asking.entry(number).or_insert_with(|| (start, ask()));
                }
                known.insert(number, record);
            }
            Some((number, start, advice)) = said.recv() => {
                hear(number, &advice);
                for app in &apps {
                    let instance = format!("{app}.{number}");
                    let advice = Box::new(Advice::clone(&advice));
                    writer.write(&ToGatewayLine::Advice { instance, start, advice }).await?;
                }
            }
        }
    }
}

/// Somebody who asks an instance, as long as this is kept.
#[derive(Debug)]
struct Asking(JoinHandle<()>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tell_table(writer: &mut Writer, instance: &str, record: &Record) -> Result<()> {
    let message = ToGateway::Table(Table::of(record, false));
    Ok(writer.write(&ToGatewayLine::Machine { instance: instance.to_owned(), message }).await?)
}

/// Asks an instance for ever.
async fn ask(number: u32, start: StartId, address: SocketAddr, says: mpsc::Sender<(u32, StartId, Advice)>) {
    let window = Window::new(address);
    let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = window.look("/said", Duration::from_millis(LOOK_WAIT_MS)).await;
        let advice = answer.map_err(anyhow::Error::from).and_then(|text| read(&text));
        match advice {
            Ok(advice) => {
                if says.send((number, start, advice)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(number, %error, "an instance says nothing"),
        }
    }
}

/// What an instance says, as its agent would pass it on.
fn read(text: &[u8]) -> Result<Advice> {
    let said: Value = serde_json::from_slice(text)?;
    let is_cold = !said["cold"].is_null();
    Ok(serde_json::from_value(json!({
        "report": { "age_ms": 0, "remaining_ms": LEASE_MS, "said": said["report"] },
        "state": { "age_ms": 0, "said": if is_cold { "COLD" } else { "READY" } },
        "pause": said["pause"],
        "cold": said["cold"],
        "announcements": [],
        "asks": [],
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_says_is_passed_on_whole_and_what_it_does_not_say_is_unknown() {
        let text = br#"{"report":{"validForMs":3000,"concurrency":4,"inFlight":3,"queued":0},"cold":null,
            "pause":{"in_ms":250,"for_ms":200}}"#;
        let advice = read(text).unwrap();
        let report = advice.report.unwrap();
        assert_eq!(
            (report.remaining_ms, report.said.concurrency, report.said.in_flight),
            (LEASE_MS, Some(4), Some(3))
        );
        assert_eq!((report.said.queued, report.said.capacity_milli_per_s), (Some(0), None));
        assert_eq!(advice.pause.map(|pause| (pause.in_ms, pause.for_ms)), Some((250, 200)));
        assert!(advice.cold.is_none());
        let cold = read(
            br#"{"report":{"validForMs":3000},"cold":{"warmup_ms":9,"capacity_permille":300},"pause":null}"#,
        );
        assert_eq!(cold.unwrap().cold.and_then(|cold| cold.capacity_permille), Some(300));
        assert!(read(b"{}").is_err(), "without a report it says nothing");
    }
}
