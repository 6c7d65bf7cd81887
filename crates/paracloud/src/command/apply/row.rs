//! What became of each app and each instance.

use super::plan::{Change, Outdated};
use crate::client;
use crate::failure::{Exit, Failure};
use crate::figures::{counted, millis};
use crate::output::table_with_why;
use crate::telling;
use paracloud_core::register::Mode;
use paracloud_core::updating::Way;
use paracloud_substrate::person::Outcome;
use paracloud_substrate::updating::{End, Updated};
use serde::Serialize;

/// How something of an app comes to be as the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// It holds without a new process.
    AtOnce,
    /// It holds for processes that are started from now on.
    Later,
    /// It is started for the first time.
    Started,
    /// Its process hands over to another one.
    Handoff,
    /// Its process is ended, and another one started.
    Restart,
    /// Another instance is started in its place, and it leaves.
    Replaced,
}

/// What became of an app or of one of its instances, or in a rehearsal what would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// The app, or the instance.
    pub(super) who: String,
    /// Fields of the manifest.
    pub(super) changed: Vec<&'static str>,
    /// `None`: it stays as it was.
    pub(super) how: Option<How>,
    /// It is as the manifest says.
    pub(super) done: bool,
    /// Nothing stands in the way, or stood when it was asked.
    pub(super) possible: bool,
    pub(super) state_lost: bool,
    /// How long that took.
    pub(super) total_ms: Option<u64>,
    /// Why not: a word for programs.
    pub(super) code: Option<String>,
    /// And in words.
    pub(super) why: Option<String>,
    /// What its new process wrote last, if that did not come up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) wrote: Vec<String>,
}

impl Row {
    fn new(who: &str, changed: Vec<&'static str>) -> Self {
        Self {
            who: who.to_owned(),
            changed,
            how: None,
            done: false,
            possible: false,
            state_lost: false,
            total_ms: None,
            code: None,
            why: None,
            wrote: Vec::new(),
        }
    }

    /// The fields that take no process: each kind that there are some of.
    pub(super) fn of_fields(change: &Change, done: bool) -> Vec<Self> {
        let kinds = [(How::AtOnce, &change.at_once), (How::Later, &change.later)];
        let some = kinds.into_iter().filter(|(_, fields)| !fields.is_empty());
        let row = |(how, fields): (How, &Vec<&'static str>)| {
            let row = Self::new(&change.app.name, fields.clone());
            Self { how: Some(how), done, possible: true, ..row }
        };
        some.map(row).collect()
    }

    /// An app of which nothing serves yet: it will be started.
    pub(super) fn starts(change: &Change) -> Self {
        let changed = if change.is_new { vec!["new"] } else { change.process.clone() };
        Self { how: Some(How::Started), possible: true, ..Self::new(&change.app.name, changed) }
    }

    /// As the controller says that it ended.
    pub(super) fn of(change: &Change, updated: &Updated) -> Self {
        let row = Self::new(&updated.instance, change.process.clone());
        match &updated.end {
            End::InPlace(outcome) => row.ended(outcome),
            End::Replaced { by, took_ms, died } => {
                let row = row.replaced(Some(&by.instance)).served(*took_ms);
                let died =
                    died.as_deref().map_or_else(String::new, |how| format!("; {}", telling::died(how)));
                Self { why: row.why.map(|why| why + &died), ..row }
            }
            End::Left { why } => Self { done: true, possible: true, why: Some(why.clone()), ..row },
            End::Stays(refused) => {
                let Failure { code, why, .. } = client::refusal(refused, &updated.instance);
                row.failed(&code, &why)
            }
        }
    }

    /// One that is as the manifest says, by a controller that is gone.
    pub(super) fn missed(change: &Change, outdated: &Outdated) -> Self {
        let row = Self::new(&outdated.instance, change.process.clone());
        let row = match outdated.mode.map(|mode| change.standing().way(mode)) {
            Some(Way::Replace) => row.replaced(None),
            Some(Way::Update(mode)) => row.going(Some(mode)),
            None => row,
        };
        let why = "the controller that did it is gone";
        Self { done: true, possible: true, why: Some(why.to_owned()), ..row }
    }

    /// An instance that stays as it is.
    pub(super) fn stays(change: &Change, outdated: &Outdated, code: &str, why: &str) -> Self {
        let row = Self::new(&outdated.instance, change.process.clone());
        Self { code: Some(code.to_owned()), why: Some(why.to_owned()), ..row }
    }

    /// Nothing stands in the way of this.
    pub(super) fn going(self, mode: Option<Mode>) -> Self {
        Self { how: mode.map(how), possible: true, code: None, why: None, ..self }
    }

    /// Another instance comes in its place.
    pub(super) fn replaced(self, by: Option<&str>) -> Self {
        let why = by.map(|by| format!("{by} in its place"));
        Self {
            how: Some(How::Replaced),
            code: None,
            why: why.or(self.why).filter(|why| !why.is_empty()),
            ..self
        }
    }

    /// What it says to that.
    pub(super) fn says(self, words: &str) -> Self {
        Self { why: Some(words.to_owned()), ..self }
    }

    /// It serves.
    pub(super) fn served(self, total_ms: u64) -> Self {
        Self { done: true, possible: true, total_ms: Some(total_ms), ..self }
    }

    /// It does not.
    pub(super) fn failed(self, code: &str, why: &str) -> Self {
        Self { done: false, code: Some(code.to_owned()), why: Some(why.to_owned()), ..self }
    }

    /// As its update ended.
    pub(super) fn ended(self, outcome: &Outcome) -> Self {
        Self {
            how: outcome.committed.then_some(how(outcome.mode)),
            done: outcome.committed,
            possible: true,
            state_lost: outcome.state_lost,
            total_ms: Some(outcome.total_ms),
            code: (!outcome.committed).then(|| "rolled_back".to_owned()),
            why: match telling::why(outcome) {
                Some(why) if outcome.state_lost && !outcome.committed => {
                    Some(format!("{why}; its state is lost"))
                }
                why => why,
            },
            ..self
        }
    }

    /// What became of it, for who waits.
    pub(super) fn sentence(&self) -> String {
        let Self { who, .. } = self;
        let took = self.total_ms.map_or_else(String::new, |took| format!(" in {}", millis(took)));
        match (self.done, self.how) {
            (true, Some(How::Handoff)) => format!("{who}: handed over to its new process{took}"),
            (true, Some(How::Restart)) => format!("{who}: restarted{took}"),
            (true, Some(How::Replaced)) => {
                format!("{who}: left{took}: {}", self.why.as_deref().unwrap_or("another one is in its place"))
            }
            (true, Some(How::Started)) => format!("{who}: serves{took}"),
            (true, Some(How::AtOnce | How::Later)) => format!("{who}: applied{took}"),
            (true, None) => format!("{who}: {}", self.why.as_deref().unwrap_or("applied")),
            (false, _) => format!("{who}: {}", telling::plain(self.why.as_deref().unwrap_or("not updated"))),
        }
    }

    /// With what its new process wrote last.
    pub(super) fn wrote(self, wrote: Vec<String>) -> Self {
        Self { wrote, ..self }
    }

    /// What its new process wrote last, a line each.
    pub(super) fn last_words(&self) -> impl Iterator<Item = String> {
        let Self { who, .. } = self;
        self.wrote.iter().map(move |line| format!("{who}: its new process wrote: {}", telling::plain(line)))
    }

    fn cells(&self, dry_run: bool) -> Vec<String> {
        let how = match self.how {
            _ if !self.done && self.state_lost => "stays, state lost",
            Some(_) if !self.done && !dry_run => "stays",
            Some(How::AtOnce) => "at once",
            Some(How::Later) => "next start",
            Some(How::Started) => "started",
            Some(How::Replaced) => "replaced",
            Some(How::Handoff) => "handoff",
            Some(How::Restart) if self.state_lost => "restart, state lost",
            Some(How::Restart) => "restart",
            None if self.done => "left",
            None => "stays",
        };
        let changed = if self.changed.is_empty() { "-".to_owned() } else { self.changed.join(", ") };
        let took = self.total_ms.filter(|_| self.done).map_or_else(|| "-".to_owned(), millis);
        let why = telling::plain(self.why.as_deref().unwrap_or_default()).to_string();
        vec![self.who.clone(), changed, how.to_owned(), took, why]
    }
}

fn how(mode: Mode) -> How {
    match mode {
        Mode::Handoff => How::Handoff,
        Mode::Restart => How::Restart,
    }
}

/// What people read at the end. `unchanged`: apps of which nothing is to change.
pub(super) fn text(rows: &[Row], unchanged: &[&str], dry_run: bool, columns: Option<usize>) -> String {
    let mut lines = Vec::new();
    if !rows.is_empty() {
        let cells: Vec<_> = rows.iter().map(|row| row.cells(dry_run)).collect();
        lines.push(table_with_why(&["WHO", "CHANGED", "HOW", "TOOK", "WHY"], &cells, columns));
    }
    if !unchanged.is_empty() {
        lines.push(format!("as the manifest says already: {}", unchanged.join(", ")));
    }
    if dry_run {
        lines.push("nothing was changed".to_owned());
    }
    lines.join("\n")
}

/// Why nothing is applied, if something stands in the way.
pub(super) fn obstacle(rows: &[Row]) -> Option<Failure> {
    let hindered: Vec<_> = rows.iter().filter(|row| !row.possible).collect();
    let needs_consent = |row: &&&Row| matches!(row.code.as_deref(), Some("consent_needed" | "refused"));
    // What no consent helps against comes first.
    let beyond_consent = hindered.iter().find(|row| !needs_consent(row));
    let by_consent = beyond_consent.is_none();
    let first = beyond_consent.or_else(|| hindered.first())?;
    let who = hindered.iter().map(|row| row.who.as_str()).collect::<Vec<_>>().join(", ");
    let why = first.why.as_deref().unwrap_or("it cannot be updated now");
    let (exit, code, next) = if by_consent {
        let next = "consent to losing that with --accept-loss";
        (Exit::Consent, "consent_needed", next.to_owned())
    } else {
        let code = first.code.as_deref().unwrap_or("not_possible");
        (Exit::Failed, code, "apply it again when that has passed: paracloud ps, paracloud holds".to_owned())
    };
    let why = format!("nothing was applied: {why}");
    Some(Failure::new(exit, code, who, why, next))
}

/// What was applied and is not so yet.
pub(super) fn verdict(rows: &[Row], manifest: &str) -> Option<Failure> {
    let left: Vec<_> = rows.iter().filter(|row| !row.done).collect();
    let first = left.first()?;
    let who = left.iter().map(|row| row.who.as_str()).collect::<Vec<_>>().join(", ");
    let of = counted(u64::try_from(rows.len()).unwrap_or(u64::MAX), "change");
    let why = format!(
        "it counts from now on, but {} of {of} {} not come to be: {}",
        left.len(),
        if left.len() == 1 { "has" } else { "have" },
        first.why.as_deref().unwrap_or("it was not begun")
    );
    let stayed = if left.iter().any(|row| row.state_lost) {
        "what stayed serves as it was before, without the state that is lost"
    } else {
        "what stayed serves as it was"
    };
    let next = format!("{stayed}; see paracloud logs and events, correct {manifest}, and apply it again");
    let code = first.code.as_deref().unwrap_or("not_begun");
    Some(Failure::new(Exit::Failed, code, who, why, next))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::output::Paint;
    use paracloud_core::ids::StartId;
    use paracloud_substrate::config::App;

    /// An app of two, which is to have another command and more.
    pub(in super::super) fn change() -> Change {
        Change {
            app: App::new("web", vec!["web".to_owned()]),
            is_new: false,
            process: vec!["command", "env"],
            at_once: vec!["scale", "move"],
            later: vec!["stopGrace"],
            anew: false,
            outdated: Vec::new(),
            count: 2,
            is_updating: false,
        }
    }

    fn stays(name: &str, code: &str, why: &str) -> Row {
        let outdated = Outdated { instance: name.to_owned(), start: StartId(1), mode: None };
        Row::stays(&change(), &outdated, code, why)
    }

    fn rows() -> Vec<Row> {
        let mut rows = Row::of_fields(&change(), true);
        rows.push(stays("web.1", "", "").going(Some(Mode::Handoff)).served(120));
        rows.push(stays("web.2", "", "").replaced(Some("web.4")).served(1_200));
        rows.push(Row { state_lost: true, ..stays("web.3", "", "").going(Some(Mode::Restart)).served(700) });
        rows.push(stays("web.5", "", "").failed("rolled_back", "rolled back: it does not come up"));
        let lost = stays("web.7", "", "").failed("rolled_back", "rolled back: it ended; its state is lost");
        rows.push(Row { state_lost: true, wrote: vec!["no such file".to_owned()], ..lost });
        rows.push(stays("web.6", "not_begun", "not begun: the update of another one of its app failed"));
        let new = Change { is_new: true, ..change() };
        rows.push(Row::starts(&new).served(900));
        rows
    }

    #[test]
    fn what_became_of_each_is_said_in_a_table_and_what_is_left_in_a_sentence() {
        let all = rows();
        let words = |row: &Row| std::iter::once(row.sentence()).chain(row.last_words()).collect::<Vec<_>>();
        let sentences: Vec<_> = all.iter().flat_map(words).collect();
        let failure = verdict(&all, "app.yaml").unwrap().text(Paint::PLAIN);
        let texts = [
            text(&all, &["db", "mail"], false, Some(100)),
            sentences.join("\n"),
            failure,
            text(&[], &["db"], true, None),
        ];
        insta::assert_snapshot!(texts.join("\n\n"));
        assert_eq!(verdict(&all[..5], "app.yaml"), None);
    }

    #[test]
    fn something_in_the_way_of_one_keeps_all_from_being_applied() {
        let goes = stays("web.1", "", "").going(Some(Mode::Handoff));
        let needs = stays(
            "web.2",
            "consent_needed",
            "web.2: it holds state: an update restarts it and loses the state",
        );
        let held = stays("web.3", "held", "web.3 holds on to its place for 7 s: month end");
        assert_eq!(obstacle(std::slice::from_ref(&goes)), None);
        let code = |rows: &[Row]| obstacle(rows).map(|failure| (failure.exit, failure.code, failure.who));
        let consent = Some((Exit::Consent, "consent_needed".to_owned(), "web.2".to_owned()));
        assert_eq!(code(&[goes.clone(), needs.clone()]), consent);
        let both = Some((Exit::Failed, "held".to_owned(), "web.3, web.2".to_owned()));
        assert_eq!(code(&[held, goes, needs]), both);
    }
}
