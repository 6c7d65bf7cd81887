//! What applications ask for themselves: what becomes of it is decided by the core ([`decide`]), kept in the log of decisions,
//! begun as an operation like a person's, and told to the application.
//!
//! ```text
//!   agents ──advice──▶ sight ──▶ decide ──┬─▶ the log, the journal, explain
//!                        ▲                ├─▶ a move, another size (orders)
//!                        └── what came ◀──┘        │
//!   agents ◀──────── what became of it ◀───────────┘
//! ```
//!
//! How many instances an app asks for, and that one wants to go, is weighed where their number is decided: here they are only
//! told whether that counts.

use crate::control::{Control, View, locked};
use crate::journal::{cut, now_unix_ms};
use crate::orders::By;
use crate::peers::{Out, Peer};
use crate::{moves, scaling, sizes};
use paci::ask;
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber, StartId};
use paracloud_core::register::{Record as Registered, Size};
use paracloud_core::wishes::{
    Act, Came, Memory, Phase, Policy, Record, Sight, Verdict, Wait, Wish, decide, explain,
};
use paracloud_substrate::advice::Leased;
use paracloud_substrate::config::{App, Reports};
use paracloud_substrate::decision::Opened;
use paracloud_substrate::message::ToAgentLine;
use paracloud_substrate::person::Refused;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often it is looked what is asked for.
const LOOK: Duration = Duration::from_millis(250);
/// So many asks of one instance are carried out …
pub(crate) const ACTS_MAX: u32 = 3;
/// … in any time of this length, in milliseconds.
pub(crate) const ACTS_PER_MS: u32 = 600_000;
/// What was refused is not looked at again for so long, in milliseconds.
const REFUSED_MS: u32 = 60_000;
/// What could not be begun is tried again after so long, in milliseconds.
const AGAIN_MS: u32 = 2_000;
/// An agent that may have forgotten it is told again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// One that was said so much later than the last is another one, in milliseconds.
const ANEW_MS: u64 = 100;

/// The last decision about each kind of ask of each instance that is there. Others look it up.
#[derive(Debug, Default)]
pub(crate) struct Wishes(Mutex<BTreeMap<String, BTreeMap<u8, Told>>>);

/// A decision that was made.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// When, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    pub(crate) record: Arc<Record>,
}

impl Wishes {
    /// What became of what an instance asked for last, one of each kind.
    pub(crate) fn of(&self, instance: &str) -> Vec<Told> {
        locked(&self.0).get(instance).map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    fn put(&self, instance: &str, told: Told) {
        let kind = told.record.sight.wish.kind();
        locked(&self.0).entry(instance.to_owned()).or_default().insert(kind, told);
    }

    fn keep(&self, is_there: impl Fn(&str) -> bool) {
        locked(&self.0).retain(|name, _| is_there(name));
    }
}

/// What one instance asks for.
#[derive(Debug)]
struct Asker {
    memory: Memory,
    clock: scaling::Clock,
    kinds: BTreeMap<u8, Kind>,
}

/// One kind of it.
#[derive(Debug, Default)]
struct Kind {
    came: Option<Came>,
    /// What was granted is begun by this operation; `None`: it is being begun, if it came to that.
    operation: Option<OperationNumber>,
    /// What its application was told last.
    told: Option<Last>,
}

#[derive(Debug)]
struct Last {
    start: StartId,
    wish: Wish,
    verdict: Verdict,
    /// When the ask was said, in milliseconds.
    said_ms: u64,
    at: Instant,
}

/// What came of beginning what was granted.
type Begun = (String, u8, Result<OperationNumber, Refused>);

/// Looks at what applications ask for, for ever.
pub(crate) async fn run(control: Arc<Control>) {
    let mut askers: BTreeMap<String, Asker> = BTreeMap::new();
    let mut begins: JoinSet<Begun> = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => look(&control, &mut askers, &mut begins).await,
            Some(begun) = begins.join_next() => match begun {
                Ok((instance, kind, begun)) => {
                    if let Some(kind) = askers.get_mut(&instance).and_then(|it| it.kinds.get_mut(&kind)) {
                        kind.begun(begun);
                    }
                }
                // Nobody knows which it was: what was begun shows in the register.
                Err(error) => {
                    tracing::error!(%error, "beginning what an application asked for broke off");
                    askers.clear();
                }
            },
        }
    }
}

async fn look(control: &Arc<Control>, askers: &mut BTreeMap<String, Asker>, begins: &mut JoinSet<Begun>) {
    let cloud = control.cloud();
    let there = control.fleet.there();
    askers.retain(|name, _| there.contains(name));
    control.wishes.keep(|name| there.iter().any(|it| it == name));
    for name in &there {
        let Some(app) = cloud.app_of(name) else { continue };
        let Some(view) = control.views.of(name) else { continue };
        let Some(owner) = view.record.as_ref().map(|record| record.owner) else { continue };
        let asks = control.advised.of(name, owner.start).map(|(advice, _)| advice.asks).unwrap_or_default();
        if asks.is_empty() && !askers.contains_key(name) {
            continue;
        }
        if !askers.contains_key(name) {
            askers.insert(name.clone(), Asker::recalled(control, &app.name, name).await);
        }
        let Some(asker) = askers.get_mut(name) else { continue };
        asker.see(control, name);
        // Of an ask that stands it is decided below.
        let stands = |record: &Record| {
            let kind = record.sight.wish.kind();
            let is_kind = |ask: &Leased<ask::AskRequest>| {
                ask.said.wish.as_ref().is_some_and(|said| wish(said).kind() == kind)
            };
            record.sight.start == owner.start && asks.iter().any(is_kind)
        };
        asker.settle(control, (app, name), &view, stands).await;
        for ask in &asks {
            let Some(wish) = ask.said.wish.as_ref() else { continue };
            let known = (app, &view, (owner.node, owner.start));
            let Some(record) = asker.judge(control, name, known, (ask, wish)).await else { continue };
            let Some(act) = record.act() else { continue };
            let (control, name, kind) = (Arc::clone(control), name.clone(), record.sight.wish.kind());
            let app = app.name.clone();
            begins.spawn(async move {
                let begun = begin(&control, &name, &record, act).await;
                if let Ok(operation) = begun {
                    let (decided_ms, instance) = (record.sight.now_ms, name.clone());
                    let opened = Opened { decided_ms, instance, operation: Some(operation), hindrance: None };
                    control.scaling.opened(&app, opened);
                }
                (name, kind, begun)
            });
        }
    }
}

/// Begins what was granted.
async fn begin(control: &Control, name: &str, record: &Record, act: Act) -> Result<OperationNumber, Refused> {
    let Sight { wish, reason, .. } = &record.sight;
    let own = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let why = cut(format!("asked by the application, {}{own}", wish.text()));
    let by = By { reason: Reason::Asked, why };
    match act {
        Act::Resize(to) => Box::pin(sizes::asked(control, name, to, &by)).await,
        Act::Move => Box::pin(moves::asked(control, name, &by)).await,
    }
}

impl Kind {
    fn begun(&mut self, begun: Result<OperationNumber, Refused>) {
        match begun {
            Ok(operation) => self.operation = Some(operation),
            Err(refused) => self.came = Some(came(refused)),
        }
    }
}

/// What a refusal means to whoever asked for it: another answer, or the same one later.
fn came(refused: Refused) -> Came {
    let why = cut(refused.message);
    match refused.code.as_str() {
        "busy"
        | "controller_restarts"
        | "held"
        | "no_other_node"
        | "no_space"
        | "node_unreachable"
        | "not_answered"
        | "not_serving"
        | "overtaken"
        | "unknown" => Came::Passes(why),
        _ => Came::Failed(why),
    }
}

impl Asker {
    /// With what decisions about it left, by whichever controller.
    async fn recalled(control: &Control, app: &str, name: &str) -> Self {
        Self::after(scaling::recall_wish(control, app, name).await)
    }

    /// With what this decision left.
    fn after(last: Option<Record>) -> Self {
        let (memory, left_ms) = last.map_or_else(Default::default, |it| (it.next, it.sight.now_ms));
        Self { memory, clock: scaling::Clock::after(left_ms), kinds: BTreeMap::new() }
    }

    /// Looks what became of operations that were begun.
    fn see(&mut self, control: &Control, name: &str) {
        let Some(view) = control.views.of(name) else { return };
        let Some(record) = &view.record else { return };
        for kind in self.kinds.values_mut().filter(|kind| kind.came == Some(Came::Open)) {
            let Some(operation) = kind.operation else { continue };
            let outcome = view.outcome.as_ref().filter(|outcome| outcome.operation == operation);
            kind.came = match outcome {
                Some(outcome) if outcome.committed => Some(Came::Done),
                Some(outcome) => {
                    let why = outcome.cause.clone().unwrap_or_else(|| "it was given up".to_owned());
                    Some(Came::Failed(cut(format!("{operation} of it was not done: {why}"))))
                }
                None if record.last_operation > operation => {
                    Some(Came::Failed(format!("what became of {operation} of it was missed")))
                }
                None => continue,
            };
            kind.operation = None;
        }
    }

    /// Says of asks that stand no more, because they were carried out or their process is gone, what came of them.
    async fn settle(
        &mut self,
        control: &Control,
        (app, name): (&App, &str),
        view: &View,
        stands: impl Fn(&Record) -> bool,
    ) {
        for Told { record, .. } in control.wishes.of(name) {
            let came = self.kinds.get(&record.sight.wish.kind()).and_then(|kind| kind.came.clone());
            let (Some(came), Some(registered)) = (came, &view.record) else { continue };
            if stands(&record) {
                continue;
            }
            let size = registered.size.unwrap_or_else(|| sizes::registered(app.resources.start));
            let Some(record) =
                settled(&record, &policy(app), (self.clock.now_ms(), size), came, &self.memory)
            else {
                continue;
            };
            self.memory = record.next.clone();
            control.scaling.keep_wish(&app.name, &record).await;
            control.wishes.put(name, Told { unix_ms: now_unix_ms(), record: Arc::new(record) });
        }
    }

    /// Decides about one ask, and tells it.
    async fn judge(
        &mut self,
        control: &Arc<Control>,
        name: &str,
        (app, view, (node, start)): (&App, &View, (NodeId, StartId)),
        (ask, said): (&Leased<ask::AskRequest>, &ask::Wish),
    ) -> Option<Arc<Record>> {
        let registered = view.record.as_ref()?;
        let wish = wish(said);
        let now_ms = self.clock.now_ms();
        let kind = self.kinds.entry(wish.kind()).or_default();
        let is_there = control.peers.is_there(Peer::Agent(node));
        let sight = Sight {
            now_ms,
            wish,
            reason: ask.said.reason.clone(),
            start,
            left_ms: ask.remaining_ms,
            phase: phase(view, registered, is_there),
            elsewhere: small(control.nodes_there().iter().filter(|it| **it != node).count()),
            size: registered.size.unwrap_or_else(|| sizes::registered(app.resources.start)),
            came: kind.came.clone(),
        };
        let record = Arc::new(decide(name, &policy(app), &sight, &self.memory));
        self.memory = record.next.clone();
        let said_ms = now_ms.saturating_sub(ask.age_ms.into());
        let is_of = |last: &&Last| last.wish == wish && last.start == start;
        let last = kind.told.as_ref().filter(is_of);
        let is_new = last.is_none_or(|last| !is_same(&last.verdict, &record.verdict));
        let is_anew = last.is_none_or(|last| {
            said_ms > last.said_ms.saturating_add(ANEW_MS) || last.at.elapsed() >= TELL_AGAIN
        });
        control.wishes.put(name, Told { unix_ms: now_unix_ms(), record: Arc::clone(&record) });
        let is_granted = record.verdict == Verdict::Grant;
        if is_new {
            // Decided, then done: a decision that is carried out is in the log, also the same one once more.
            control.scaling.keep_wish(&app.name, &record).await;
        }
        if is_granted {
            (kind.came, kind.operation) = (Some(Came::Open), None);
        }
        if is_new || is_anew {
            let last = Last { start, wish, verdict: record.verdict.clone(), said_ms, at: Instant::now() };
            kind.told = Some(last);
            tell(control, node, &record, said.clone());
        }
        if is_new && matches!(record.verdict, Verdict::Refused(_)) {
            control.keep_remark(name, None, format!("asked by the application: {}", explain(&record))).await;
        }
        Some(record)
    }
}

/// What came of an ask that was being carried out when it was decided last. `None`: it was not, or goes on.
fn settled(
    last: &Record,
    policy: &Policy,
    (now_ms, size): (u64, Size),
    came: Came,
    memory: &Memory,
) -> Option<Record> {
    if !matches!(last.verdict, Verdict::Grant | Verdict::Underway) || came == Came::Open {
        return None;
    }
    let sight = Sight { now_ms, size, left_ms: 0, came: Some(came), ..last.sight.clone() };
    let record = decide(&last.instance, policy, &sight, memory);
    matches!(record.verdict, Verdict::Done | Verdict::Refused(_)).then_some(record)
}

/// Tells the application, through its agent.
fn tell(control: &Control, node: NodeId, record: &Record, wish: ask::Wish) {
    let became = match &record.verdict {
        Verdict::Grant | Verdict::Underway | Verdict::Done => ask::Became::Granted,
        Verdict::Taken | Verdict::Waits(_) => ask::Became::Pending,
        Verdict::Refused(_) => ask::Became::Refused,
    };
    let line = ToAgentLine::Became {
        instance: record.instance.clone(),
        start: record.sight.start,
        wish,
        became,
        message: record.verdict.why(),
        retry_after_ms: record.again_ms,
    };
    control.peers.say(Peer::Agent(node), Out::ToAgent(line));
}

/// Whether nobody has to be told: how long a budget is spent still is no news. A grant always is: it is begun anew.
fn is_same(one: &Verdict, other: &Verdict) -> bool {
    if *other == Verdict::Grant {
        return false;
    }
    let spent = |verdict: &Verdict| matches!(verdict, Verdict::Waits(Wait::Budget(_)));
    let tried = |verdict: &Verdict| matches!(verdict, Verdict::Grant | Verdict::Underway);
    one == other || (spent(one) && spent(other)) || (tried(one) && *other == Verdict::Underway)
}

fn wish(said: &ask::Wish) -> Wish {
    match said {
        ask::Wish::MoveMe(_) => Wish::Move,
        ask::Wish::Replicas(replicas) => Wish::Replicas(replicas.count),
        ask::Wish::Size(size) => Wish::Size(Size { memory_kib: size.memory_kib, cpu_milli: size.cpu_millis }),
        ask::Wish::RetireMe(_) => Wish::Retire,
    }
}

fn phase(view: &View, record: &Registered, is_there: bool) -> Phase {
    match () {
        () if view.unknown.is_some() || !is_there => Phase::Unknown,
        () if record.operation.is_some() => Phase::InOperation,
        () if record.served.is_none() => Phase::Starts,
        () => Phase::Serves,
    }
}

fn policy(app: &App) -> Policy {
    let (least, most) = sizes::bounds(app);
    let scale = app.scale.as_ref();
    Policy {
        is_scaled: scale.is_some(),
        counts_reports: scale.is_none_or(|scale| scale.reports == Reports::Used),
        cpu_follows_load: scale.is_some_and(|scale| scale.shape.goes_up()),
        least,
        most,
        acts: ACTS_MAX,
        per_ms: ACTS_PER_MS,
        refused_ms: REFUSED_MS,
        again_ms: AGAIN_MS,
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::refused;
    use paracloud_core::wishes::Refusal;

    fn moves(now_ms: u64) -> Sight {
        Sight {
            now_ms,
            wish: Wish::Move,
            reason: "the disk is slow".to_owned(),
            start: StartId(7),
            left_ms: 60_000,
            phase: Phase::Serves,
            elsewhere: 1,
            size: Size { memory_kib: None, cpu_milli: None },
            came: None,
        }
    }

    #[test]
    fn a_budget_that_was_spent_by_a_clock_that_was_ahead_is_there_again_after_its_time() {
        let policy = Policy { acts: 1, ..policy(&App::new("pup", vec!["pup".to_owned()])) };
        // Half an hour ahead: it was set right since.
        let ahead_ms = now_unix_ms() + 1_800_000;
        let last = decide("pup", &policy, &moves(ahead_ms), &Memory::default());
        assert_eq!(last.verdict, Verdict::Grant);
        let asker = Asker::after(Some(last));
        let after = |passed_ms: u32| {
            let now_ms = asker.clock.ms_after(Duration::from_millis(passed_ms.into()));
            let another = Sight { start: StartId(8), ..moves(now_ms) };
            decide("pup", &policy, &another, &asker.memory).verdict
        };
        assert_eq!(after(ACTS_PER_MS - 1), Verdict::Waits(Wait::Budget(1)));
        assert_eq!(after(ACTS_PER_MS), Verdict::Grant);
    }

    #[test]
    fn an_ask_that_was_carried_out_is_done_though_nobody_asks_any_more() {
        let size = Size { memory_kib: None, cpu_milli: None };
        let policy = Policy { least: size, most: size, ..policy(&App::new("pup", vec!["pup".to_owned()])) };
        let granted = decide("pup", &policy, &moves(1_000), &Memory::default());
        assert_eq!(granted.verdict, Verdict::Grant);
        let settled = |last: &Record, came| settled(last, &policy, (9_000, size), came, &granted.next);
        assert_eq!(settled(&granted, Came::Open), None, "it goes on");
        let done = settled(&granted, Came::Done).expect("it is over");
        assert_eq!((&done.verdict, done.replay() == done), (&Verdict::Done, true));
        let failed =
            settled(&granted, Came::Failed("op-1 of it was not done".to_owned())).expect("it is over");
        assert!(explain(&failed).contains("refused: op-1 of it was not done"));
        assert_eq!(settled(&done, Came::Done), None, "it was said");
    }

    #[test]
    fn what_passes_by_itself_is_waited_for_and_a_missing_consent_is_not() {
        for code in ["busy", "held", "node_unreachable", "not_answered", "not_serving"] {
            assert!(matches!(came(refused(code, "why", "")), Came::Passes(_)), "{code}");
        }
        for code in ["consent_needed", "refused", "out_of_bounds"] {
            assert!(matches!(came(refused(code, "why", "")), Came::Failed(_)), "{code}");
        }
    }

    #[test]
    fn every_grant_is_news_that_it_is_carried_out_is_none_after_it_and_what_it_waits_for_is() {
        assert!(is_same(&Verdict::Grant, &Verdict::Underway));
        for last in [Verdict::Underway, Verdict::Grant, Verdict::Done] {
            assert!(!is_same(&last, &Verdict::Grant), "it is begun anew");
        }
        let waits = |wait| Verdict::Waits(wait);
        assert!(is_same(&waits(Wait::Budget(9)), &waits(Wait::Budget(8))));
        assert!(!is_same(&waits(Wait::Starts), &waits(Wait::NoNode)));
        let refused = |why| Verdict::Refused(Refusal::Tried(String::from(why)));
        assert!(!is_same(&refused("a"), &refused("b")));
    }
}
