//! The link to the controller. The gateway dials; while there is no link it goes on with the tables it has.

use crate::apps::Heard;
use crate::control::{Link, Outgoing};
use crate::opening::Opening;
use paracloud_core::ids::GatewayId;
use paracloud_core::migration::gateway::Input;
use paracloud_core::migration::promises::Point;
use paracloud_substrate::failpoint;
use paracloud_substrate::link::{BEAT_MS, LinkError, REDIAL_MS, Writer, dial, halves};
use paracloud_substrate::message::{Caller, FromGatewayLine, ToGatewayLine};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// For tests: while the file that this variable names is there, the gateway hears nothing of what the controller
/// says, and tells it nothing: it is cut off, and must go on with the tables it has.
pub const DEAF: &str = "PARACLOUD_DEAF";

/// Talks with the controller for ever.
pub(crate) async fn talk(
    socket: &Path,
    gateway: GatewayId,
    deaf: Option<&Path>,
    opening: &Opening,
    mut link: Link,
) {
    let mut links = 0_u32;
    loop {
        let end = connected(socket, gateway, opening, &mut link, deaf, links > 0).await;
        links = links.saturating_add(1);
        link.is_up.store(false, Ordering::Relaxed);
        // Said to nobody, like everything on a lost link. A machine that stood still for it goes on.
        while link.queue.try_recv().is_ok() {}
        match end {
            Ok(()) => tracing::info!("the controller is gone; routing goes on as it was"),
            Err(error) => {
                tracing::warn!(%error, "the link to the controller is dropped; routing goes on as it was");
            }
        }
        tokio::time::sleep(Duration::from_millis(REDIAL_MS.0)).await;
    }
}

async fn connected(
    socket: &Path,
    gateway: GatewayId,
    opening: &Opening,
    link: &mut Link,
    deaf: Option<&Path>,
    again: bool,
) -> Result<(), LinkError> {
    let (mut reader, mut writer) = halves(dial(socket).await);
    writer.write(&Caller::Gateway { gateway }).await?;
    link.is_up.store(true, Ordering::Relaxed);
    tracing::info!("linked to the controller");
    let is_deaf = || deaf.is_some_and(Path::exists);
    let apps = &opening.apps;
    // The configuration may have been changed while nobody could say so.
    opening.look();
    // What was said meanwhile is lost, so each machine asks.
    for control in apps.controls() {
        let taken = control.input(Input::Started, None);
        saying(taken, link, &mut writer, gateway, deaf).await?;
        if again {
            control.tell_again();
        }
    }
    let mut beats = tokio::time::interval(Duration::from_millis(BEAT_MS));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Also by one that is deaf for a test: its link stays, and leads nowhere.
            _ = beats.tick() => writer.write(&FromGatewayLine::Beat).await?,
            line = reader.read::<ToGatewayLine>() => {
                let Some(line) = line? else { return Ok(()) };
                match line {
                    _ if is_deaf() => {}
                    ToGatewayLine::Configured => {
                        for control in opening.look() {
                            let taken = control.input(Input::Started, None);
                            saying(taken, link, &mut writer, gateway, deaf).await?;
                        }
                    }
                    ToGatewayLine::Machine { instance, message } => match apps.hear_of(&instance) {
                        Some(Heard { control, is_new }) => {
                            if is_new {
                                let taken = control.input(Input::Started, None);
                                saying(taken, link, &mut writer, gateway, deaf).await?;
                            }
                            let taken = control.coordinator(message);
                            saying(taken, link, &mut writer, gateway, deaf).await?;
                        }
                        None => tracing::warn!(instance, "the controller speaks of no app of this cloud"),
                    },
                    ToGatewayLine::Advice { instance, start, advice } => apps.advise(&instance, start, *advice),
                }
            }
            outgoing = link.queue.recv() => {
                let Some(outgoing) = outgoing else { return Ok(()) };
                if !is_deaf() {
                    say(&mut writer, gateway, outgoing).await?;
                }
            }
        }
    }
}

/// Waits for something, and says meanwhile what there is to say: a machine that stands still until its line is written
/// takes nothing in before.
async fn saying<F: Future>(
    something: F,
    link: &mut Link,
    writer: &mut Writer,
    gateway: GatewayId,
    deaf: Option<&Path>,
) -> Result<F::Output, LinkError> {
    let mut something = pin!(something);
    loop {
        tokio::select! {
            biased;
            output = &mut something => return Ok(output),
            Some(outgoing) = link.queue.recv() => {
                if !deaf.is_some_and(Path::exists) {
                    say(writer, gateway, outgoing).await?;
                }
            }
        }
    }
}

async fn say(writer: &mut Writer, gateway: GatewayId, outgoing: Outgoing) -> Result<(), LinkError> {
    writer.write(&outgoing.line).await?;
    if let Some((promise, stand)) = outgoing.stand {
        failpoint::reached(promise, Point::AfterSend, &gateway.to_string()).await;
        drop(stand);
    }
    Ok(())
}
