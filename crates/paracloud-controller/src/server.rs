//! The controller's socket: who dials says who it is, and is listened to within bounds.

use crate::control::Control;
use crate::fleet::nothing;
use crate::instance::Told;
use crate::peers::{Out, Outgoing, Peer, write_out};
use crate::scaling::Line;
use crate::{ControllerError, person, recovery};
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::message::FromGateway;
use paracloud_core::migration::shim::Generation;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::{self, BEAT_MS, LinkError, Reader, SILENT_MS, Writer};
use paracloud_substrate::message::{Caller, FromAgentLine, FromGatewayLine, Known, Note};
use paracloud_substrate::names::InstanceName;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// Connections at once, of whomever; one more is closed.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// How long who dials may take to say who it is, in milliseconds.
pub(crate) const CALLER_MS_MAX: u64 = 5_000;
/// The pause after a connection could not be accepted, in milliseconds.
const ACCEPT_AGAIN_MS: u64 = 50;

/// Listens on the socket. The store is held, so a file of that name is nobody's any more.
pub(crate) fn listen(layout: &Layout) -> Result<UnixListener, ControllerError> {
    let path = layout.controller_socket();
    let failed = |source| ControllerError::Listen { path: path.clone(), source };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Accepts for ever.
pub(crate) async fn accept(control: &Arc<Control>, listener: UnixListener, links: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if links.len() >= CONNECTIONS_MAX => {
                    tracing::warn!("{CONNECTIONS_MAX} connections are open: one more is closed");
                }
                Ok((stream, _)) => {
                    links.spawn(Box::pin(serve(Arc::clone(control), stream)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
                }
            },
            Some(_) = links.join_next() => {}
        }
    }
}

async fn serve(control: Arc<Control>, stream: UnixStream) {
    let (mut reader, writer) = link::halves(stream);
    let caller = tokio::time::timeout(Duration::from_millis(CALLER_MS_MAX), reader.read::<Caller>()).await;
    let ended = match caller {
        Ok(Ok(Some(Caller::Agent { node, generation, known }))) => {
            agent(&control, node, generation, known, reader, writer).await
        }
        Ok(Ok(Some(Caller::Gateway { gateway }))) => gateway_link(&control, gateway, reader, writer).await,
        Ok(Ok(Some(Caller::Person))) => Box::pin(person::serve(&control, reader, writer)).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            tracing::warn!("somebody dialled and did not say who it is");
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::warn!(error = &error as &dyn std::error::Error, "a link was dropped");
    }
}

async fn agent(
    control: &Arc<Control>,
    node: NodeId,
    generation: Generation,
    known: Vec<Known>,
    mut reader: Reader,
    mut writer: Writer,
) -> Result<(), LinkError> {
    if control.cloud().node(node).is_none() {
        tracing::warn!(%node, "an agent of a node that is not configured is not listened to");
        return Ok(());
    }
    if let Some(wrong) = known.iter().find(|known| !recovery::is_credible(known)) {
        tracing::warn!(%node, instance = wrong.instance, "what this agent says it knows cannot be true");
        return Ok(());
    }
    let Some(Outgoing { number, mut queue, dropped }) = control.peers.connect_agent(node, generation) else {
        tracing::warn!(%node, ?generation, "an older agent of this node is not listened to");
        return Ok(());
    };
    tracing::info!(%node, ?generation, "an agent is connected");
    control.find(node);
    let instances = control.fleet.introduce(&control.cloud(), node, &known);
    let mut known: BTreeMap<_, _> = known.into_iter().map(|known| (known.instance.clone(), known)).collect();
    let ended = tokio::select! {
        ended = async {
            for instance in instances {
                let known = known.remove(&instance).unwrap_or_else(|| nothing(&instance));
                control.tell(&instance, Told::Known(node, known)).await;
            }
            control.found();
            while let Some(line) = hear::<FromAgentLine>(control, Peer::Agent(node), &mut reader).await? {
                match line {
                    FromAgentLine::Beat => {}
                    FromAgentLine::Machine { instance, message } => {
                        control.tell(&instance, Told::Agent(node, message)).await;
                    }
                    FromAgentLine::Note { instance, operation, note } => {
                        if let Note::Sized(sizing) = &note
                            && control.fleet.has(&instance)
                        {
                            control.scaling.sizes.hear(&instance, sizing);
                        }
                        control.tell(&instance, Told::Note(operation, note)).await;
                    }
                    FromAgentLine::Held { instance, start, op, hold } => {
                        control.hold(&instance, start, op, hold);
                    }
                    FromAgentLine::Unready { instance, start, unready } => {
                        control.unready(&instance, start, unready);
                    }
                    FromAgentLine::Previewed { question, answer } => {
                        control.questions.answer(node, question, answer);
                    }
                    FromAgentLine::Answered { question, answer } => {
                        control.asked.answer(node, question, answer);
                    }
                    FromAgentLine::Advice { instance, start, advice } => {
                        control.advise(instance, start, advice);
                    }
                    FromAgentLine::Usage { instance, start, usage } => {
                        if control.fleet.has(&instance) {
                            control.scaling.usages.hear(&instance, start, usage);
                        }
                    }
                }
            }
            Ok(())
        } => ended,
        ended = write_out(&mut queue, &mut writer) => ended,
        _ = dropped => Ok(()),
    };
    if control.peers.disconnect(Peer::Agent(node), number) {
        control.questions.give_up(node);
        control.asked.give_up(node);
        tracing::info!(%node, "an agent is gone");
    }
    ended
}

/// Whether it is one of several instances of an app.
fn is_numbered(instance: &str) -> bool {
    instance.parse::<InstanceName>().is_ok_and(|name| name.number().is_some())
}

/// The next line of a peer; `None`: its link is over, because it is gone or stands still. Only time is counted in which
/// the controller itself goes on and listens.
async fn hear<T: DeserializeOwned>(
    control: &Control,
    peer: Peer,
    reader: &mut Reader,
) -> Result<Option<T>, LinkError> {
    for _ in 0..SILENT_MS / BEAT_MS {
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(BEAT_MS), reader.read()).await {
            control.peers.heard(peer);
            return line;
        }
    }
    let silent_ms = control.peers.silent_ms(peer);
    tracing::warn!(?peer, silent_ms, "nothing is heard of this peer: it stands still, its link is dropped");
    Ok(None)
}

async fn gateway_link(
    control: &Arc<Control>,
    gateway: GatewayId,
    mut reader: Reader,
    mut writer: Writer,
) -> Result<(), LinkError> {
    if !control.cloud().gateways.contains(&gateway) {
        tracing::warn!(%gateway, "a gateway that is not configured is not listened to");
        return Ok(());
    }
    let Outgoing { number, mut queue, dropped } = control.peers.connect_gateway(gateway);
    tracing::info!(%gateway, "a gateway is connected");
    for line in control.advised.lines() {
        control.peers.say(Peer::Gateway(gateway), Out::ToGateway(line));
    }
    let ended = tokio::select! {
        ended = async {
            // It asks for what it knows of. Of an app with several instances it may know none.
            let names = control.fleet.names().into_iter();
            for instance in names.filter(|name| is_numbered(name)) {
                control.tell(&instance, Told::Gateway(gateway, FromGateway::Ask)).await;
            }
            while let Some(line) = hear::<FromGatewayLine>(control, Peer::Gateway(gateway), &mut reader).await? {
                match line {
                    FromGatewayLine::Beat => {}
                    FromGatewayLine::Machine { instance, message } => {
                        control.tell(&instance, Told::Gateway(gateway, message)).await;
                    }
                    FromGatewayLine::Measured { app, over_ms, arrivals, waiting, instances } => {
                        if control.cloud().app(&app).is_some() {
                            let line = Line { over_ms, arrivals, waiting, instances };
                            control.scaling.measurements.hear(gateway, &app, line, Instant::now());
                        }
                    }
                    FromGatewayLine::Parked { instance, account, again } => {
                        control.tell(&instance, Told::Parked { gateway, account, again }).await;
                    }
                }
            }
            Ok(())
        } => ended,
        ended = write_out(&mut queue, &mut writer) => ended,
        _ = dropped => Ok(()),
    };
    control.peers.disconnect(Peer::Gateway(gateway), number);
    tracing::info!(%gateway, "a gateway is gone");
    ended
}
