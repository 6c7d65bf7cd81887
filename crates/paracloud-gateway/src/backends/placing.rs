//! Where a request goes: to the instance that its session lives in, to the one that the balancer chooses, or, while there is
//! none that may get it, nowhere yet.

use super::{Backends, State};
use crate::choice::{Place, Session, Tally, Unplaced, Wish};
use crate::sticky::Marked;
use paracloud_core::balancing::{BackendId, Standing};
use paracloud_substrate::config::State as Holds;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

impl Backends {
    /// Where a request goes. If there is no instance that may get it, or none is ready, it waits for one as long as it might
    /// be parked; then whoever is there decides.
    pub(crate) async fn place(&self, wish: Wish) -> Result<Place, Unplaced> {
        if wish.is_new {
            self.state().measuring.came();
        }
        match self.choose(wish, false) {
            Some(place) => Ok(place),
            // What is seldom done is apart from the future of each request.
            None => Box::pin(self.place_later(wish)).await,
        }
    }

    /// The same, once there is an instance that may get it.
    async fn place_later(&self, wish: Wish) -> Result<Place, Unplaced> {
        let Ok(_early) = self.early.try_acquire() else { return Err(Unplaced::Full) };
        let parked = Duration::from_millis(self.made.setting.parked_ms_max.into());
        let bound = wish.latest.unwrap_or_else(|| Instant::now() + parked);
        let until = wish.deadline.map_or(bound, |deadline| deadline.min(bound));
        let mut open = self.open.subscribe();
        let found = timeout_at(until.into(), async {
            loop {
                open.borrow_and_update();
                if let Some(place) = self.choose(wish, false) {
                    return Some(place);
                }
                open.changed().await.ok()?;
            }
        })
        .await;
        match found {
            Ok(Some(place)) => Ok(Place { latest: Some(bound), ..place }),
            Err(_) if until < bound => Err(Unplaced::Late),
            Ok(None) | Err(_) => self.choose(wish, true).ok_or(Unplaced::Nobody),
        }
    }

    /// With `unready`, also one that is not ready, if nobody is.
    fn choose(&self, wish: Wish, unready: bool) -> Option<Place> {
        let me = self.me.upgrade()?;
        let mut state = self.state();
        let now_us = self.now_us();
        let home = wish.session.and_then(|session| state.home(session, wish.but));
        let number = match home {
            Some(number) => number,
            None => self.pick(&mut state, wish.but, now_us, unready)?,
        };
        let control = Arc::clone(state.controls.get(&number)?);
        let sent = state.balancer.sent(BackendId(number), now_us)?;
        drop(state);
        let is_free = match self.holds {
            Holds::None => true,
            Holds::Session => home.is_none(),
            Holds::Stateful => false,
        };
        let session = wish.session.map(|session| Session { id: session.id, lives_here: home.is_some() });
        Some(Place { control, tally: Some(Tally::new(&me, number, sent)), is_free, session, latest: None })
    }

    /// The one of them all that the balancer chooses. Of a sample it is kept why.
    fn pick(&self, state: &mut State, but: Option<u32>, now_us: u64, unready: bool) -> Option<u32> {
        let now = Instant::now();
        let random = state.random();
        let but = but.map(BackendId);
        loop {
            let record = state.sampling.is_due(now).then(|| state.balancer.record(but, now_us, random));
            let (id, regime) = match &record {
                Some(record) => record.as_ref().map(|record| (record.chosen, record.regime))?,
                None => {
                    state.balancer.choose(but, now_us, random).map(|chosen| (chosen.id, chosen.regime))?
                }
            };
            // A table is in force before the balancer was told of it. Each turn leaves one out.
            let drains = state.controls.get(&id.0).is_some_and(|control| control.drains());
            match state.balancer.standing(id, now_us)? {
                Standing::Draining => return None,
                Standing::NotReady if !unready => return None,
                _ if drains => state.balancer.drain(id, true),
                Standing::Open
                | Standing::Pausing
                | Standing::Parked
                | Standing::NotReady
                | Standing::Absent => {
                    match record.flatten() {
                        Some(record) => {
                            state.sampling.kept(regime, now);
                            self.making.decided.keep(&self.app, record);
                        }
                        None => state.sampling.chosen(regime),
                    }
                    return Some(id.0);
                }
            }
        }
    }
}

impl State {
    /// Where a session lives: where its mark says, or, if that instance is gone, where it has gone on. Not in `but`.
    fn home(&self, session: Marked, but: Option<u32>) -> Option<u32> {
        let control = self.controls.get(&session.number)?;
        if !control.is_gone() && but != Some(session.number) {
            return Some(session.number);
        }
        let mut others = self.controls.iter().filter(|(number, control)| {
            but != Some(**number) && !control.is_gone() && control.has_session(session.id)
        });
        others.next().map(|(number, _)| *number)
    }
}
