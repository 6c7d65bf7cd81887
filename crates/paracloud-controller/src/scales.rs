//! How many instances a person wants of an app: kept for a stated time, across restarts of the controller. Until it is over
//! nobody else decides that.

use crate::control::{Control, locked};
use crate::fleet::Full;
use crate::journal::now_unix_ms;
use crate::person::refused;
use paracloud_core::ids::NodeId;
use paracloud_substrate::config::{App, Scale};
use paracloud_substrate::figures::millis;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Kept, Refused, Scaled, Starting};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// The longest that it is kept, in milliseconds: a week.
pub(crate) const HOLD_MS_MAX: u32 = 7 * 24 * 3_600_000;

/// What a person wants of one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manual {
    /// So many instances.
    pub(crate) instances: u32,
    /// Until then, in milliseconds since 1970.
    pub(crate) until_unix_ms: u64,
}

/// What people want, by app: of each that is configured one at most.
#[derive(Debug)]
pub(crate) struct Scales(Mutex<BTreeMap<String, Manual>>);

impl Scales {
    /// What was kept. What cannot be read is nobody's wish.
    pub(crate) fn load(layout: &Layout) -> Self {
        let path = layout.scales();
        let kept = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let kept = kept.unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "what people wanted of numbers of instances is forgotten");
            BTreeMap::new()
        });
        Self(Mutex::new(kept))
    }

    /// What a person wants of an app, as long as that is kept.
    pub(crate) fn of(&self, app: &str, now_unix_ms: u64) -> Option<Manual> {
        locked(&self.0).get(app).copied().filter(|manual| manual.until_unix_ms > now_unix_ms)
    }

    fn keep(&self, path: &Path, app: &str, manual: Manual, now_unix_ms: u64) -> io::Result<()> {
        let mut all = locked(&self.0);
        let mut next = all.clone();
        next.retain(|_, manual| manual.until_unix_ms > now_unix_ms);
        next.insert(app.to_owned(), manual);
        let staged = path.with_extension("new");
        let mut file = File::create(&staged)?;
        file.write_all(&serde_json::to_vec_pretty(&next)?)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)?;
        *all = next;
        Ok(())
    }
}

/// What people want of the apps that are configured.
pub(crate) fn kept(control: &Control) -> Vec<Kept> {
    let now_unix_ms = now_unix_ms();
    let kept = |app: &App| {
        let manual = control.scales.of(&app.name, now_unix_ms)?;
        let remaining_ms = manual.until_unix_ms - now_unix_ms;
        Some(Kept { app: app.name.clone(), instances: manual.instances, remaining_ms })
    };
    control.cloud.apps.iter().filter_map(kept).collect()
}

/// What a person asks for.
pub(crate) struct Wanted<'a> {
    pub(crate) app: &'a str,
    pub(crate) to: u32,
    pub(crate) hold_ms: Option<u32>,
    pub(crate) dry_run: bool,
}

/// Sets how many instances an app has.
pub(crate) async fn scale(control: &Control, wanted: &Wanted<'_>) -> Result<Scaled, Refused> {
    let (app, scale) = scaled_app(control, wanted.app)?;
    let name = &app.name;
    let Wanted { to, dry_run, .. } = *wanted;
    if !(scale.min..=scale.max).contains(&to) {
        let message = format!("{name} may have {} to {} instances, not {to}", scale.min, scale.max);
        return Err(refused("out_of_bounds", message, "change scale in its manifest, or ask for less"));
    }
    let hold_ms = wanted.hold_ms.unwrap_or(scale.manual_hold_ms);
    if !(1..=HOLD_MS_MAX).contains(&hold_ms) {
        let (asked, most) = (millis(hold_ms.into()), millis(HOLD_MS_MAX.into()));
        let message = format!("{asked} is out of bounds: it is kept for 1 ms to {most}");
        return Err(refused("out_of_bounds", message, "ask for another time with --for"));
    }
    let from = control.fleet.count(name);
    if to < from {
        let message = format!("{name} has {from} instances, and this version ends none of them");
        return Err(refused("not_possible", message, "ask for more, not for fewer"));
    }
    let nodes = control.nodes_there();
    let failed = |full| not_added(control, app, full);
    let planned = control.fleet.plan(app, to - from, &nodes, &control.owners()).map_err(failed)?;
    if dry_run {
        return Ok(Scaled { app: name.clone(), from, to, starts: starting(planned), until_unix_ms: None });
    }
    // Kept first: what is started and then forgotten would be ended again.
    let now_unix_ms = now_unix_ms();
    let until_unix_ms = now_unix_ms + u64::from(hold_ms);
    let manual = Manual { instances: to, until_unix_ms };
    if let Err(error) = control.scales.keep(&control.layout.scales(), name, manual, now_unix_ms) {
        let message = format!("nothing was begun for {name}: {}: {error}", control.layout.scales().display());
        return Err(refused("no_space", message, "free some space on that disk"));
    }
    let mut started = Vec::new();
    for _ in planned {
        started.push(control.start_instance(app).map_err(failed)?);
    }
    let which: Vec<_> =
        started.iter().map(|(name, node)| format!("{name} on {}", control.node_name(*node))).collect();
    let which = if which.is_empty() { "none is started".to_owned() } else { which.join(", ") };
    let what = format!("a person wants {to} instances, of {from}, for {}: {which}", millis(hold_ms.into()));
    control.keep_remark(name, None, what).await;
    Ok(Scaled { app: name.clone(), from, to, starts: starting(started), until_unix_ms: Some(until_unix_ms) })
}

fn starting(planned: Vec<(String, NodeId)>) -> Vec<Starting> {
    planned.into_iter().map(|(instance, node)| Starting { instance, node }).collect()
}

fn scaled_app<'a>(control: &'a Control, name: &str) -> Result<(&'a App, Scale), Refused> {
    let Some(app) = control.cloud.app(name) else {
        let shown: String = name.chars().take(64).collect();
        let apps: Vec<_> = control.cloud.apps.iter().map(|app| app.name.as_str()).collect();
        let next = format!("there are: {}", apps.join(", "));
        return Err(refused("unknown_instance", format!("there is no app {shown:?}"), next));
    };
    match app.scale {
        Some(scale) => Ok((app, scale)),
        None => Err(not_added(control, app, Full::NotScaled)),
    }
}

fn not_added(control: &Control, app: &App, full: Full) -> Refused {
    let name = &app.name;
    match full {
        Full::NotScaled => {
            let message = format!("{name} has one instance: its manifest has no scale");
            refused("not_scaled", message, "give it scale: {max: N}, and bring the cloud up with that")
        }
        Full::Most(most) => {
            refused("out_of_bounds", format!("{name} has {most} instances, as many as it may have"), "")
        }
        Full::NoNode => {
            let nodes: Vec<_> = control.cloud.nodes.iter().map(|node| node.name.as_str()).collect();
            let message = format!("no node is connected that could take an instance of {name}");
            refused("node_unreachable", message, format!("look at the agents of {}", nodes.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_wants_is_kept_across_a_restart_and_over_with_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let scales = Scales::load(&layout);
        assert_eq!(scales.of("worker", 0), None);
        let four = Manual { instances: 4, until_unix_ms: 1_000 };
        scales.keep(&layout.scales(), "worker", four, 10).unwrap();
        let restarted = Scales::load(&layout);
        assert_eq!(restarted.of("worker", 999), Some(four));
        assert_eq!(restarted.of("worker", 1_000), None, "it is over");
        let two = Manual { instances: 2, until_unix_ms: 5_000 };
        restarted.keep(&layout.scales(), "web", two, 2_000).unwrap();
        let kept: BTreeMap<String, Manual> =
            serde_json::from_slice(&std::fs::read(layout.scales()).unwrap()).unwrap();
        assert_eq!(kept, BTreeMap::from([("web".to_owned(), two)]), "what is over is forgotten");
        std::fs::write(layout.scales(), "{").unwrap();
        assert_eq!(Scales::load(&layout).of("web", 2_000), None, "torn");
    }
}
