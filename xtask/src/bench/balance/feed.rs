//! The controller's place: it tells a gateway where the instances are, and what each says of itself.
//!
//! What an instance says is asked of it again and again (`GET /said` of `worker`): an instance that pauses does not answer
//! meanwhile, and what it said before grows old, as it would from an agent.

use anyhow::{Context, Result};
use paracloud_core::ids::{Incarnation, StartId};
use paracloud_core::migration::gateway::{Route, Table};
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_core::register::RecordOrder;
use paracloud_load::look::Window;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::link::{Writer, halves};
use paracloud_substrate::message::{Caller, FromGatewayLine, ToGatewayLine};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often an instance is asked, in milliseconds: as often as `worker` reports while something changes.
const LOOK_MS: u64 = 100;
/// How long it is waited for.
const LOOK_WAIT_MS: u64 = 1_000;
/// How long what it says counts, in milliseconds.
const LEASE_MS: u32 = 3_000;
/// What instances said and the gateway was not told yet.
const SAID_MAX: usize = 64;

/// Serves one gateway until it goes: the instances `APP.1`, `APP.2`, … of every app are the processes at these addresses.
///
/// # Errors
/// The gateway does not come, or says what it does not understand.
pub(super) async fn serve(socket: UnixListener, apps: Vec<String>, addresses: Vec<SocketAddr>) -> Result<()> {
    let (stream, _) = socket.accept().await?;
    let (mut reader, mut writer) = halves(stream);
    reader.read::<Caller>().await?.context("the gateway has left before it said who it is")?;
    let (says, mut said) = mpsc::channel(SAID_MAX);
    let mut asking = JoinSet::new();
    for (number, address) in (1..).zip(&addresses) {
        for app in &apps {
            tell_table(&mut writer, &format!("{app}.{number}"), start(number), *address).await?;
        }
        asking.spawn(ask(number, *address, says.clone()));
    }
    loop {
        tokio::select! {
            line = reader.read::<FromGatewayLine>() => match line? {
                None => return Ok(()),
                Some(FromGatewayLine::Machine { instance, message: FromGateway::Ask }) => {
                    let number = instance.rsplit_once('.').and_then(|(_, number)| number.parse::<u32>().ok());
                    let number = number.context("the gateway asks for an instance without a number")?;
                    let address = addresses.get(number.wrapping_sub(1) as usize);
                    let address = address.context("the gateway asks for an instance that there is not")?;
                    tell_table(&mut writer, &instance, start(number), *address).await?;
                }
                Some(_) => {}
            },
            Some((number, advice)) = said.recv() => {
                for app in &apps {
                    let instance = format!("{app}.{number}");
                    let advice = Box::new(Advice::clone(&advice));
                    writer.write(&ToGatewayLine::Advice { instance, start: start(number), advice }).await?;
                }
            }
        }
    }
}

/// The only process that an instance ever has.
fn start(number: u32) -> StartId {
    StartId(u64::from(number))
}

async fn tell_table(writer: &mut Writer, instance: &str, start: StartId, address: SocketAddr) -> Result<()> {
    let route = Some(Route { incarnation: Incarnation(1), start, address });
    let message =
        ToGateway::Table(Table { order: RecordOrder::default(), parks: false, drains: false, route });
    Ok(writer.write(&ToGatewayLine::Machine { instance: instance.to_owned(), message }).await?)
}

/// Asks an instance for ever.
async fn ask(number: u32, address: SocketAddr, says: mpsc::Sender<(u32, Advice)>) {
    let window = Window::new(address);
    let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = window.look("/said", Duration::from_millis(LOOK_WAIT_MS)).await;
        let advice = answer.map_err(anyhow::Error::from).and_then(|text| read(&text));
        match advice {
            Ok(advice) => {
                if says.send((number, advice)).await.is_err() {
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
