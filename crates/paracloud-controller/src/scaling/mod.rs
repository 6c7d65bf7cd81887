//! How many instances an app with `scale` has, and how large they are: decided again and again by the core's
//! [`plan`], from what is known here, and carried out.
//!
//! ```text
//!   gateways ──measured──┐
//!   agents ───usage──────┤                        ┌─▶ start, retire, revoke, resize (orders)
//!   applications ─advice─┼─▶ observe ─▶ plan ─┬───┴─▶ questions: what would losing you cost?
//!   register ──views─────┤                    └─────▶ the log of decisions, before anything is done
//!   people ───scales─────┘                              │ memory, when the controller is started again
//!                                  plan ◀───────────────┘
//! ```
//!
//! | | |
//! |---|---|
//! | `policy` | what the manifest allows |
//! | `measured`, `usage` | what gateways and agents measured last |
//! | `phases`, `observe` | how far instances are; all that is known, with ages |
//! | `quotes`, `sizes` | what instances answered to what losing them costs, and to other sizes |
//! | `acts` | what was decided is done |
//! | `clock` | when it is decided, whatever becomes of the wall's clock |
//! | `log`, `recall` | decisions with their reasons, and what the last one left |
//! | `lookup`, `history` | decisions in the log, each with what came of it; what the journal has of an operation |
//! | `explain`, `orders` | they are looked up for people, and what people's orders were made into |

mod acts;
mod asked;
mod clock;
mod explain;
mod history;
mod log;
mod lookup;
mod measured;
mod observe;
mod orders;
mod phases;
mod policy;
mod quotes;
mod recall;
pub(crate) mod sizes;
mod usage;

pub(crate) use clock::Clock;
pub(crate) use explain::explain;
pub(crate) use measured::{Line, Measurements};
pub(crate) use sizes::Sizes;
pub(crate) use usage::Usages;

use crate::control::{Control, locked};
use crate::journal::now_unix_ms;
use crate::turns::Turns;
use log::{Keeper, Sampling};
use observe::Sources;
use paracloud_core::ids::{InstanceNumber, OperationNumber};
use paracloud_core::scaling::{Action, Record, plan};
use paracloud_core::{ordered, wishes};
use paracloud_substrate::decision::{Done, Opened};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::names::InstanceName;
use phases::Phases;
use quotes::Quotes;
use recall::{Found, Recalled};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often it is looked for apps that are new or are scaled no longer.
const LOOK: Duration = Duration::from_secs(1);

/// What there is of scaling for the other parts of the controller.
#[derive(Debug)]
pub(crate) struct Scaling {
    pub(crate) measurements: Measurements,
    pub(crate) usages: Usages,
    pub(crate) sizes: Sizes,
    keeper: Keeper,
    /// Held by who looks for what an earlier controller left.
    recalling: tokio::sync::Mutex<()>,
    /// The last leave of each instance that was decided here, or by an earlier controller, as far as that could note it.
    leaves: Mutex<BTreeMap<String, OperationNumber>>,
    /// The last decisions of each app.
    last: Mutex<BTreeMap<String, Last>>,
    /// Whoever changes the number of instances of an app has its turn from looking at them until it is done.
    pub(crate) turns: Turns,
}

impl Scaling {
    /// Of the cloud in this directory.
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            measurements: Measurements::default(),
            usages: Usages::default(),
            sizes: Sizes::default(),
            keeper: Keeper::new(&layout.decisions()),
            recalling: tokio::sync::Mutex::default(),
            leaves: Mutex::default(),
            last: Mutex::default(),
            turns: Turns::default(),
        }
    }

    /// An instance leaves because it was decided here.
    fn lets_go(&self, instance: &str, leave: OperationNumber) {
        locked(&self.leaves).insert(instance.to_owned(), leave);
    }

    /// It was called back: that it stays is no refusal.
    fn called_back(&self, instance: &str) {
        locked(&self.leaves).remove(instance);
    }

    /// Of the leaves that were decided here those that ended, each once: who stayed.
    fn stayed(&self, mut has_stayed: impl FnMut(&str, OperationNumber) -> bool) {
        locked(&self.leaves).retain(|instance, leave| !has_stayed(instance, *leave));
    }

    /// Whether this leave of an instance was decided here, and not by a person or for another node or revision.
    fn let_go(&self, instance: &str, leave: OperationNumber) -> bool {
        locked(&self.leaves).get(instance) == Some(&leave)
    }

    /// Keeps a decision about what an instance asks for.
    pub(crate) async fn keep_wish(&self, app: &str, record: &wishes::Record) {
        self.keeper.wished(app, record).await;
    }

    /// Keeps what a person's order was made into.
    pub(crate) async fn keep_order(&self, app: &str, record: &ordered::Record) {
        self.keeper.ordered(app, record).await;
    }

    /// Keeps what was begun by that, or because of an ask.
    pub(crate) fn opened(&self, app: &str, opened: Opened) {
        self.keeper.opened(app, opened);
    }

    /// The last decisions of an app by this controller.
    fn last(&self, app: &str) -> Option<Last> {
        locked(&self.last).get(app).cloned()
    }

    /// Sessions that live in an instance, by its own word or as gateways see them: as they counted in the last decision of its app.
    pub(crate) fn sessions(&self, instance: &str) -> Option<u32> {
        let name = instance.parse::<InstanceName>().ok()?;
        let Made { record, .. } = self.last(name.app())?.present;
        record.observation.instances.get(&InstanceNumber(name.number()?))?.sessions
    }

    fn decided(&self, app: &str, made: Made) {
        let mut all = locked(&self.last);
        let acts = made.record.plan.actions.iter().any(|action| !matches!(action, Action::AskQuotes(_)));
        let before = all.remove(app).and_then(|last| last.acted);
        let acted = if acts { Some(made.clone()) } else { before };
        all.insert(app.to_owned(), Last { present: made, acted });
    }
}

/// The last decisions of an app.
#[derive(Debug, Clone)]
struct Last {
    present: Made,
    /// The last one by which something was done.
    acted: Option<Made>,
}

/// A decision that was made.
#[derive(Debug, Clone)]
struct Made {
    /// When, in milliseconds since 1970.
    unix_ms: u64,
    record: Arc<Record>,
    /// What became of it.
    done: Vec<Done>,
}

/// Scales every app that has `scale`, for ever.
pub(crate) async fn run(control: Arc<Control>) {
    let mut scalers = JoinSet::new();
    let mut scaled = BTreeSet::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {
                let cloud = control.cloud();
                for app in cloud.apps.iter().filter(|app| app.scale.is_some()) {
                    if scaled.insert(app.name.clone()) {
                        scalers.spawn(Box::pin(scale(Arc::clone(&control), app.name.clone())));
                    }
                }
            }
            Some(ended) = scalers.join_next() => match ended {
                Ok(app) => drop(scaled.remove(&app)),
                // Nobody knows which it was: they all begin again, with what their last records left.
                Err(error) => {
                    tracing::error!(%error, "a part that scales an app broke off: all begin again");
                    scalers.shutdown().await;
                    scaled.clear();
                }
            },
        }
    }
}

/// Scales one app, until it is configured with `scale` no longer. Says its name.
async fn scale(control: Arc<Control>, app: String) -> String {
    let Recalled { mut memory, left_ms } = recalled(&control, &app).await;
    for (instance, leave) in recalled_leaves(&control, &app).await {
        control.scaling.lets_go(&instance, leave);
    }
    let clock = Clock::after(left_ms);
    let (mut phases, quotes, mut sampling) =
        (Phases::default(), Arc::new(Quotes::default()), Sampling::default());
    let mut asking = JoinSet::new();
    let mut next = Instant::now();
    loop {
        let cloud = control.cloud();
        let Some((configured, policy)) = cloud.app(&app).and_then(|app| Some((app, policy::of(app)?))) else {
            return app;
        };
        let period = Duration::from_millis(policy.period_ms.into());
        next = (next + period).max(Instant::now());
        tokio::time::sleep_until(next.into()).await;
        // Gateways count as long as this, and end a little later or earlier.
        control.scaling.measurements.wait(&app, period, next + period / 2).await;
        while asking.try_join_next().is_some() {}
        if !has_run(&control, &app) {
            continue;
        }
        let turn = control.scaling.turns.take(&app).await;
        let names: Vec<_> = control.fleet.there();
        control.shown(names.iter().map(String::as_str)).await;
        let together = control.scaling.measurements.take(&app, period, Instant::now());
        let mut sources = Sources {
            control: &control,
            app: configured,
            policy: &policy,
            quotes: &quotes,
            phases: &mut phases,
        };
        sources.note_who_stayed();
        sources.note_sizes();
        let observation = observe::observe(&mut sources, together, clock.now_ms());
        let (_, left, record) = plan(&policy, &observation, &memory);
        memory = left;
        let record = Arc::new(record);
        let unix_ms = now_unix_ms();
        if sampling.takes(&record, Instant::now()) {
            control.scaling.keeper.decided(&app, &record).await;
        }
        let done = acts::carry_out(&control, configured, &record, (&quotes, &mut asking)).await;
        drop(turn);
        done.iter().for_each(|done| control.scaling.keeper.done(&app, done.clone()));
        control.scaling.decided(&app, Made { unix_ms, record, done });
    }
}

/// Whether an app was ever started. Its first instances are started once every node was heard, and nobody decides on more
/// before.
fn has_run(control: &Control, app: &str) -> bool {
    let is_own = |name: &String| name.parse::<InstanceName>().is_ok_and(|name| name.app() == app);
    control.fleet.names().iter().any(is_own)
}

/// What the last decision of an app left, by whichever controller. What is wrong with the log is said.
async fn recalled(control: &Control, app: &str) -> Recalled {
    let _one_at_a_time = control.scaling.recalling.lock().await;
    let directory = control.layout.decisions();
    let (of, log) = (app.to_owned(), directory.clone());
    let looked = tokio::task::spawn_blocking(move || recall::recollect(&directory, &of, now_unix_ms())).await;
    let found = looked.unwrap_or_else(|error| Found { wrong: Some(error.to_string()), ..Found::default() });
    if found.is_aside {
        control.scaling.keeper.begin_anew();
    }
    if let Some(wrong) = found.wrong {
        tracing::warn!(app, wrong, "the log of decisions is not as it was left");
        control.keep_remark(app, None, format!("the log of decisions ({}): {wrong}", log.display())).await;
    }
    found.recalled
}

/// The last leave of each instance of an app that an earlier controller decided. One that was killed before it could note it
/// is not in it: who leaves by that is not called back, and another one is started if it must be.
async fn recalled_leaves(control: &Control, app: &str) -> BTreeMap<String, OperationNumber> {
    let (directory, app) = (control.layout.decisions(), app.to_owned());
    tokio::task::spawn_blocking(move || recall::leaves(&directory, &app)).await.unwrap_or_default()
}

/// The last decision about what an instance asked for, by whichever controller. What cannot be read counts for nothing: who scales
/// its app says so.
pub(crate) async fn recall_wish(control: &Control, app: &str, instance: &str) -> Option<wishes::Record> {
    let (directory, app, instance) = (control.layout.decisions(), app.to_owned(), instance.to_owned());
    let look = move || recall::wish(&directory, &app, &instance, now_unix_ms());
    let looked = tokio::task::spawn_blocking(look).await;
    looked.ok().flatten()
}
