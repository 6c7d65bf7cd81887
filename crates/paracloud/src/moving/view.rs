//! How a move is shown while it goes on, and what is said of it at the end.

use crate::figures::{counted, micros, millis};
use crate::output::{Format, table, tell};
use crate::telling;
use indicatif::{ProgressBar, ProgressStyle};
use paracloud_core::migration::Phase;
use paracloud_core::register::Mode;
use paracloud_substrate::person::{Event, Outcome, What};
use std::io::IsTerminal;
use std::time::Duration;

const TICK_MS: u64 = 120;

/// One line that changes on a terminal; a line a phase elsewhere; nothing for programs.
#[derive(Debug)]
pub struct View {
    app: String,
    phase: Option<Phase>,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Line(ProgressBar),
    Lines,
    Nothing,
}

impl View {
    /// A view for this output.
    pub fn new(app: &str, format: Format) -> Self {
        let shown = match format {
            Format::Json => Shown::Nothing,
            Format::Text if std::io::stderr().is_terminal() => {
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                let line = ProgressBar::new_spinner();
                line.enable_steady_tick(Duration::from_millis(TICK_MS));
                Shown::Line(style.map_or_else(|_| line.clone(), |style| line.clone().with_style(style)))
            }
            Format::Text => Shown::Lines,
        };
        Self { app: app.to_owned(), phase: None, shown }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        if let What::Entered(phase) = event.what {
            self.phase = Some(phase);
        }
        let Some(text) = line(&self.app, self.phase, event, matches!(self.shown, Shown::Line(_))) else {
            return;
        };
        match &self.shown {
            Shown::Line(line) if telling::is_notable(event) => line.suspend(|| tell(&text)),
            Shown::Line(line) => line.set_message(text),
            Shown::Lines => tell(&text),
            Shown::Nothing => {}
        }
    }

    /// Says something beside the events.
    pub fn say(&self, text: &str) {
        match &self.shown {
            Shown::Line(line) => line.suspend(|| tell(&format!("{}: {text}", self.app))),
            Shown::Lines => tell(&format!("{}: {text}", self.app)),
            Shown::Nothing => {}
        }
    }

    /// Takes the changing line away.
    pub fn finish(&self) {
        if let Shown::Line(line) = &self.shown {
            line.finish_and_clear();
        }
    }
}

/// The line that shows an event, if it is worth one: on a terminal progress is, elsewhere it would be a flood.
fn line(app: &str, phase: Option<Phase>, event: &Event, on_terminal: bool) -> Option<String> {
    let phase = phase.map_or_else(String::new, |phase| phase.to_string());
    match &event.what {
        What::Entered(_) => Some(format!("{app}: {phase}")),
        What::Progress(progress) if on_terminal => {
            Some(format!("{app}: {phase}  {}", telling::progress(progress)))
        }
        // Phases say it already.
        What::Progress(_) | What::Swapped { .. } => None,
        What::Note(note) if telling::is_notable(event) => Some(format!("{app}: {}", telling::note(note))),
        // The summary says what is lost, and what clients saw.
        What::Note(_)
        | What::Refused(_)
        | What::StateLost { .. }
        | What::Parked { .. }
        | What::Concluded(_) => None,
    }
}

/// What is said at the end: how it ended, its phases, what clients saw.
pub fn summary(outcome: &Outcome) -> String {
    let (app, node, took) = (&outcome.instance, outcome.node, millis(outcome.total_ms));
    let way = telling::way(outcome.mode);
    let how = match outcome.mode {
        Mode::Restart => "by consent",
        Mode::Handoff => "with its process",
    };
    let head = match (outcome.committed, outcome.state_lost) {
        (true, false) => format!("{app} moved to {node} {way} in {took}"),
        (true, true) => format!("{app} moved to {node} {way} in {took}; its state was lost {how}"),
        (false, false) => format!("{app} stays on {node}: rolled back after {took}"),
        (false, true) => {
            format!("{app} stays on {node}: rolled back after {took}, started anew; its state was lost {how}")
        }
    };
    let rows: Vec<_> =
        outcome.phases.iter().map(|(phase, us)| vec![phase.to_string(), micros(*us)]).collect();
    let clients = format!(
        "{} waited at gateways{}; {}",
        counted(outcome.parked.into(), "request"),
        telling::longest(outcome.parked, outcome.parked_us_max),
        telling::failed(outcome.failed, outcome.uploads_failed),
    );
    let ended = telling::ended(outcome.streams_cut, outcome.websockets_closed);
    let unknown = (!outcome.clients_known).then(|| "not every gateway has told all".to_owned());
    let lines: Vec<_> = [Some(clients), ended, unknown].into_iter().flatten().collect();
    format!(
        "{head}\n\n{}\n\ncarried  {}\nclients  {}",
        table(&["PHASE", "TOOK"], &rows),
        telling::carried(outcome.carried_bytes),
        lines.join("\n         "),
    )
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::super::history::tests::{a_move, event};
    use super::*;
    use paracloud_core::ids::StartId;
    use paracloud_substrate::message::Note;

    fn lines(on_terminal: bool) -> String {
        let mut phase = None;
        let mut events = a_move();
        let route = "POST /sessions".to_owned();
        events.push(event(11, What::Note(Note::Blocked { route, held_ms: 1_200 })));
        events.push(event(
            12,
            What::Note(Note::Ended { start: StartId(9), how: "signal 9\x1b[2J".to_owned() }),
        ));
        let mut shown = Vec::new();
        for event in &events {
            if let What::Entered(entered) = event.what {
                phase = Some(entered);
            }
            shown.extend(line("sessions", phase, event, on_terminal));
        }
        shown.join("\n")
    }

    #[test]
    fn elsewhere_than_on_a_terminal_a_phase_is_a_line() {
        insta::assert_snapshot!(lines(false));
    }

    #[test]
    fn a_terminal_shows_progress_in_a_line_of_80_columns() {
        let lines = lines(true);
        assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn the_summary_says_how_it_ended_and_what_clients_saw() {
        let mut history = History::new("sessions", None);
        for event in a_move() {
            history.take(&event);
        }
        let outcome = history.outcome().unwrap();
        let rolled_back = Outcome {
            committed: false,
            parked: 0,
            failed: 2,
            uploads_failed: 1,
            streams_cut: 1,
            websockets_closed: 0,
            carried_bytes: None,
            clients_known: false,
            ..outcome.clone()
        };
        let mode = Mode::Restart;
        let restarted = Outcome {
            mode,
            phases: Vec::new(),
            parked: 0,
            websockets_closed: 0,
            carried_bytes: Some(0),
            ..outcome.clone()
        };
        let lost = Outcome { state_lost: true, ..restarted.clone() };
        let lost_for_nothing = Outcome { committed: false, ..lost.clone() };
        let shown =
            [outcome, rolled_back, restarted, lost, lost_for_nothing].map(|outcome| summary(&outcome));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }

    #[test]
    fn the_journal_is_told_in_a_line_an_event() {
        let lines: Vec<_> = a_move().iter().map(telling::line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
