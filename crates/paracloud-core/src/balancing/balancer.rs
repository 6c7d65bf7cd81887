//! What one gateway knows of the instances of one app.

use super::backend::{Backend, End, Sent};
use super::choice::{Decision, Regime, Rule, decide};
use super::claim::Report;
use super::picture::Picture;
use super::policy::Setting;
use super::record::Record;
use super::standing::{Cold, Pause, Standing};
use super::{BackendId, PICTURE_US};
use alloc::vec::Vec;

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// Which.
    pub id: BackendId,
    /// By what kind of knowledge.
    pub regime: Regime,
    /// By which rule.
    pub rule: Rule,
}

/// See the module. Times are in microseconds of a clock that never goes back; a random number is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Balancer {
    setting: Setting,
    /// By their numbers.
    backends: Vec<Backend>,
    picture: Picture,
    /// When the picture was drawn, if it still holds.
    drawn_us: Option<u64>,
    turn: u32,
    /// How many processes there were: one that is there again is told from itself before.
    processes: u32,
}

impl Balancer {
    /// Knows nobody yet.
    pub fn new(setting: Setting) -> Self {
        Self { setting, ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// An instance is there. One that is known already stays as it is.
    pub fn add(&mut self, id: BackendId, now_us: u64) {
        if let Err(place) = self.place(id) {
            let process = self.another();
            self.backends.insert(place, Backend::new(id, process, now_us));
            self.drawn_us = None;
        }
    }

    /// It is gone. One of this number that is added later is another one: what is on its way to this one does not count
    /// there.
    pub fn remove(&mut self, id: BackendId) {
        if let Ok(place) = self.place(id) {
            self.backends.remove(place);
            self.drawn_us = None;
        }
    }

    /// Another process is the instance: what was measured and said of the one before does not count.
    pub fn turn(&mut self, id: BackendId, now_us: u64) {
        let process = self.another();
        self.change(id, |backend| backend.turn(process, now_us));
    }

    /// Whether its requests wait at the gateway.
    pub fn park(&mut self, id: BackendId, parks: bool) {
        self.change(id, |backend| backend.said.parked = parks);
    }

    /// Whether it is about to move: until then its requests are served.
    pub fn moves(&mut self, id: BackendId, moves: bool) {
        self.change(id, |backend| backend.said.moving = moves);
    }

    /// Whether it has not served yet, as far as is known.
    pub fn absent(&mut self, id: BackendId, is_absent: bool) {
        self.change(id, |backend| backend.said.absent = is_absent);
    }

    /// Whether it is to end, and gets nothing new.
    pub fn drain(&mut self, id: BackendId, drains: bool) {
        self.change(id, |backend| backend.said.draining = drains);
    }

    /// It is not ready until then, or it is.
    pub fn not_ready(&mut self, id: BackendId, until_us: Option<u64>) {
        self.change(id, |backend| backend.said.not_ready(until_us));
    }

    /// It will pause, or takes that back.
    pub fn pause(&mut self, id: BackendId, pause: Option<Pause>, now_us: u64) {
        self.change(id, |backend| backend.said.pauses(pause, now_us));
    }

    /// It warms up, or takes that back.
    pub fn cold(&mut self, id: BackendId, cold: Option<Cold>, now_us: u64) {
        self.change(id, |backend| backend.said.is_cold(cold, now_us));
    }

    /// It reports. A report that counts for no time takes back the one before.
    pub fn report(&mut self, id: BackendId, report: Report, now_us: u64) {
        self.change(id, |backend| match report.valid_for_ms {
            0 => backend.unreport(),
            _ => backend.report(report, now_us),
        });
    }

    /// Which one gets a request; `None` if there is nobody. With `but`, that one only if there is no other that is ready and
    /// does not drain.
    pub fn choose(&mut self, but: Option<BackendId>, now_us: u64, random: u32) -> Option<Chosen> {
        let holds = self.drawn_us.is_some_and(|drawn_us| now_us.saturating_sub(drawn_us) < PICTURE_US);
        if !holds {
            self.draw(now_us);
        }
        let decision = self.decide(but, random)?;
        let id = self.backends.get(decision.position as usize)?.id;
        Some(Chosen { id, regime: decision.regime, rule: decision.rule })
    }

    /// The same, and why.
    pub fn record(&mut self, but: Option<BackendId>, now_us: u64, random: u32) -> Option<Record> {
        self.draw(now_us);
        let turn = self.turn;
        let decision = self.decide(but, random)?;
        Some(Record::of(self.setting, (but, random, turn), &self.picture, &decision))
    }

    /// A request is sent to one.
    pub fn sent(&mut self, id: BackendId, now_us: u64) -> Option<Sent> {
        let place = self.place(id).ok()?;
        let judged = self.picture.all_judged().get(place).filter(|_| self.drawn_us.is_some());
        let places = judged.and_then(|it| u32::try_from(it.places).ok()).filter(|places| *places > 0);
        let was_promised = judged.is_some_and(|judged| judged.final_cost < judged.seen);
        let sent = self.backends[place].sent(places, was_promised, now_us);
        self.renew(place);
        Some(sent)
    }

    /// It has ended.
    pub fn ended(&mut self, sent: Sent, end: End, now_us: u64) {
        let Ok(place) = self.place(sent.id) else { return };
        let typical_us = self.picture.fleet().typical_us;
        self.backends[place].ended(sent, end, typical_us, now_us);
        self.renew(place);
    }

    /// What the gateway has in flight at one.
    pub fn in_flight(&self, id: BackendId) -> u32 {
        self.place(id).map_or(0, |place| self.backends[place].own())
    }

    /// How one stands but for its pauses; `None` if it is not there.
    pub fn standing(&self, id: BackendId, now_us: u64) -> Option<Standing> {
        self.place(id).ok().map(|place| self.backends[place].said.standing(now_us))
    }

    fn another(&mut self) -> u32 {
        self.processes = self.processes.wrapping_add(1);
        self.processes
    }

    fn place(&self, id: BackendId) -> Result<usize, usize> {
        self.backends.binary_search_by_key(&id, |backend| backend.id)
    }

    fn change(&mut self, id: BackendId, change: impl FnOnce(&mut Backend)) {
        if let Ok(place) = self.place(id) {
            change(&mut self.backends[place]);
            self.drawn_us = None;
        }
    }

    fn renew(&mut self, place: usize) {
        if self.drawn_us.is_some() {
            self.picture.renew(place, self.backends[place].own(), self.setting);
        }
    }

    fn draw(&mut self, now_us: u64) {
        self.picture.draw(self.backends.iter().map(|backend| backend.inputs(now_us)), self.setting);
        self.drawn_us = Some(now_us);
    }

    fn decide(&mut self, but: Option<BackendId>, random: u32) -> Option<Decision> {
        if let Some(Ok(place)) = but.map(|but| self.place(but)) {
            self.picture.leave_out(u32::try_from(place).unwrap_or(u32::MAX));
            self.drawn_us = None;
        }
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        decide(&self.picture, self.setting, random, turn)
    }
}
