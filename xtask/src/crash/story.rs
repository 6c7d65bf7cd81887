//! How the promise of a trial comes to be made, and what a story needs at its end.

use super::cells::{Cell, Story};
use super::courses::Course;
use super::trial::{ANSWER_S_MAX, FIRED_S_MAX, SETTLED_S_MAX};
use super::{INSTANCE, http, leaving, resizing};
use crate::rig::{Rig, Who};
use anyhow::{Context, Result, ensure};
use paracloud_core::register::Record;
use paracloud_substrate::link;
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Reply, Request};
use paracloud_substrate::process::signal;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The pause between two requests of a person, and between two looks, in milliseconds.
const AGAIN_MS: u64 = 50;

/// Begins it. What is asked for is asked for as long as what is given lives.
pub(super) async fn begin(rig: &Rig, cell: Cell, fired: &Path, record: &Record) -> Result<JoinSet<()>> {
    let (mut asking, story) = (JoinSet::new(), cell.story());
    match story {
        Story::OwnerDies => {
            let process = rig.find(Who::Application(record.owner.node, record.owner.start));
            let process = process.context("the owner is not there")?;
            let handle = process.open()?.context("the owner is dead already")?;
            signal(&handle, Signal::KILL)?;
            return Ok(asking);
        }
        Story::Blocked => hold_guard(record.served.context("it does not serve")?).await?,
        Story::Leaves | Story::CalledBack | Story::Raced => {
            let (layout, fired) = (rig.layout().clone(), fired.to_owned());
            asking.spawn(leaving::person(layout, story, fired, record.last_operation));
            return Ok(asking);
        }
        Story::Move | Story::NeverReady | Story::Restarted | Story::Resized => {}
    }
    let socket = rig.layout().controller_socket();
    let request = order(cell);
    asking.spawn(async move {
        // The answer may never come: the point may stop the controller before it.
        let asked = tokio::time::timeout(Duration::from_secs(FIRED_S_MAX), ask(&socket, &request)).await;
        if asked.is_err() {
            tracing::info!("nobody took the order");
        }
    });
    Ok(asking)
}

/// What a person asks for.
fn order(cell: Cell) -> Request {
    let (instance, accept_loss, wait) = (INSTANCE.to_owned(), cell.story() == Story::Restarted, false);
    match cell.course {
        Course::Update | Course::UpdateRestart => Request::Update { instance, accept_loss, wait },
        Course::Grow | Course::Shrink | Course::Unkept => resizing::order(cell.course),
        Course::Handoff | Course::Restart | Course::Leave | Course::Revoked | Course::Raced => {
            Request::Move { instance, to: None, accept_loss, wait }
        }
    }
}

/// Asks for something until it is taken, or the controller is gone.
async fn ask(socket: &Path, request: &Request) {
    loop {
        // An instance that has just settled may not be known to be ready by all yet.
        match ask_once(socket, request).await {
            Ok(Some(Reply::Refused(refused))) => tracing::info!(?refused, "asked again"),
            Ok(_) => return,
            Err(error) => return tracing::info!(%error, "the controller is gone"),
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
}

/// The first answer to a request.
async fn ask_once(socket: &Path, request: &Request) -> Result<Option<Reply>> {
    let (mut reader, mut writer) = link::halves(link::dial(socket).await);
    writer.write(&Caller::Person).await?;
    writer.write(request).await?;
    Ok(reader.read().await?)
}

/// Whether the story of a cell has come to its end in this record.
pub(super) fn is_told(cell: Cell, before: &Record, now: &Record) -> bool {
    let begun = match cell.story() {
        Story::OwnerDies => now.owner.start != before.owner.start,
        Story::Move
        | Story::Blocked
        | Story::NeverReady
        | Story::Restarted
        | Story::Leaves
        | Story::CalledBack
        | Story::Raced
        | Story::Resized => cell.is_forgotten() || now.last_operation > before.last_operation,
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
    stream.write_all(http::request(address, "GET /faults/hold-guard", "").as_bytes()).await?;
    let begun = Instant::now();
    while get(address, "/faults/held").await?.trim_end().ends_with("\n0") {
        ensure!(begun.elapsed().as_secs() < ANSWER_S_MAX, "the application does not hold a guard");
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
    Ok(())
}

/// Sends a request to the application itself, and gives the whole answer.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let answer = http::ask(address, &format!("GET {path}"), "", Duration::from_secs(ANSWER_S_MAX)).await?;
    ensure!(http::status(&answer) == Some(200), "GET {path}: {answer}");
    Ok(answer)
}
