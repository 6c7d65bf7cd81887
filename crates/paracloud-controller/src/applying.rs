//! Another configuration, while the cloud runs.
//!
//! Revisions of apps are written before anybody names them, and never changed. So one rename decides: before it the cloud is
//! what it was, after it what was applied, whoever is killed meanwhile. Everybody reads `cloud.json` when told to, and when
//! they dial. Which process runs which revision is in the register: nothing that runs is changed by this.

use crate::control::Control;
use crate::instance::Told;
use crate::peers::{Out, Peer};
use crate::person::refused;
use crate::updating::{self, Begun};
use paracloud_substrate::config::{App, Cloud, ConfigError};
use paracloud_substrate::message::{ToAgentLine, ToGatewayLine};
use paracloud_substrate::names;
use paracloud_substrate::person::{Refused, Revised};
use paracloud_substrate::updating::Terms;
use std::path::Path;
use std::sync::Arc;

/// Names other revisions as those that count, and begins to update who runs something else: those that are told of it.
pub(crate) async fn apply(
    control: &Control,
    from: &[Revised],
    to: &[Revised],
    update: Option<&Terms>,
) -> Result<Vec<Begun>, Refused> {
    let _applying = control.applying.lock().await;
    let before = control.cloud();
    let named: Vec<_> = before.apps.iter().map(revised).collect();
    // Or it is said again by somebody who did not hear the answer.
    let is_new = !same(to, &named) || to.iter().any(|revised| revised.anew);
    if is_new && !same(from, &named) && !same(to, &named) {
        let message = "something else was applied meanwhile";
        return Err(refused("overtaken", message, "look at what changed, then apply it again"));
    }
    let held = update.map(|terms| updating::hold(control, to, terms)).transpose()?;
    if is_new && let Err(why) = name(control, &before, to).await {
        held.iter().for_each(|held| updating::let_go(control, held));
        return Err(why);
    }
    held.map_or_else(|| Ok(Vec::new()), |held| updating::begin(control, held))
}

async fn name(control: &Control, before: &Arc<Cloud>, to: &[Revised]) -> Result<(), Refused> {
    let named: Vec<_> = before.apps.iter().map(revised).collect();
    let (path, wanted, was) = (control.layout.cloud(), to.to_vec(), Arc::clone(before));
    // The disk may take its time.
    let written = tokio::task::spawn_blocking(move || name_them(&path, &was, &wanted)).await;
    let cloud = written.unwrap_or_else(|error| Err(refused("broken", error.to_string(), "")))?;
    let cloud = Arc::new(cloud);
    control.configure(Arc::clone(&cloud));
    tell(control, before, &cloud).await;
    let changed = cloud.apps.iter().filter(|app| !named.contains(&revised(app)));
    for app in changed {
        let what = format!("a person applied revision {} of {}", app.revision, app.name);
        control.keep_remark(&app.name, None, what).await;
    }
    Ok(())
}

fn revised(app: &App) -> Revised {
    Revised { app: app.name.clone(), revision: app.revision, anew: false }
}

fn same(left: &[Revised], right: &[Revised]) -> bool {
    let pair = |revised: &Revised| (revised.app.clone(), revised.revision);
    left.iter().map(pair).eq(right.iter().map(pair))
}

/// Reads what is to count, holds it against what does, and writes that it does.
fn name_them(path: &Path, before: &Cloud, wanted: &[Revised]) -> Result<Cloud, Refused> {
    let failed = |error: &ConfigError| {
        let why = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
        refused("unwritten", format!("nothing was applied: {error}{why}"), "free some space on that disk")
    };
    let mut apps = Vec::new();
    for Revised { app: name, revision, anew } in wanted {
        let known = before.app(name);
        if !names::is_app(name) || apps.iter().any(|app: &App| app.name == *name) {
            let shown: String = name.chars().take(64).collect();
            let message = format!("{shown:?} is no app, or is named twice");
            return Err(refused("bad_request", message, "apply a manifest: paracloud apply FILE"));
        }
        if let Some(later) = known.filter(|known| known.revision > *revision) {
            let message =
                format!("{name}: revision {} counts, and none before it does again", later.revision);
            return Err(refused("backwards", message, "apply what it said: that becomes a new one"));
        }
        let app = match known {
            Some(app) if app.revision == *revision => app.clone(),
            Some(_) | None => Cloud::revision(path, name, *revision).map_err(|error| failed(&error))?,
        };
        let floor = known.filter(|_| !anew).map_or(*revision, |known| known.floor);
        let app = App { floor, name: name.clone(), revision: *revision, ..app };
        check(before, known, &app)?;
        apps.push(app);
    }
    if let Some(missing) = before.apps.iter().find(|app| apps.iter().all(|it: &App| it.name != app.name)) {
        let message = format!("{} is in the cloud, and not in what is to be applied", missing.name);
        return Err(refused(
            "app_missing",
            message,
            "put it back: an app is taken out when the cloud is brought up",
        ));
    }
    let cloud = Cloud { apps, ..before.clone() };
    cloud.save(path).map_err(|error| failed(&error))?;
    Ok(cloud)
}

/// Whether an app can become this while the cloud runs.
fn check(before: &Cloud, known: Option<&App>, app: &App) -> Result<(), Refused> {
    if app.listen.len() != before.gateways.len() {
        let message = format!(
            "{} has {} listen addresses, and the cloud {} gateways: it needs one for each",
            app.name,
            app.listen.len(),
            before.gateways.len()
        );
        return Err(refused("gateways", message, "give it as many addresses, or bring the cloud up anew"));
    }
    let fixed = known.map(|known| known.fixed_differences(app)).unwrap_or_default();
    if fixed.is_empty() {
        return Ok(());
    }
    let message = format!("{}: {} cannot be changed while the cloud runs", app.name, fixed.join(", "));
    Err(refused("fixed", message, "end the cloud, and bring it up with that"))
}

/// Everybody hears of it, in an order in which nobody is spoken to of what it cannot know.
async fn tell(control: &Control, before: &Cloud, cloud: &Cloud) {
    for node in &cloud.nodes {
        control.peers.say(Peer::Agent(node.id), Out::ToAgent(ToAgentLine::Configured));
    }
    for gateway in &cloud.gateways {
        control.peers.say(Peer::Gateway(*gateway), Out::ToGateway(ToGatewayLine::Configured));
    }
    for name in control.fleet.names() {
        if let Some(app) = cloud.app_of(&name) {
            control.tell(&name, Told::Configured(Box::new(app.clone()))).await;
        }
    }
    if cloud.apps.iter().any(|app| before.app(&app.name).is_none()) {
        control.fleet.widen(cloud);
        control.peers.hear_agents_again();
    }
}
