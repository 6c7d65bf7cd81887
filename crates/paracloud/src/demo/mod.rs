//! `paracloud demo`: an app with its state in memory is moved while clients write to it and keep count.
//!
//! ```text
//!   place     a temporary directory, a manifest, free ports
//!   cloud     `paracloud up` as a process, moves, the end of its controller
//!   clients   the load as a process, in windows
//!   play      what is done in which order
//!   parked    what the gateways logged of waits
//!   report    what clients saw, and whether it is as it must be
//! ```
//!
//! Everything runs as it would for a person: real processes, real sockets, the command line's own way of following a
//! move. This one binary is also the app ([`parts::app`]) and the clients ([`parts::clients`]).

mod clients;
mod cloud;
mod parked;
pub mod parts;
mod place;
mod play;
mod report;

use crate::failure::{Exit, Failure};
use crate::output::{Format, say, say_object, tell};
use clap::Args;
use cloud::Cloud;
use paracloud_substrate::lifeline::Ends;
use place::Place;
use play::Teller;
use report::Report;
use serde_json::json;

/// What a demo may be asked for with.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// State that the app holds in memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4096))]
    state_mib: u32,
    /// Leave the cloud up at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// The least length of each window, in milliseconds
    #[arg(long, hide = true, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    window_ms: u64,
}

/// Shows a live move there and back and one whose controller is killed, and what clients saw of it. Nothing is left
/// behind, however it ends.
///
/// # Errors
/// Something was lost or doubled, a request failed though nothing was killed, a part cannot be run, or a signal came.
pub async fn run(format: Format, options: &Options) -> Result<(), Failure> {
    let mut ends = Ends::listen().map_err(|error| Failure::machine("signals", &error))?;
    let teller = Teller::new(format);
    let place = Place::make(options.state_mib)?;
    let mut cloud = Cloud::start(&place)?;
    let shown = tokio::select! {
        shown = Box::pin(show(&mut cloud, &place, options, &teller)) => shown.map(Some),
        _ = ends.next() => Ok(None),
    };
    if shown.as_ref().is_ok_and(Option::is_some) && options.keep {
        stay(&cloud, &place, &teller, &mut ends).await;
    }
    teller.tell("ending the cloud");
    let ended = cloud.end(&mut ends).await;
    let report = match (shown, ended) {
        (Err(failure), _) | (Ok(_), Err(failure)) => return Err(place.keep_logs(failure)),
        (Ok(None), Ok(())) => {
            let why = "you ended it before its end; nothing is left running";
            return Err(Failure::new(Exit::Failed, "interrupted", "demo", why, ""));
        }
        (Ok(Some(report)), Ok(())) => report,
    };
    conclude(&report, format).map_err(|failure| place.keep_logs(failure))
}

async fn show(
    cloud: &mut Cloud,
    place: &Place,
    options: &Options,
    teller: &Teller,
) -> Result<Report, Failure> {
    let report = play::play(cloud, place, options, teller).await?;
    if teller.format() == Format::Text {
        say(&format!("\n{}\n", report.table()));
    }
    Ok(report)
}

/// Leaves the cloud up, and says how to look at it.
async fn stay(cloud: &Cloud, place: &Place, teller: &Teller, ends: &mut Ends) {
    let directory = cloud.layout().root().display();
    teller.tell("the cloud stays up until Ctrl-C; from another terminal:");
    if teller.format() == Format::Text {
        let [first, second] = place.gateways;
        tell(&format!("  paracloud ps --dir {directory}"));
        tell(&format!("  paracloud move {} --dir {directory}", place::APP));
        tell(&format!("  curl -i http://{first}/keys/k0        and through http://{second}"));
    }
    ends.next().await;
}

/// The last words: for programs the one object, for people whether it is as it must be.
fn conclude(report: &Report, format: Format) -> Result<(), Failure> {
    let object = serde_json::to_value(report).map_err(|error| Failure::machine("report", &error))?;
    let faults = report.faults();
    if !faults.is_empty() {
        let failure = Failure::new(Exit::Failed, "promise_broken", "demo", faults.join("; "), "");
        return Err(Failure { found: Some(Box::new(("demo", object))), ..failure });
    }
    match format {
        Format::Json => say_object("demo", json!({ "ok": true, "demo": object })),
        Format::Text => say(&report.praise()),
    };
    Ok(())
}
