//! What a manifest changes of the cloud that runs, and which instances run something else than it says.

use crate::failure::{Exit, Failure};
use crate::processes::Process;
use paracloud_core::ids::StartId;
use paracloud_core::register::{Mode, Record};
use paracloud_core::updating::Standing;
use paracloud_substrate::config::{App, Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::names::{self, InstanceName};
use paracloud_substrate::person::Status;

/// What becomes of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// As it is to be; under the revision that it has, or would have if that were not written yet.
    pub(super) app: App,
    /// It is none of the cloud yet.
    pub(super) is_new: bool,
    /// Fields that take a new process.
    pub(super) process: Vec<&'static str>,
    /// Fields that hold at once.
    pub(super) at_once: Vec<&'static str>,
    /// Fields that hold for processes that are started from now on.
    pub(super) later: Vec<&'static str>,
    /// Nothing of it serves: what is started next is started as it is to be, and nothing is lost by that.
    pub(super) anew: bool,
    /// Instances that run something else, in the order in which people count.
    pub(super) outdated: Vec<Outdated>,
    /// Instances that serve.
    pub(super) count: u32,
    /// They are being updated already.
    pub(super) is_updating: bool,
}

/// An instance that runs something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outdated {
    pub(super) instance: String,
    /// Its owner.
    pub(super) start: StartId,
    /// How it would go to another process, by its own word.
    pub(super) mode: Option<Mode>,
}

impl Change {
    /// Whether it is new, or its command or what that is told.
    pub(super) fn has_new_command(&self) -> bool {
        self.is_new || self.process.iter().any(|field| ["command", "env"].contains(field))
    }

    /// Whether another revision of it is to count.
    pub(super) fn is_written(&self) -> bool {
        let changed = [&self.process, &self.at_once, &self.later];
        self.is_new || changed.iter().any(|fields| !fields.is_empty())
    }

    /// What says how each of them comes to its new process.
    pub(super) fn standing(&self) -> Standing {
        let (is_stateless, most) = (self.app.is_stateless(), self.app.scale.map(|scale| scale.max));
        Standing { is_stateless, count: self.count, most }
    }
}

/// What the manifest changes.
///
/// # Errors
/// It cannot be changed so while the cloud runs, or what an instance runs cannot be read.
pub(super) fn changes(
    layout: &Layout,
    before: &Cloud,
    wanted: &Cloud,
    status: &Status,
    processes: &[Process],
) -> Result<Vec<Change>, Failure> {
    let missing = before.apps.iter().filter(|app| wanted.app(&app.name).is_none());
    let missing: Vec<_> = missing.map(|app| app.name.as_str()).collect();
    if !missing.is_empty() {
        let is_one = missing.len() == 1;
        let why = format!("{} in the cloud, and not in this manifest", if is_one { "is" } else { "are" });
        let next = "name every app of the cloud in the manifest; an app is taken out by ending the cloud (paracloud stop) \
                    and bringing it up without it";
        return Err(Failure::new(Exit::Usage, "app_missing", missing.join(", "), why, next));
    }
    if wanted.gateways.len() != before.gateways.len() {
        let why = format!(
            "names {} listen addresses, and the cloud has {} gateways: each app needs one for each",
            wanted.gateways.len(),
            before.gateways.len()
        );
        let who = wanted.apps.first().map_or("listen", |app| app.name.as_str());
        let next = "give it as many addresses, or end the cloud and bring it up with that";
        return Err(Failure::new(Exit::Usage, "gateways", who, why, next));
    }
    wanted.apps.iter().map(|app| change(layout, before, app, status, processes)).collect()
}

fn change(
    layout: &Layout,
    before: &Cloud,
    wanted: &App,
    status: &Status,
    processes: &[Process],
) -> Result<Change, Failure> {
    let Some(known) = before.app(&wanted.name) else {
        return Ok(Change {
            app: App { revision: 0, ..wanted.clone() },
            is_new: true,
            process: Vec::new(),
            at_once: Vec::new(),
            later: Vec::new(),
            anew: false,
            outdated: Vec::new(),
            count: 0,
            is_updating: false,
        });
    };
    let fixed = known.fixed_differences(wanted);
    if !fixed.is_empty() {
        let why = format!("{} cannot be changed while the cloud runs", fixed.join(", "));
        let next = "leave that as it is, or end the cloud (paracloud stop) and bring it up with that";
        return Err(Failure::new(Exit::Usage, "fixed", &wanted.name, why, next));
    }
    let app = App { revision: known.revision, floor: known.floor, ..wanted.clone() };
    let own = status.instances.iter().filter(|instance| is_of(&instance.name, &app.name));
    let known_of: Vec<_> = own.filter(|it| it.record.is_some()).collect();
    let records = known_of.len();
    let serving = known_of.into_iter().filter(|it| it.serves());
    let mut serving: Vec<_> =
        serving.filter_map(|it| Some((it.name.as_str(), it.record.as_ref()?))).collect();
    serving.sort_by(|(left, _), (right, _)| names::order(left, right));
    let mut outdated = Vec::new();
    for (name, record) in &serving {
        let runs = running(known, record, processes);
        let is = if runs == known.revision {
            known.clone()
        } else {
            Cloud::revision(&layout.cloud(), &app.name, runs)
                .map_err(|error| unreadable(&app.name, &error))?
        };
        if !is.runs_as(&app) {
            let (instance, start) = ((*name).to_owned(), record.owner.start);
            outdated.push(Outdated { instance, start, mode: None });
        }
    }
    Ok(Change {
        is_new: false,
        process: known.process_differences(&app),
        at_once: known.immediate_differences(&app),
        later: known.later_differences(&app),
        anew: serving.is_empty() && records > 0,
        count: u32::try_from(serving.len()).unwrap_or(u32::MAX),
        is_updating: status.updating.contains(&app.name),
        outdated,
        app,
    })
}

fn unreadable(app: &str, error: &ConfigError) -> Failure {
    Failure::machine(format!("what {app} runs"), error)
}

/// Which revision of its app an instance runs.
pub fn running(app: &App, record: &Record, processes: &[Process]) -> u32 {
    let own = processes.iter().find(|process| process.start == record.owner.start);
    own.and_then(|process| process.revision).unwrap_or_else(|| app.started_from(record.owner.revision))
}

fn is_of(instance: &str, app: &str) -> bool {
    instance.parse::<InstanceName>().is_ok_and(|instance| instance.app() == app)
}
