//! Pieces of work that go on without whoever asked for them, also under the next controller: what each is of, and on which
//! terms, is kept from its beginning until it is over. Who asks for one that goes on joins it.

use crate::control::{Control, locked};
use crate::kept;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// After the controller began it is waited for so long until those that a piece of work is about are there, in milliseconds.
const THERE_MS_MAX: u64 = 60_000;
/// And so long before a person's order is made into anything, in milliseconds.
const KNOWN_MS_MAX: u64 = 5_000;
/// How often that is looked at, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// What broke off is begun again after so long, in milliseconds.
const BROKEN_MS: u64 = 1_000;

/// Pieces of work of one kind, each by what it is of. There are never more than are configured.
#[derive(Debug)]
pub(crate) struct Ongoing<K, T, P> {
    path: PathBuf,
    all: Mutex<BTreeMap<K, Piece<T, P>>>,
    begun: Notify,
}

#[derive(Debug)]
struct Piece<T, P> {
    terms: T,
    progress: Arc<watch::Sender<P>>,
    stands: Stands,
    /// An earlier controller began it.
    was_kept: bool,
}

/// Who works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Nobody yet, until that is said.
    Held,
    /// Whoever takes it.
    Free,
    /// Somebody.
    Taken,
}

/// Those that a piece of work waits for, and why; each with one reason once. There are no more than are configured, with a few
/// reasons.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Vec<(String, String)>);

impl Waits {
    /// Somebody is waited for. Whether that is new.
    pub(crate) fn add(&mut self, who: &str, why: String) -> bool {
        let wait = (who.to_owned(), why);
        let is_new = !self.0.contains(&wait);
        if is_new {
            self.0.push(wait);
        }
        is_new
    }

    /// Those after the first ones: who, and why.
    pub(crate) fn after(&self, first: usize) -> impl Iterator<Item = (String, String)> {
        self.0.iter().skip(first).cloned()
    }
}

/// A piece of work that somebody is to do.
pub(crate) struct Taken<K, P> {
    pub(crate) of: K,
    pub(crate) progress: Arc<watch::Sender<P>>,
    pub(crate) was_kept: bool,
}

impl<K, T, P> Ongoing<K, T, P>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    T: Clone + PartialEq + Serialize + DeserializeOwned,
    P: Default,
{
    /// What was kept here. What cannot be read is forgotten, and what is left of it undone stays so: `what` says what it is.
    pub(crate) fn load(path: PathBuf, what: &str) -> Self {
        let kept: BTreeMap<K, T> = kept::read(&path, what);
        let piece = |terms| Piece { terms, progress: Arc::default(), stands: Stands::Free, was_kept: true };
        let all = kept.into_iter().map(|(of, terms)| (of, piece(terms))).collect();
        Self { path, all: Mutex::new(all), begun: Notify::new() }
    }

    /// Begins it, or joins who does it: then on the terms that it has.
    ///
    /// # Errors
    /// It cannot be kept: it is not begun.
    pub(crate) fn begin(&self, of: K, terms: T) -> io::Result<watch::Receiver<P>> {
        let mut all = locked(&self.all);
        self.put(&mut all, [(of.clone(), terms)], Stands::Free)?;
        let progress = all.get_mut(&of).map(|piece| {
            if piece.stands == Stands::Held {
                piece.stands = Stands::Free;
            }
            piece.progress.subscribe()
        });
        self.begun.notify_one();
        progress.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Keeps those that are not there yet, and lets nobody work on them before they are begun: those.
    ///
    /// # Errors
    /// They cannot be kept: none is.
    pub(crate) fn hold(&self, those: impl IntoIterator<Item = (K, T)>) -> io::Result<Vec<K>> {
        self.put(&mut locked(&self.all), those, Stands::Held)
    }

    /// Those that were not there.
    fn put(
        &self,
        all: &mut BTreeMap<K, Piece<T, P>>,
        those: impl IntoIterator<Item = (K, T)>,
        stands: Stands,
    ) -> io::Result<Vec<K>> {
        let new: BTreeMap<K, T> = those.into_iter().filter(|(of, _)| !all.contains_key(of)).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        self.keep(all, &new)?;
        let names = new.keys().cloned().collect();
        let piece = |terms| Piece { terms, progress: Arc::default(), stands, was_kept: false };
        all.extend(new.into_iter().map(|(of, terms)| (of, piece(terms))));
        Ok(names)
    }

    /// On which terms it is done, if it is.
    pub(crate) fn terms(&self, of: &K) -> Option<T> {
        locked(&self.all).get(of).map(|piece| piece.terms.clone())
    }

    /// The same, of this very one: who ended it and began it again has begun another one.
    pub(crate) fn terms_of(&self, taken: &Taken<K, P>) -> Option<T> {
        let all = locked(&self.all);
        let piece = all.get(&taken.of).filter(|piece| Arc::ptr_eq(&piece.progress, &taken.progress));
        piece.map(|piece| piece.terms.clone())
    }

    /// What is being done.
    pub(crate) fn going_on(&self) -> Vec<K> {
        locked(&self.all).keys().cloned().collect()
    }

    /// From now on it has other terms, if it goes on.
    ///
    /// # Errors
    /// They cannot be kept: it has those that it had.
    pub(crate) fn change(&self, of: &K, change: impl FnOnce(&mut T)) -> io::Result<()> {
        let mut all = locked(&self.all);
        let Some(piece) = all.get(of) else { return Ok(()) };
        let mut terms = piece.terms.clone();
        change(&mut terms);
        if terms == piece.terms {
            return Ok(());
        }
        self.keep(&all, &BTreeMap::from([(of.clone(), terms.clone())]))?;
        if let Some(piece) = all.get_mut(of) {
            piece.terms = terms;
        }
        Ok(())
    }

    /// It has other terms already, by what was seen of it.
    ///
    /// # Errors
    /// They cannot be kept: the next controller begins with those that it had, if nothing else is kept before.
    pub(crate) fn became(&self, of: &K, change: impl FnOnce(&mut T)) -> io::Result<()> {
        let mut all = locked(&self.all);
        let Some(piece) = all.get_mut(of) else { return Ok(()) };
        change(&mut piece.terms);
        self.keep(&all, &BTreeMap::new())
    }

    /// Nothing more of it is begun.
    ///
    /// # Errors
    /// That cannot be kept: the next controller would go on.
    pub(crate) fn end(&self, of: &K) -> io::Result<()> {
        let mut all = locked(&self.all);
        let Some(piece) = all.remove(of) else { return Ok(()) };
        let kept = self.keep(&all, &BTreeMap::new());
        if kept.is_err() {
            all.insert(of.clone(), piece);
        }
        kept
    }

    /// Who did it is through with it, if this is still so: whoever asks from now on begins another one. Says whether it is.
    pub(crate) fn over(&self, taken: &Taken<K, P>, is_so: impl FnOnce() -> bool) -> bool {
        let mut all = locked(&self.all);
        // Who ended it and began it again has begun another one.
        if !all.get(&taken.of).is_some_and(|piece| Arc::ptr_eq(&piece.progress, &taken.progress)) {
            return true;
        }
        if !is_so() {
            return false;
        }
        all.remove(&taken.of);
        if let Err(error) = self.keep(&all, &BTreeMap::new()) {
            let path = self.path.display();
            tracing::warn!(%error, %path, "what is over is kept: the next controller looks at it again");
        }
        true
    }

    /// `other`: what is not so yet.
    fn keep(&self, all: &BTreeMap<K, Piece<T, P>>, other: &BTreeMap<K, T>) -> io::Result<()> {
        let terms = all.iter().map(|(of, piece)| (of, &piece.terms)).chain(other);
        kept::write(&self.path, &terms.collect::<BTreeMap<_, _>>())
    }

    /// Those that nobody works on: from now on somebody does.
    fn take(&self) -> Vec<Taken<K, P>> {
        let mut all = locked(&self.all);
        let free = all.iter_mut().filter(|(_, piece)| piece.stands == Stands::Free);
        free.map(|(of, piece)| {
            piece.stands = Stands::Taken;
            Taken { of: of.clone(), progress: Arc::clone(&piece.progress), was_kept: piece.was_kept }
        })
        .collect()
    }

    /// Nobody works on it any more.
    fn free(&self, of: &K) {
        if let Some(piece) = locked(&self.all).get_mut(of).filter(|piece| piece.stands == Stands::Taken) {
            piece.stands = Stands::Free;
        }
    }

    /// Does them for as long as the controller lives.
    pub(crate) async fn run<F>(&self, does: impl Fn(Taken<K, P>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut working, mut those) = (JoinSet::new(), BTreeMap::new());
        loop {
            for taken in self.take() {
                let of = taken.of.clone();
                those.insert(working.spawn(does(taken)).id(), of);
            }
            tokio::select! {
                () = self.begun.notified() => {}
                Some(ended) = working.join_next_with_id() => match ended {
                    Ok((id, ())) => drop(those.remove(&id)),
                    // It is begun again from what was kept of it, and not at once: it may break off there again.
                    Err(broken) => {
                        tracing::error!(error = %broken, path = %self.path.display(), "a piece of work broke off");
                        tokio::time::sleep(Duration::from_millis(BROKEN_MS)).await;
                        if let Some(of) = those.remove(&broken.id()) {
                            self.free(&of);
                        }
                    }
                }
            }
        }
    }
}

/// Waits until what runs is known, and this is so, after the controller began.
pub(crate) async fn there(control: &Control, is_there: impl Fn() -> bool) {
    within(control, THERE_MS_MAX, is_there).await;
}

/// Waits until what runs is known, for as long as a person would: a controller that has just begun knows nothing for a moment.
pub(crate) async fn known(control: &Control) {
    within(control, KNOWN_MS_MAX, || true).await;
}

async fn within(control: &Control, bound_ms: u64, is_there: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_millis(bound_ms);
    while Instant::now() < until {
        let is_known = |name: &String| {
            control.views.of(name).is_some_and(|view| view.record.is_some())
                || control.ordered.of(name).is_some()
        };
        if control.fleet.there().iter().all(is_known) && is_there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    type Works = Ongoing<u32, bool, u8>;

    fn load(directory: &Path) -> Works {
        Works::load(directory.join("works.json"), "what is done")
    }

    fn taken(works: &Works) -> Vec<u32> {
        works.take().into_iter().map(|taken| taken.of).collect()
    }

    #[test]
    fn what_is_begun_is_kept_until_it_is_over_and_found_by_the_next_controller() {
        let directory = tempfile::tempdir().unwrap();
        let works = load(directory.path());
        let first = works.begin(1, false).unwrap();
        assert_eq!(load(directory.path()).terms(&1), Some(false), "from its beginning");
        works.begin(2, true).unwrap();
        assert_eq!(taken(&works), [1, 2]);
        assert!(taken(&works).is_empty(), "somebody works on them");
        let again = works.begin(1, true).unwrap();
        assert!(again.same_channel(&first), "who asks again hears of the same");
        assert_eq!(works.terms(&1), Some(false), "on the terms that it has");
        works.end(&2).unwrap();
        let next = load(directory.path());
        assert_eq!(next.terms(&1), Some(false));
        let found = next.take();
        assert_eq!(found.iter().map(|it| (it.of, it.was_kept)).collect::<Vec<_>>(), [(1, true)]);
        assert!(!next.over(&found[0], || false), "there is more to do");
        assert!(next.over(&found[0], || true));
        assert!(load(directory.path()).take().is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_not_begun_not_changed_and_not_ended() {
        let directory = tempfile::tempdir().unwrap();
        let works = load(directory.path());
        works.begin(1, false).unwrap();
        std::fs::create_dir(directory.path().join("works.new")).unwrap();
        assert!(works.begin(2, false).is_err() && works.terms(&2).is_none());
        assert!(works.hold([(2, false)]).is_err() && works.terms(&2).is_none());
        assert!(works.change(&1, |terms| *terms = true).is_err());
        assert_eq!(works.terms(&1), Some(false));
        assert!(works.end(&1).is_err());
        assert_eq!(works.terms(&1), Some(false), "the next controller would go on");
        assert!(works.over(&works.take().remove(0), || true));
        assert_eq!(works.terms(&1), None, "who asks again begins another one");
    }

    #[test]
    fn what_became_of_it_is_so_though_it_cannot_be_kept_and_is_kept_with_what_is_kept_next() {
        let directory = tempfile::tempdir().unwrap();
        let works = load(directory.path());
        works.begin(1, false).unwrap();
        let full = directory.path().join("works.new");
        std::fs::create_dir(&full).unwrap();
        assert!(works.became(&1, |terms| *terms = true).is_err());
        assert_eq!((works.terms(&1), load(directory.path()).terms(&1)), (Some(true), Some(false)));
        std::fs::remove_dir(&full).unwrap();
        works.begin(2, false).unwrap();
        assert_eq!(load(directory.path()).terms(&1), Some(true));
    }

    #[test]
    fn what_is_held_is_kept_and_done_by_nobody_before_it_is_begun() {
        let directory = tempfile::tempdir().unwrap();
        let works = load(directory.path());
        works.begin(1, false).unwrap();
        assert_eq!(works.hold([(1, true), (2, true)]).unwrap(), [2], "the other one goes on");
        assert_eq!(taken(&works), [1]);
        assert_eq!(taken(&load(directory.path())), [1, 2], "the next controller looks at it");
        works.begin(2, false).unwrap();
        assert_eq!((taken(&works), works.terms(&2)), (vec![2], Some(true)));
        works.change(&2, |terms| *terms = false).unwrap();
        assert_eq!(load(directory.path()).terms(&2), Some(false));
    }

    #[test]
    fn who_ended_it_and_began_it_again_has_begun_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let works = load(directory.path());
        works.begin(1, false).unwrap();
        let first = works.take().remove(0);
        works.end(&1).unwrap();
        works.begin(1, true).unwrap();
        assert_eq!((works.terms_of(&first), works.terms(&1)), (None, Some(true)));
        assert!(works.over(&first, || false));
        assert_eq!((works.terms(&1), taken(&works)), (Some(true), vec![1]));
    }
}
