//! What became of each instance.

use crate::client;
use crate::failure::{Exit, Failure};
use crate::figures::{counted, millis};
use crate::output::table_with_why;
use crate::telling;
use paracloud_core::ids::NodeId;
use paracloud_core::register::Mode;
use paracloud_substrate::draining::{Drained, End};
use serde::Serialize;

/// The word for one that somebody else took off the node.
const LEFT: &str = "left";

/// What became of one instance, or in a rehearsal what would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    instance: String,
    /// Where it was to go; `None`: that is not known.
    to: Option<NodeId>,
    /// It is there now, or another one is in its place.
    moved: bool,
    /// The one that came in its place.
    by: Option<String>,
    /// Nothing stood in the way when it was asked.
    can_go: bool,
    /// How it was moved, or would be.
    mode: Option<Mode>,
    state_lost: bool,
    /// How long its move took.
    total_ms: Option<u64>,
    /// Why it was not moved: a word for programs.
    code: Option<String>,
    /// And in words.
    why: Option<String>,
}

impl Row {
    pub(super) fn of(drained: Drained) -> Self {
        let moved = drained.is_gone();
        let Drained { instance, to, end } = drained;
        let row = Self { moved, ..Self::to(instance, Some(to)) };
        match end {
            End::Moved(outcome) => Self {
                mode: Some(outcome.mode),
                state_lost: outcome.state_lost,
                total_ms: Some(outcome.total_ms),
                code: (!outcome.committed).then(|| "rolled_back".to_owned()),
                why: telling::why(&outcome),
                ..row
            },
            End::Replaced { by, took_ms, died } => {
                let why = died.as_deref().map(telling::died);
                Self { to: Some(by.node), by: Some(by.instance), total_ms: Some(took_ms), why, ..row }
            }
            End::Left { why } => Self { code: Some(LEFT.to_owned()), why: Some(why), ..row },
            End::CanGo { mode, says } => Self { mode, why: says, ..row },
            End::Stays(refused) => {
                let Failure { code, why, .. } = client::refusal(&refused, &row.instance);
                Self { can_go: false, code: Some(code), why: Some(why), ..row }
            }
        }
    }

    /// Of an instance that is not on the node any more nobody told how it went: the controller that saw to it is gone. It is there
    /// now.
    pub(super) fn unheard(at: Option<NodeId>, instance: String) -> Self {
        let why = if at.is_some() { "it is elsewhere" } else { "it has left" };
        let why = format!("{why}; the controller that saw to it ended before it told how");
        Self { moved: true, code: Some(LEFT.to_owned()), why: Some(why), ..Self::to(instance, at) }
    }

    fn to(instance: String, to: Option<NodeId>) -> Self {
        Self {
            instance,
            to,
            moved: false,
            by: None,
            can_go: true,
            mode: None,
            state_lost: false,
            total_ms: None,
            code: None,
            why: None,
        }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    fn is_left(&self) -> bool {
        self.code.as_deref() == Some(LEFT)
    }

    /// Why it is where it was.
    fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// What became of it, for who waits.
    pub(super) fn sentence(&self) -> String {
        let Self { instance, to, .. } = self;
        let to = to.map_or_else(|| "another node".to_owned(), |to| to.to_string());
        if let (Some(by), Some(took)) = (&self.by, self.total_ms) {
            let died = self.why.as_ref().map_or_else(String::new, |why| format!("; {why}"));
            return format!("{instance}: left in {}; {by} on {to} is in its place{died}", millis(took));
        }
        match (self.moved, self.total_ms) {
            (true, None) if self.is_left() => format!("{instance}: {}", self.why()),
            (true, Some(took)) => format!("{instance}: moved to {to} in {}", millis(took)),
            (true, None) => format!("{instance}: moved to {to}"),
            (false, _) => format!("{instance}: not moved: {}", telling::plain(self.why())),
        }
    }

    fn cells(&self, shown: impl Fn(NodeId) -> String) -> Vec<String> {
        let how = match (self.moved, self.can_go, self.mode) {
            (true, ..) if self.is_left() => "left".to_owned(),
            (true, _, Some(mode)) if self.state_lost => format!("{}, state lost", named(mode)),
            (true, _, Some(mode)) => named(mode).to_owned(),
            (true, _, None) => self.by.as_ref().map_or_else(|| "moved".to_owned(), |by| format!("by {by}")),
            (false, true, Some(mode)) if self.code.is_none() => named(mode).to_owned(),
            (false, true, None) if self.code.is_none() => "replaced".to_owned(),
            (false, ..) => "stays".to_owned(),
        };
        let took = self.total_ms.filter(|_| self.moved).map_or_else(|| "-".to_owned(), millis);
        let to = self.to.map_or_else(|| "-".to_owned(), shown);
        vec![self.instance.clone(), how, to, took, telling::plain(self.why())]
    }
}

fn named(mode: Mode) -> &'static str {
    match mode {
        Mode::Handoff => "handoff",
        Mode::Restart => "restart",
    }
}

/// What is true of a node from now on.
const CLOSED: &str = "it gets no new ones until: paracloud node open";

/// What people read at the end.
pub(super) fn text(
    node: &str,
    rows: &[Row],
    dry_run: bool,
    shown: impl Fn(NodeId) -> String,
    columns: Option<usize>,
) -> String {
    if rows.is_empty() {
        let closed = if dry_run { String::new() } else { format!("; {CLOSED} {node}") };
        return format!("{node}: no instance is on it{closed}");
    }
    let cells: Vec<_> = rows.iter().map(|row| row.cells(&shown)).collect();
    let table = table_with_why(&["INSTANCE", "HOW", "TO", "TOOK", "WHY"], &cells, columns);
    let of = counted(u64::try_from(rows.len()).unwrap_or(u64::MAX), "instance");
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let sum = if dry_run {
        format!("{node}: {} of {of} can go now; nothing was moved", count(|row| row.can_go))
    } else {
        format!("{node}: {} of {of} moved; {CLOSED} {node}", count(|row| row.moved))
    };
    format!("{table}\n{sum}")
}

/// Why the node is not empty, or would not be. `missed`: who came to it meanwhile.
pub(super) fn verdict(node: &str, rows: &[Row], missed: &[String], dry_run: bool) -> Option<Failure> {
    let is_done = |row: &&Row| if dry_run { row.can_go } else { row.moved };
    let staying: Vec<_> = rows.iter().filter(|row| !is_done(row)).collect();
    let names: Vec<_> = staying.iter().map(|row| row.instance.as_str()).collect();
    let names = names.into_iter().chain(missed.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
    if staying.is_empty() && missed.is_empty() {
        return None;
    }
    let needs_consent = |row: &&Row| matches!(row.code.as_deref(), Some("consent_needed" | "refused"));
    if missed.is_empty() && staying.iter().all(needs_consent) {
        let verb = if dry_run { "would stay" } else { "stays" };
        let why = format!("{names} {verb}: to move it without its state needs a consent");
        let next = format!("ask again later, or consent: paracloud drain-node {node} --accept-loss");
        return Some(Failure::new(Exit::Consent, "consent_needed", node, why, next));
    }
    let why = if dry_run { format!("{names} cannot go now") } else { format!("still on it: {names}") };
    let next = format!("the table says why; put that right, then: paracloud drain-node {node}");
    Some(Failure::new(Exit::Failed, "not_drained", node, why, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::OperationNumber;
    use paracloud_substrate::person::{Kind, Outcome, Refused, Starting};

    fn row(instance: &str, to: u32, end: End) -> Row {
        Row::of(Drained { instance: instance.to_owned(), to: NodeId(to), end })
    }

    fn stays(instance: &str, code: &str, message: &str) -> Row {
        let [code, message, next] = [code, message, ""].map(str::to_owned);
        row(instance, 3, End::Stays(Refused { code, message, next }))
    }

    fn moved(instance: &str, mode: Mode, state_lost: bool) -> Row {
        let outcome = Outcome {
            instance: instance.to_owned(),
            operation: OperationNumber(1),
            kind: Kind::Move,
            mode,
            committed: true,
            state_lost,
            cause: None,
            may_pass: false,
            because: None,
            node: NodeId(2),
            incarnation: 2,
            phases: Vec::new(),
            total_ms: 1_234,
            carried_bytes: None,
            parked: 0,
            parked_us_max: 0,
            failed: 0,
            uploads_failed: 0,
            streams_cut: 0,
            websockets_closed: 0,
            clients_known: true,
        };
        row(instance, 2, End::Moved(outcome))
    }

    fn rows() -> Vec<Row> {
        let by = Starting { instance: "web.11".to_owned(), node: NodeId(3) };
        vec![
            moved("db", Mode::Handoff, false),
            moved("web.1", Mode::Restart, true),
            row("web.3", 2, End::Replaced { by, took_ms: 812, died: None }),
            row("web.4", 2, End::Left { why: "it has left meanwhile".to_owned() }),
            stays("web.2", "held", "web.2: it holds on to its place for 7.00 s: backup\u{1b}[2J"),
            stays("web.10", "consent_needed", "web.10: it does not speak PaCI, and it holds state"),
        ]
    }

    #[test]
    fn the_table_says_what_moved_how_what_could_not_and_why() {
        let shown = |node: NodeId| node.to_string();
        let replaced =
            row("web.3", 2, End::CanGo { mode: None, says: Some("losing it costs 7 ms of work".to_owned()) });
        let going = row("db", 2, End::CanGo { mode: Some(Mode::Handoff), says: None });
        let texts = [
            text("n1", &rows(), false, shown, Some(100)),
            text("n1", &[going, replaced, rows().remove(4)], true, shown, None),
            text("n1", &[], false, shown, None),
            rows().iter().map(Row::sentence).collect::<Vec<_>>().join("\n"),
        ];
        let texts = texts.join("\n\n");
        assert!(!texts.contains('\u{1b}'), "what an application says is plain");
        insta::assert_snapshot!(texts);
    }

    #[test]
    fn a_node_is_drained_when_nothing_is_on_it_and_a_consent_is_asked_for_where_that_alone_is_missing() {
        let code = |rows: &[Row], missed: &[String], dry_run| {
            verdict("n1", rows, missed, dry_run).map(|failure| (failure.exit, failure.code))
        };
        let all = rows();
        assert_eq!(code(&all[..4], &[], false), None);
        assert_eq!(code(&[], &[], false), None);
        assert_eq!(code(&all, &[], false), Some((Exit::Failed, "not_drained".to_owned())));
        assert_eq!(code(&all[5..], &[], false), Some((Exit::Consent, "consent_needed".to_owned())));
        let came = ["web.5".to_owned()];
        assert_eq!(code(&all[..4], &came, false), Some((Exit::Failed, "not_drained".to_owned())));
        assert_eq!(
            code(&[row("db", 2, End::CanGo { mode: Some(Mode::Handoff), says: None })], &[], true),
            None
        );
        assert_eq!(code(&all[4..5], &[], true), Some((Exit::Failed, "not_drained".to_owned())));
    }
}
