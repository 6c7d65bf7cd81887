//! What clients saw, and whether it is as it must be.

use super::parked::Parked;
use crate::figures::{counted, micros};
use crate::output::table;
use paracloud_load::SocketsSeen;
use paracloud_load::ledger::Finding;
use paracloud_load::meter::Seen;
use paracloud_substrate::person::Outcome;
use serde::Serialize;

/// What clients saw in each window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// State that the app was filled with, in MiB.
    pub(super) state_mib: u32,
    /// The first is the one without a move.
    pub(super) windows: Vec<Window>,
}

/// What clients saw within a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Window {
    /// What it is called.
    pub(super) name: String,
    /// The controller was killed in it.
    pub(super) killed: bool,
    /// How the move in it ended; `None`: there was none.
    pub(super) outcome: Option<Outcome>,
    /// Requests.
    pub(super) seen: Seen,
    /// Acknowledged writes that are not there.
    pub(super) lost: u64,
    /// Writes that were applied too often.
    pub(super) doubled: u64,
    /// Keys that are not as they should be: the first of them.
    pub(super) findings: Vec<Finding>,
    /// WebSockets.
    pub(super) sockets: SocketsSeen,
    /// Waits at the gateways, by their own logs.
    pub(super) parked: Parked,
}

impl Window {
    /// Requests that failed: a send without success counts, also where sending again helped.
    fn failed(&self) -> u64 {
        self.seen.errors.total().max(self.seen.given_up)
    }

    /// The worst gap between two answers, in words.
    pub(super) fn gap(&self) -> String {
        micros(whole_us(self.seen.client_gap_ms))
    }

    /// What must not be, in words.
    fn faults(&self) -> Vec<String> {
        let SocketsSeen { unsettled, lost, repeated, .. } = self.sockets;
        let (failed, unknown) = if self.killed { (0, 0) } else { (self.failed(), self.seen.unknown) };
        let counts = [
            (self.lost, "acknowledged write", "lost"),
            (self.doubled, "write", "doubled"),
            (failed, "request", "failed, though nothing was killed"),
            (unknown, "request", "of unknown outcome, though nothing was killed"),
            (lost, "WebSocket message", "lost"),
            (repeated, "WebSocket message", "repeated"),
            (unsettled.into(), "WebSocket", "of which nothing is known"),
        ];
        let mut faults: Vec<_> = counts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, noun, what)| format!("{}: {} {what}", self.name, counted(count, noun)))
            .collect();
        // Where nothing was seen there is nothing to praise.
        if self.seen.achieved == 0 {
            faults.push(format!("{}: no request was answered", self.name));
        }
        if self.sockets.acknowledged == 0 {
            faults.push(format!("{}: no WebSocket message was acknowledged", self.name));
        }
        if let Some(outcome) = self.outcome.as_ref().filter(|outcome| !outcome.committed && !self.killed) {
            let cause = outcome.cause.as_deref().unwrap_or("the cause was not heard");
            faults
                .push(format!("{}: the move was rolled back, though nothing was killed: {cause}", self.name));
        }
        faults
    }

    fn cells(&self) -> Vec<String> {
        let moved =
            |of: &dyn Fn(&Outcome) -> String| self.outcome.as_ref().map_or_else(|| "-".to_owned(), of);
        let parked = |us: u64| if self.parked.requests == 0 { "-".to_owned() } else { micros(us) };
        let ended =
            |outcome: &Outcome| if outcome.committed { "committed" } else { "rolled back" }.to_owned();
        vec![
            moved(&ended),
            moved(&|outcome| crate::figures::millis(outcome.total_ms)),
            self.seen.offered.to_string(),
            self.failed().to_string(),
            self.seen.unknown.to_string(),
            self.lost.to_string(),
            self.doubled.to_string(),
            self.gap(),
            self.parked.requests.to_string(),
            parked(self.parked.us_p50),
            parked(self.parked.us_p99),
            parked(self.parked.us_max),
            self.sockets.closes.values().sum::<u64>().to_string(),
            self.sockets.reconnects.to_string(),
            self.sockets.lost.to_string(),
            self.sockets.repeated.to_string(),
        ]
    }
}

const ROWS: [&str; 16] = [
    "the move",
    "  took",
    "requests",
    "  failed",
    "  of unknown outcome",
    "writes lost",
    "writes doubled",
    "worst gap in answers",
    "requests that waited",
    "  p50",
    "  p99",
    "  longest",
    "WebSockets closed",
    "  connected again",
    "  messages lost",
    "  messages repeated",
];

impl Report {
    /// What must not be, in words; nothing, if all is well.
    pub(super) fn faults(&self) -> Vec<String> {
        self.windows.iter().flat_map(Window::faults).collect()
    }

    /// What is said when there are no faults.
    pub(super) fn praise(&self) -> String {
        let sum = |of: &dyn Fn(&Window) -> u64| self.windows.iter().map(of).sum::<u64>();
        let answered = sum(&|window| window.seen.achieved);
        let hurt = sum(&|window| window.failed() + window.seen.unknown);
        let failed = match hurt {
            0 => "no request failed".to_owned(),
            _ => format!(
                "{} failed, all in the move in which the controller was killed",
                counted(hurt, "request")
            ),
        };
        format!("{}: nothing was lost, nothing was doubled, {failed}", counted(answered, "answered request"))
    }

    /// A column a window, in at most 80 columns.
    pub(super) fn table(&self) -> String {
        let mut headings = vec!["CLIENTS SAW".to_owned()];
        let mut rows: Vec<Vec<String>> = ROWS.iter().map(|row| vec![(*row).to_owned()]).collect();
        for window in &self.windows {
            let cells = window.cells();
            let wide = cells.iter().chain([&window.name]).map(|cell| cell.chars().count()).max().unwrap_or(0);
            headings.push(format!("{:>wide$}", window.name));
            for (row, cell) in rows.iter_mut().zip(cells) {
                row.push(format!("{cell:>wide$}"));
            }
        }
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        table(&headings, &rows)
    }
}

/// Microseconds of a time in milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time is positive and below 2^53"
)]
fn whole_us(ms: f64) -> u64 {
    (ms * 1_000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, OperationNumber};
    use paracloud_substrate::person::Kind;

    fn outcome(committed: bool) -> Outcome {
        Outcome {
            instance: "sessions".to_owned(),
            operation: OperationNumber(3),
            kind: Kind::Move,
            mode: paracloud_core::register::Mode::Handoff,
            committed,
            state_lost: false,
            cause: (!committed).then(|| "roll back: cancelled".to_owned()),
            may_pass: false,
            because: None,
            node: NodeId(2),
            incarnation: 2,
            phases: Vec::new(),
            total_ms: 1_234,
            carried_bytes: Some(200 << 20),
            parked: 3,
            parked_us_max: 4_250,
            failed: 0,
            uploads_failed: 0,
            streams_cut: 0,
            websockets_closed: 100,
            clients_known: true,
        }
    }

    fn window(name: &str, outcome: Option<Outcome>) -> Window {
        let waited = outcome.is_some();
        let seen = Seen { offered: 1_203, achieved: 1_203, client_gap_ms: 12.345, ..Seen::default() };
        let mut sockets = SocketsSeen { sessions: 100, acknowledged: 3_000, ..SocketsSeen::default() };
        let mut parked = Parked::default();
        if waited {
            sockets.closes.insert(1012, 100);
            sockets.reconnects = 100;
            parked = Parked { requests: 3, us_p50: 2_100, us_p99: 4_250, us_max: 4_250, pause_us_max: 4_250 };
        }
        Window {
            name: name.to_owned(),
            killed: false,
            outcome,
            seen,
            lost: 0,
            doubled: 0,
            findings: Vec::new(),
            sockets,
            parked,
        }
    }

    fn report() -> Report {
        let mut killed = window("kill -9", Some(outcome(false)));
        killed.killed = true;
        killed.seen.errors.not_applied = 2;
        killed.seen.client_gap_ms = 412.0;
        let there = window("n1 to n2", Some(outcome(true)));
        let back = window("n2 to n1", Some(outcome(true)));
        Report { state_mib: 200, windows: vec![window("control", None), there, back, killed] }
    }

    #[test]
    fn the_table_fits_80_columns_and_says_what_clients_saw() {
        let report = report();
        let table = report.table();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        insta::assert_snapshot!(format!("{table}\n\n{}", report.praise()));
    }

    #[test]
    fn failed_requests_are_a_fault_only_where_nothing_was_killed() {
        let mut report = report();
        assert!(report.faults().is_empty(), "{:?}", report.faults());
        report.windows[1].seen.errors.not_applied = 1;
        report.windows[2].seen.unknown = 2;
        assert_eq!(
            report.faults(),
            [
                "n1 to n2: 1 request failed, though nothing was killed",
                "n2 to n1: 2 requests of unknown outcome, though nothing was killed"
            ]
        );
    }

    #[test]
    fn what_is_lost_or_doubled_is_a_fault_whoever_was_killed() {
        let mut report = report();
        let killed = &mut report.windows[3];
        (killed.lost, killed.doubled) = (1, 2);
        (killed.sockets.lost, killed.sockets.repeated, killed.sockets.unsettled) = (3, 4, 5);
        let faults = report.faults();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.starts_with("kill -9: ")), "{faults:?}");
    }

    #[test]
    fn a_window_in_which_nothing_was_seen_is_a_fault() {
        let mut report = report();
        report.windows[3].seen = Seen::default();
        report.windows[0].sockets = SocketsSeen::default();
        let faults = ["control: no WebSocket message was acknowledged", "kill -9: no request was answered"];
        assert_eq!(report.faults(), faults);
    }

    #[test]
    fn a_move_that_is_rolled_back_by_itself_is_a_fault() {
        let mut report = report();
        report.windows[1].outcome = Some(outcome(false));
        let faults = report.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("rolled back, though nothing was killed"), "{faults:?}");
    }
}
