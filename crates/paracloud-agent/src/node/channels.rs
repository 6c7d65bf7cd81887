//! Ends of channels: joined here, handed on to the target's agent, brought together there.

use super::{Event, Node, channel};
use crate::accept::accept;
use crate::channel::Passed;
use crate::doors;
use paci::channel::{JoinRefusal, reply_line};
use paci::participant::Side;
use paracloud_core::ids::{OperationNumber, StartId};
use std::os::unix::net::UnixStream;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// Ends that are handed on at a time; one more waits. Who says nothing is waited for as long as a channel's end may take.
const ENDS_MAX: usize = 16;

impl Node {
    /// An application wants to join its channel.
    pub(super) fn join(&mut self, id: StartId, token: &str, stream: tokio::net::UnixStream) {
        match self.admit(id, token) {
            Ok((passed, side, agent)) => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    if let Err(error) = hand_on(stream, passed, side, &agent, &events).await {
                        tracing::warn!(%error, start = %id, "an end of a channel could not be handed on");
                    }
                });
            }
            Err(refusal) => {
                tokio::spawn(doors::refuse(stream, refusal));
            }
        }
    }

    fn admit(&mut self, id: StartId, token: &str) -> Result<(Passed, Side, std::path::PathBuf), JoinRefusal> {
        let name =
            self.starts.get(&id).map(|start| start.instance.clone()).ok_or(JoinRefusal::TokenUnknown)?;
        let record =
            self.instances.get(&name).and_then(|instance| instance.machine.machine().record()).cloned();
        let over = |operation| record.as_ref().is_some_and(|record| super::is_over(record, operation));
        let (operation, side) = self.tokens.redeem(id, token, over)?;
        let told = self.instances.get(&name).and_then(super::Instance::moving);
        let leads_to = told.filter(|(number, _)| *number == operation).map(|(_, it)| it.target.node);
        let node = match side {
            Side::Target => self.node.id,
            Side::Source => leads_to.ok_or(JoinRefusal::OperationClosed)?,
        };
        Ok((Passed { instance: name, operation }, side, self.layout.agent_socket(node)))
    }

    /// An end is here, from a process of this node or from another agent.
    pub(super) fn take_end(&mut self, name: &str, operation: OperationNumber, side: Side, end: UnixStream) {
        if self.is_over(name, operation) {
            return;
        }
        let Some(instance) = self.instances.get_mut(name) else { return };
        if let Err(error) = instance.ends.take(operation, side, end) {
            tracing::warn!(%error, instance = name, "the ends of a channel could not be joined");
        }
    }
}

/// Answers a join and brings the end to where it belongs.
async fn hand_on(
    mut stream: tokio::net::UnixStream,
    passed: Passed,
    side: Side,
    agent: &std::path::Path,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<()> {
    stream.write_all(reply_line(Ok(())).as_bytes()).await?;
    let end = stream.into_std()?;
    match side {
        Side::Source => channel::pass(agent, &passed, &end).await,
        Side::Target => {
            let Passed { instance, operation } = passed;
            let _ = events.send(Event::End { instance, operation, side, end }).await;
            Ok(())
        }
    }
}

/// Takes the sources' ends that other agents hand on.
pub(super) async fn take_ends(listener: UnixListener, events: mpsc::Sender<Event>) {
    accept(listener, ENDS_MAX, |stream| take(stream, events.clone())).await;
}

async fn take(stream: tokio::net::UnixStream, events: mpsc::Sender<Event>) {
    match channel::passed(&stream).await {
        Ok((Passed { instance, operation }, end)) => {
            let _ = events.send(Event::End { instance, operation, side: Side::Source, end }).await;
        }
        Err(error) => tracing::warn!(%error, "what came on the agent's socket is no end of a channel"),
    }
}
