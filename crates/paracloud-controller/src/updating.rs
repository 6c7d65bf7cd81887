//! Instances come to what counts: of each app one after the other, in the order in which people count, several apps at a time.
//!
//! It is kept and goes on without whoever asked for it, also under the next controller. What counts is looked at anew for each
//! instance, so that what is applied meanwhile is what the next ones come to. One that fails ends it for its app: those after
//! it are not begun, and nobody tries again before a person says so.

mod one;

use crate::control::Control;
use crate::ongoing::{Ongoing, Taken, Waits, there};
use crate::peers::Peer;
use crate::person::refused;
use crate::replacing;
use one::Ended;
use paracloud_core::draining::AWAY_MS;
use paracloud_core::register::Record;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::figures::millis;
use paracloud_substrate::names;
use paracloud_substrate::person::{Refused, Revised};
use paracloud_substrate::updating::{End, NOT_BEGUN, Terms, Updated};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often it is looked whether one serves that is being started, in milliseconds.
const LOOK_AGAIN_MS: u64 = 250;

/// Apps that are being updated.
pub(crate) type Updates = Ongoing<String, Kept, Progress>;

/// What is kept of an app that is being updated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The revision that it is to be, whether that counts already or not.
    revision: u32,
    terms: Terms,
}

/// How far the update of an app is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// What became of those that it is over with.
    pub(crate) updated: Vec<Updated>,
    /// Those that are waited for.
    pub(crate) waits: Waits,
    pub(crate) is_over: bool,
}

/// Updates apps for as long as the controller lives.
pub(crate) async fn run(control: Arc<Control>) {
    control.updates.run(|taken| Box::pin(update(Arc::clone(&control), taken))).await;
}

/// Apps that are to be updated, kept before anything is named: whoever is killed after that leaves to the next controller what
/// it has to do.
#[must_use]
pub(crate) struct Held {
    apps: Vec<(String, Kept)>,
    /// Those of them that were not being updated.
    new: Vec<String>,
}

/// Keeps which of these apps are to be updated.
pub(crate) fn hold(control: &Control, to: &[Revised], terms: &Terms) -> Result<Held, Refused> {
    let kept = |it: &Revised| {
        let kept = Kept { revision: it.revision, terms: terms.clone() };
        (it.app.clone(), kept)
    };
    let apps: Vec<_> = to.iter().filter(|it| has_any(control, &it.app, terms)).map(kept).collect();
    let new = control.updates.hold(apps.iter().cloned());
    let new = new.map_err(|error| no_space(control, "nothing was applied", &error))?;
    Ok(Held { apps, new })
}

/// What was held is not to be: nothing was named.
pub(crate) fn let_go(control: &Control, held: &Held) {
    for app in &held.new {
        if let Err(error) = control.updates.end(app) {
            tracing::warn!(%error, app, "it is kept that it is updated: the next controller finds nothing to do");
        }
    }
}

/// An app whose instances are being updated from now on, or were already, and how far that is.
pub(crate) type Begun = (String, watch::Receiver<Progress>);

/// Begins to update what was held, or joins who does: on these terms from now on.
pub(crate) fn begin(control: &Control, held: Held) -> Result<Vec<Begun>, Refused> {
    for app in &held.new {
        replacing::forget(control, |instance| control.is_of(instance, app));
    }
    let begin = |(app, Kept { revision, terms }): (String, Kept)| {
        control.updates.change(&app, |kept| {
            kept.revision = revision;
            kept.terms.clone_from(&terms);
        })?;
        let progress = control.updates.begin(app.clone(), Kept { revision, terms })?;
        Ok((app, progress))
    };
    let begun = held.apps.into_iter().map(begin).collect::<io::Result<_>>();
    begun.map_err(|error| no_space(control, "it counts from now on, but nobody is updated", &error))
}

/// What could not be kept is not done.
fn no_space(control: &Control, what: &str, error: &io::Error) -> Refused {
    let message = format!("{what}: {}: {error}", control.layout.updating().display());
    refused("no_space", message, "free some space on that disk, then apply it again")
}

/// Whether an app has an instance that was found to run something else.
fn has_any(control: &Control, app: &str, terms: &Terms) -> bool {
    let all = control.views.all().into_iter();
    let mut own = all.filter(|(name, _)| control.is_of(name, app)).filter_map(|(_, view)| view.record);
    own.any(|record| !record.gone && terms.outdated.contains(&record.owner.start))
}

/// The instances of an app that run something else, in the order in which people count.
fn outdated(control: &Control, app: &App, kept: &Kept) -> Vec<(String, Record)> {
    let own = control.fleet.there().into_iter().filter(|name| control.is_of(name, &app.name));
    let known = own.filter_map(|name| Some((name.clone(), control.views.of(&name)?.record?)));
    let is_outdated = |record: &Record| {
        // What was found is of what was to count, which may never have been named.
        let is_found = app.revision >= kept.revision && kept.terms.outdated.contains(&record.owner.start);
        is_found || {
            let runs = app.started_from(record.owner.revision);
            let path = control.layout.cloud();
            // What cannot be read is not known to be the same.
            runs != app.revision && !Cloud::revision(&path, &app.name, runs).is_ok_and(|it| it.runs_as(app))
        }
    };
    let mut found: Vec<_> = known.filter(|(_, it)| !it.gone && is_outdated(it)).collect();
    found.sort_by(|(left, _), (right, _)| names::order(left, right));
    found
}

/// Updates one app.
async fn update(control: Arc<Control>, taken: Taken<String, Progress>) {
    let name = &taken.of;
    if taken.was_kept {
        let is_there = || {
            let own = control.owners().into_iter().filter(|(instance, _)| control.is_of(instance, name));
            own.into_iter().all(|(_, node)| control.peers.is_there(Peer::Agent(node)))
        };
        there(&control, is_there).await;
    }
    let push = |instance: &str, end: End| {
        let updated = Updated { app: name.clone(), instance: instance.to_owned(), end };
        let is_done = updated.is_done();
        taken.progress.send_modify(|it| it.updated.push(updated));
        is_done
    };
    let (mut tried, mut waits_since) = (BTreeSet::new(), None);
    loop {
        let names = control.fleet.names();
        control.shown(names.iter().map(String::as_str)).await;
        let cloud = control.cloud();
        let (app, kept) = (cloud.app(name), control.updates.terms(name).unwrap_or_default());
        let revision = app.map(|app| app.revision);
        let all = app.map_or_else(Vec::new, |app| outdated(&control, app, &kept));
        let is_open = |(instance, _): &&(String, Record)| !tried.contains(&(instance.clone(), revision));
        // In the place of one without state another one comes, whether it serves or not.
        let has_room = app.is_some_and(|app| {
            let most = app.scale.map_or(0, |scale| usize::try_from(scale.max).unwrap_or(usize::MAX));
            app.is_stateless() && control.staying(name).len() < most
        });
        let is_ready = |(instance, record): &&(String, Record)| {
            control.views.serves(instance) || record.operation.is_some() || has_room
        };
        let is_next = |it: &&(String, Record)| is_open(it) && is_ready(it);
        let counts = || control.cloud().app(name).map(|app| app.revision) == revision;
        let Some((app, (instance, record))) = app.zip(all.iter().find(is_next)) else {
            // Who is being started is waited for.
            let began = *waits_since.get_or_insert_with(Instant::now);
            let bound_ms = app.map_or(0, replacing::comes_up_ms);
            let bound = Duration::from_millis(bound_ms);
            if all.iter().any(|it| is_open(&it)) && began.elapsed() < bound {
                for (instance, _) in all.iter().filter(is_open) {
                    let given_up = millis(bound_ms);
                    let why = format!("{instance}: it does not serve yet, and is given up after {given_up}");
                    taken.progress.send_if_modified(|it| it.waits.add(instance, why));
                }
                tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
                continue;
            }
            if control.updates.over(&taken, counts) {
                for (instance, _) in all.iter().filter(is_open) {
                    push(instance, End::Stays(one::not_serving(instance)));
                }
                break;
            }
            continue;
        };
        waits_since = None;
        match Box::pin(one::update(&control, app, instance, record, &taken.progress)).await {
            Ended::Again => continue,
            // Nobody is there who could be told that it was given up.
            Ended::Away(_) if taken.was_kept && control.updates.terms(name).is_some() => {
                let why = format!("{instance}: the agent of its node is away");
                taken.progress.send_if_modified(|it| it.waits.add(instance, why));
                tokio::time::sleep(Duration::from_millis(AWAY_MS)).await;
                continue;
            }
            Ended::Away(why) => {
                tried.insert((instance.clone(), revision));
                push(instance, End::Stays(why));
            }
            Ended::So(end) => {
                tried.insert((instance.clone(), revision));
                if push(instance, *end) || !counts() {
                    continue;
                }
            }
        }
        // Who says the same meanwhile hears of this.
        let left = outdated(&control, app, &kept);
        for (other, _) in left.iter().filter(|(it, _)| !tried.contains(&(it.clone(), revision))) {
            push(other, End::Stays(not_begun()));
        }
        if control.updates.over(&taken, counts) {
            break;
        }
    }
    taken.progress.send_modify(|it| it.is_over = true);
}

fn not_begun() -> Refused {
    let message = "not begun: the update of another one of its app failed";
    refused(NOT_BEGUN, message, "correct the manifest, and apply it again")
}
