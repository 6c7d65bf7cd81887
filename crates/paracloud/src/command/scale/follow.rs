//! Follows those that leave, until each is gone or called back, also when the controller is restarted meanwhile.

use crate::client::{self, Conversation, Cut};
use crate::command::Context;
use crate::command::transfer::RESUMES_MAX;
use crate::failure::Failure;
use crate::figures::millis;
use crate::moving::history::History;
use crate::output::{Format, tell};
use crate::telling;
use indicatif::{ProgressBar, ProgressStyle};
use paracloud_core::migration::Phase;
use paracloud_substrate::person::{Event, Leaving, Outcome, Reply, Request, Scaled, What};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often the changing line of a terminal is drawn anew, in milliseconds.
const TICK_MS: u64 = 250;

/// Those that leave.
#[derive(Debug)]
pub(super) struct Leaves {
    all: Vec<Left>,
    began: Instant,
}

/// One that leaves.
#[derive(Debug)]
pub(super) struct Left {
    leaving: Leaving,
    history: History,
    pub(super) outcome: Option<Outcome>,
}

impl Left {
    /// Why it stays, if it does.
    pub(super) fn stays(&self) -> Option<String> {
        let outcome = self.outcome.as_ref().filter(|outcome| !outcome.committed)?;
        Some(format!("{} stays: {}", self.leaving.instance, why(outcome)))
    }

    fn hear(&mut self, event: &Event) -> bool {
        self.history.take(event)
    }

    /// What became of it, for who waits.
    fn sentence(&self) -> Option<String> {
        let outcome = self.outcome.as_ref()?;
        let (name, took) = (&self.leaving.instance, millis(outcome.total_ms));
        let lost = if outcome.state_lost { "; its state was lost by consent" } else { "" };
        let died = outcome.died().map_or_else(String::new, |how| format!("; {}", telling::died(how)));
        Some(if outcome.committed {
            format!("{name}: left {} in {took}{lost}{died}", outcome.node)
        } else {
            format!("{name}: serves on after {took}: {}", why(outcome))
        })
    }
}

fn why(outcome: &Outcome) -> String {
    let cause = outcome.cause.as_deref().unwrap_or("it was called back");
    let because = outcome.because.as_ref().map(|note| format!(" ({})", telling::note(note)));
    telling::plain(cause) + &because.unwrap_or_default()
}

impl Leaves {
    pub(super) fn of(scaled: &Scaled) -> Self {
        let left = |leaving: &Leaving| Left {
            history: History::new(&leaving.instance, leaving.operation),
            leaving: leaving.clone(),
            outcome: None,
        };
        Self { all: scaled.leaves.iter().map(left).collect(), began: Instant::now() }
    }

    pub(super) fn all(&self) -> &[Left] {
        &self.all
    }

    pub(super) fn is_over(&self) -> bool {
        self.all.iter().all(|left| left.outcome.is_some())
    }

    /// Those that have not left yet.
    pub(super) fn open(&self) -> Vec<String> {
        self.all.iter().filter(|left| left.outcome.is_none()).map(|it| it.leaving.instance.clone()).collect()
    }

    /// Until each is over.
    ///
    /// # Errors
    /// The cloud does not answer any more.
    pub(super) async fn follow(
        &mut self,
        context: &Context,
        conversation: &mut Conversation,
    ) -> Result<(), Failure> {
        let view = View::new(context.format);
        let (mut resumes, mut ticks) = (0, tokio::time::interval(Duration::from_millis(TICK_MS)));
        while !self.is_over() {
            let heard = tokio::select! {
                heard = conversation.hear_while_it_lives(&context.layout) => heard,
                _ = ticks.tick(), if view.line.is_some() => {
                    view.draw(&self.line());
                    continue;
                }
            };
            match heard {
                Ok(Reply::Event(event)) => self.hear(&event, resumes > 0, &view),
                Ok(Reply::Outcome(outcome)) => self.end(outcome, &view),
                Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, &refused_of(self))),
                Ok(other) => return Err(client::unexpected(&context.layout, &other)),
                Err(Cut::Gone) if resumes < RESUMES_MAX => {
                    resumes += 1;
                    view.say("the controller does not answer; waiting for it");
                    let request = Request::Events { from: 0, follow: true };
                    *conversation = Conversation::open(&context.layout, &request).await?;
                    view.say("the controller is back");
                }
                Err(cut) => return Err(cut.failure(&context.layout)),
            }
        }
        view.finish();
        Ok(())
    }

    fn hear(&mut self, event: &Event, is_resumed: bool, view: &View) {
        let mut open = self.all.iter_mut().filter(|left| left.outcome.is_none());
        let Some(left) = open.find_map(|left| left.hear(event).then_some(left)) else { return };
        match &event.what {
            What::Entered(phase) => {
                if let Some(words) = phase_words(*phase) {
                    let expected = expected(&left.leaving, *phase);
                    view.say(&format!("{}: {words}{expected}", left.leaving.instance));
                }
            }
            What::Note(note) if note.is_trouble() => {
                view.say(&format!("{}: {}", left.leaving.instance, telling::note(note)));
            }
            What::Swapped { .. }
            | What::Note(_)
            | What::Progress(_)
            | What::Refused(_)
            | What::StateLost { .. }
            | What::Parked { .. }
            | What::Concluded(_) => {}
        }
        // Who was cut off hears the end from the journal alone.
        if let Some(outcome) = left.history.outcome().filter(|_| is_resumed) {
            self.end(outcome, view);
        }
    }

    fn end(&mut self, outcome: Outcome, view: &View) {
        let is_it = |left: &&mut Left| left.leaving.instance == outcome.instance && left.outcome.is_none();
        let Some(left) = self.all.iter_mut().find(is_it) else { return };
        left.outcome = Some(outcome);
        view.say(&left.sentence().unwrap_or_default());
    }

    /// How far all are, in one line.
    fn line(&self) -> String {
        let open: Vec<_> = self.all.iter().filter(|left| left.outcome.is_none()).collect();
        let names: Vec<_> = open.iter().map(|left| left.leaving.instance.as_str()).collect();
        let since_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let longest = open.iter().map(|left| left.leaving.drain_ms).collect::<Option<Vec<_>>>();
        let left_ms = longest.and_then(|all| all.into_iter().max()).map(u64::from);
        let left_ms = left_ms.and_then(|ms| ms.checked_sub(since_ms)).filter(|ms| *ms > 0);
        let eta = left_ms.map_or_else(String::new, |ms| format!("  ETA {}", millis(ms)));
        format!(
            "{} of {} left; {} for {}{eta}",
            self.all.len() - open.len(),
            self.all.len(),
            names.join(", "),
            millis(since_ms)
        )
    }
}

fn refused_of(leaves: &Leaves) -> String {
    leaves.open().join(", ")
}

/// What goes on, for people.
fn phase_words(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Drain => Some("gets no more requests; gateways wait for what is there"),
        Phase::Leave => Some("finishes what it has"),
        Phase::Retire => Some("is stopped"),
        Phase::Return => Some("is called back"),
        Phase::Idle
        | Phase::Start
        | Phase::Offer
        | Phase::Prepare
        | Phase::Copy
        | Phase::Park
        | Phase::Seal
        | Phase::Switch
        | Phase::Doom
        | Phase::Serve
        | Phase::Undo
        | Phase::Release
        | Phase::Resize => None,
    }
}

/// How long that takes by its own word.
fn expected(leaving: &Leaving, phase: Phase) -> String {
    let drain_ms = leaving.drain_ms.filter(|ms| *ms > 0 && phase == Phase::Drain);
    drain_ms.map_or_else(String::new, |ms| format!("; it expects {}", millis(ms.into())))
}

/// One line that changes on a terminal, a line a step elsewhere, nothing for programs.
struct View {
    line: Option<ProgressBar>,
    is_silent: bool,
}

impl View {
    fn new(format: Format) -> Self {
        let shows = format == Format::Text && std::io::stderr().is_terminal();
        let line = shows.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let line = ProgressBar::new_spinner();
            style.map_or_else(|_| line.clone(), |style| line.clone().with_style(style))
        });
        Self { line, is_silent: format == Format::Json }
    }

    fn draw(&self, text: &str) {
        if let Some(line) = &self.line {
            line.set_message(text.to_owned());
            line.tick();
        }
    }

    fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.suspend(|| tell(text)),
            None if self.is_silent => {}
            None => tell(text),
        }
    }

    fn finish(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}
