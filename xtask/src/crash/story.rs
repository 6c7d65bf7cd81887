//! How the promise of a trial comes to be made, and what a story needs at its end.

use super::INSTANCE;
use super::cells::{Cell, Fault, Story};
use super::trial::{ANSWER_S_MAX, FIRED_S_MAX, SETTLED_S_MAX};
use crate::rig::{Rig, Who};
use anyhow::{Context, Result, ensure};
use paracloud_core::migration::promises::{Point, Promise, Victim};
use paracloud_core::register::Record;
use paracloud_substrate::link;
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Reply, Request};
use paracloud_substrate::process::signal;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The pause between two requests for a move, and between two looks, in milliseconds.
const AGAIN_MS: u64 = 50;
/// The longest answer that is read of one request of ours.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Begins it. What is asked for is asked for as long as what is given lives.
pub(super) async fn begin(rig: &Rig, story: Story, record: &Record) -> Result<JoinSet<()>> {
    let mut asking = JoinSet::new();
    match story {
        Story::OwnerDies => {
            let process = rig.find(Who::Application(record.owner.node, record.owner.start));
            let process = process.context("the owner is not there")?;
            let handle = process.open()?.context("the owner is dead already")?;
            signal(&handle, Signal::KILL)?;
            return Ok(asking);
        }
        Story::Blocked => hold_guard(record.served.context("it does not serve")?).await?,
        Story::Move | Story::NeverReady | Story::Restarted => {}
    }
    let socket = rig.layout().controller_socket();
    let accept_loss = story == Story::Restarted;
    asking.spawn(async move {
        // The answer may never come: the point may stop the controller before it.
        let asked = tokio::time::timeout(Duration::from_secs(FIRED_S_MAX), ask(&socket, accept_loss)).await;
        if asked.is_err() {
            tracing::info!("nobody took the move");
        }
    });
    Ok(asking)
}

/// Asks for a move until it is taken, or the controller is gone.
async fn ask(socket: &Path, accept_loss: bool) {
    loop {
        // An instance that has just settled may not be known to be ready by all yet.
        match ask_once(socket, accept_loss).await {
            Ok(Some(Reply::Refused(refused))) => tracing::info!(?refused, "asked again"),
            Ok(_) => return,
            Err(error) => return tracing::info!(%error, "the controller is gone"),
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
}

/// The first answer to a request for a move.
async fn ask_once(socket: &Path, accept_loss: bool) -> Result<Option<Reply>> {
    let request = Request::Move { instance: INSTANCE.to_owned(), to: None, accept_loss, wait: false };
    let (mut reader, mut writer) = link::halves(link::dial(socket).await);
    writer.write(&Caller::Person).await?;
    writer.write(&request).await?;
    Ok(reader.read().await?)
}

/// Whether the story of a cell has come to its end in this record.
pub(super) fn is_told(cell: Cell, before: &Record, now: &Record) -> bool {
    // A controller that was killed before it wrote anything has forgotten the command.
    let forgotten = (cell.promise, cell.point, cell.victim, cell.fault)
        == (Promise::Open, Point::BeforePersist, Victim::Controller, Fault::Kill);
    let begun = match cell.story() {
        Story::OwnerDies => now.owner.start != before.owner.start,
        Story::Move | Story::Blocked | Story::NeverReady | Story::Restarted => {
            forgotten || now.last_operation > before.last_operation
        }
    };
    begun && now.operation.is_none() && now.served.is_some()
}

/// A guard that was held for the story is let go once the move is off.
pub(super) async fn let_go(rig: &Rig) {
    let rolled_back = rig.until(INSTANCE, "is rolled back", Duration::from_secs(SETTLED_S_MAX), |_, it| {
        it.record.as_ref().is_some_and(|record| record.operation.is_none() && record.served.is_some())
    });
    if let Ok(instance) = rolled_back.await
        && let Some(address) = instance.record.and_then(|record| record.served)
    {
        // A process that was killed holds nothing any more.
        if let Err(error) = get(address, "/faults/let-go").await {
            tracing::info!(%error, "nobody holds a guard");
        }
    }
}

/// Makes the application hold a guard for ever, and waits until it does.
async fn hold_guard(address: SocketAddr) -> Result<()> {
    // It holds the guard also when nobody waits for the answer.
    let mut stream = TcpStream::connect(address).await.context("the application does not answer")?;
    stream.write_all(request(address, "/faults/hold-guard").as_bytes()).await?;
    let begun = Instant::now();
    while get(address, "/faults/held").await?.trim_end().ends_with("\n0") {
        ensure!(begun.elapsed().as_secs() < ANSWER_S_MAX, "the application does not hold a guard");
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
    Ok(())
}

/// Sends a request to the application itself, and gives the whole answer.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let answered = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request(address, path).as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answered = tokio::time::timeout(Duration::from_secs(ANSWER_S_MAX), answered).await;
    let answer = answered.context("the application does not answer in time")??;
    ensure!(answer.starts_with("HTTP/1.1 200"), "GET {path}: {answer}");
    Ok(answer)
}

fn request(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
}
