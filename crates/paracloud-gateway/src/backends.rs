//! The instances of an app that has several: what is known of each, and which of them a request goes to.
//!
//! Each has its own control, as the only instance of an app has: it parks by itself, and the machine behind it is told by
//! the controller alone. Core's balancer chooses among them ([`paracloud_core::balancing`]); here it is told what happens.
//! A choice ([`placing`]) is one visit to a lock that is never held across a wait.

mod placing;

use crate::apps::{Heard, Made, Making};
use crate::choice::Came;
use crate::control::{Control, View};
use crate::decided::Sampling;
use crate::measured::Measuring;
use crate::parked::micros;
use crate::said::{self, Said};
use crate::upstream::Speaks;
use paracloud_core::balancing::{BackendId, Balancer, End, Sent, Setting, Standing};
use paracloud_core::ids::StartId;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::config::{App, Scale, State as Holds};
use paracloud_substrate::message::FromGatewayLine;
use paracloud_substrate::names::InstanceName;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// See the module.
#[derive(Debug)]
pub(crate) struct Backends {
    me: Weak<Self>,
    app: String,
    made: Made,
    scale: Scale,
    holds: Holds,
    making: Arc<Making>,
    /// From when on times are counted.
    began: Instant,
    state: Mutex<State>,
    /// Which of them take requests: a bit for each, by its number.
    open: watch::Sender<Numbers>,
    /// Places for requests that wait for an instance that takes requests.
    early: Semaphore,
}

/// A set of numbers of instances, of which there are 64 at most.
type Numbers = u64;

#[derive(Debug)]
struct State {
    balancer: Balancer,
    controls: BTreeMap<u32, Arc<Control>>,
    said: BTreeMap<u32, Said>,
    measuring: Measuring,
    sampling: Sampling,
    random: u64,
}

impl State {
    /// A linear congruential generator (Knuth): choices need no more than that two gateways differ.
    fn random(&mut self) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.random >> 32).unwrap_or(0)
    }
}

fn bit(number: u32) -> Numbers {
    1_u64.checked_shl(number.saturating_sub(1)).unwrap_or(0)
}

impl Backends {
    /// None of them is known yet.
    pub(crate) fn new(app: &App, scale: Scale, making: Arc<Making>) -> Arc<Self> {
        let made = Made::of(app);
        let balancing = Setting { policy: app.balance.policy, balancers: making.gateways };
        let state = State {
            balancer: Balancer::new(balancing),
            controls: BTreeMap::new(),
            said: BTreeMap::new(),
            measuring: Measuring::default(),
            sampling: Sampling::default(),
            random: RandomState::new().hash_one(making.gateway),
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            app: app.name.clone(),
            scale,
            holds: app.state,
            early: Semaphore::new(made.setting.parked_max as usize),
            made,
            making,
            began: Instant::now(),
            state: Mutex::new(state),
            open: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        micros(self.began.elapsed())
    }

    pub(crate) fn speaks(&self) -> Speaks {
        self.made.speaks
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow() != 0
    }

    /// How often it is said what was measured.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_millis(self.scale.period_ms.into())
    }

    /// The controller speaks of an instance: its control is made if it was not known.
    pub(crate) fn hear_of(&self, number: u32) -> Heard {
        let mut state = self.state();
        if let Some(control) = state.controls.get(&number) {
            return Heard { control: Arc::clone(control), is_new: false };
        }
        let name = InstanceName::numbered(&self.app, number).map_or_else(|_| self.app.clone(), Into::into);
        let control = Control::new(&self.making, &name, &self.made);
        let (id, now_us) = (BackendId(number), self.now_us());
        state.balancer.add(id, now_us);
        state.balancer.absent(id, true);
        state.controls.insert(number, Arc::clone(&control));
        drop(state);
        tokio::spawn(follow(self.me.clone(), number, control.view()));
        Heard { control, is_new: true }
    }

    pub(crate) fn controls(&self) -> Vec<Arc<Control>> {
        self.state().controls.values().cloned().collect()
    }

    /// Ready once another instance than this one takes requests.
    pub(crate) async fn another_is_open(&self, than: u32) {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| open & !bit(than) != 0).await;
    }

    /// A request has ended.
    pub(crate) fn ended(&self, number: u32, sent: Sent, came: Came, waited: bool) {
        let now_us = self.now_us();
        let mut state = self.state();
        let end = match came {
            Came::Answer(at) if !waited => End::Answered { at_us: micros(at.duration_since(self.began)) },
            Came::Answer(_) | Came::Nothing => End::Left,
            Came::Failure => End::Failed,
        };
        state.balancer.ended(sent, end, now_us);
        state.measuring.ended(number, came, sent.elapsed_us(now_us));
        // What the application said with its reply.
        if !matches!(came, Came::Nothing)
            && let Some(control) = state.controls.get(&number)
            && let Some((start, report)) = said::with_reply(control)
        {
            let lately = state.said.entry(number).or_default();
            if lately.takes_reply(start, Instant::now()) {
                state.balancer.report(BackendId(number), report, now_us);
            }
        }
    }

    /// The table of an instance has changed. Of one that is gone nothing is kept: with its number another one begins anew.
    fn shows(&self, number: u32, view: View, start: &mut Option<StartId>) {
        let mut state = self.state();
        let (id, now_us) = (BackendId(number), self.now_us());
        if view.is_gone() {
            state.balancer.remove(id);
            state.said.remove(&number);
            *start = None;
        } else {
            state.balancer.add(id, now_us);
            if let Some(route) = view.route.filter(|route| *start != Some(route.start)) {
                if start.is_some() {
                    state.balancer.turn(id, now_us);
                }
                *start = Some(route.start);
                self.say(&mut state, number, *start);
            }
            state.balancer.park(id, view.parks);
            state.balancer.moves(id, view.moves);
            // Between two processes of it, it serves again soon.
            state.balancer.absent(id, start.is_none());
            state.balancer.drain(id, view.drains);
        }
        self.opens(&state, number);
    }

    /// Whoever waits for an instance looks again.
    fn opens(&self, state: &State, number: u32) {
        let is_open = state.balancer.standing(BackendId(number), self.now_us()) == Some(Standing::Open);
        self.open.send_modify(|open| {
            *open = if is_open { *open | bit(number) } else { *open & !bit(number) };
        });
    }

    /// What a process says of itself. It counts once requests go to that process: a gateway that begins hears it before it
    /// hears of the instance.
    pub(crate) fn advise(&self, number: u32, start: StartId, advice: Advice) {
        let mut state = self.state();
        state.said.entry(number).or_default().hear(start, advice);
        let Some(control) = state.controls.get(&number) else { return };
        let serving = control.view().borrow().route;
        self.say(&mut state, number, serving.map(|route| route.start));
        self.opens(&state, number);
    }

    fn say(&self, state: &mut State, number: u32, serving: Option<StartId>) {
        let now_us = self.now_us();
        let State { said, balancer, controls, .. } = state;
        let (Some(start), Some(said)) = (serving, said.get_mut(&number)) else { return };
        let Some(advice) = said.of(start) else { return };
        if let Some(control) = controls.get(&number) {
            said::tell_clients(control, start, &advice);
        }
        said.tell(&advice, balancer, BackendId(number), now_us);
    }

    /// What was measured since it was said last.
    pub(crate) fn measured(&self) -> FromGatewayLine {
        let mut state = self.state();
        let State { balancer, controls, measuring, .. } = &mut *state;
        let there = controls.iter().filter(|(_, control)| !control.is_gone());
        let there: Vec<_> = there
            .map(|(number, control)| (*number, Arc::clone(control), balancer.in_flight(BackendId(*number))))
            .collect();
        let mut line = measuring.take(Instant::now());
        drop(state);
        // Whoever waits has a place, for as long as it is there.
        let places = self.made.setting.parked_max as usize;
        let mut waiting = places.saturating_sub(self.early.available_permits());
        for (number, control, in_flight) in there {
            line.instance(control.instance(), number, in_flight, control.sessions());
            waiting += control.waiting();
        }
        line.of(&self.app, u32::try_from(waiting).unwrap_or(u32::MAX))
    }
}

/// Tells the balancer of each table, for as long as there is one.
async fn follow(backends: Weak<Backends>, number: u32, mut view: watch::Receiver<View>) {
    let mut start = None;
    loop {
        let now = *view.borrow_and_update();
        let Some(backends) = backends.upgrade() else { return };
        backends.shows(number, now, &mut start);
        drop(backends);
        if view.changed().await.is_err() {
            return;
        }
    }
}
