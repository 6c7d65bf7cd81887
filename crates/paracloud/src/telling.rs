//! What the journal says, in words: a line an event.

use crate::figures::{age, bytes, counted, micros, millis, time_of_day};
use crate::output;
use paci::names::AnswerCode;
use paracloud_core::ids::StartId;
use paracloud_core::register::{LeaveStep, Mode, Move, MoveStep, Operation, Record, Size};
use paracloud_substrate::message::{Note, Sizing, Unready};
use paracloud_substrate::person::{
    Conclusion, Consent, Event, Loss, Outcome, Progress, Refusal, Unanswered, What,
};
use paracloud_substrate::seen::Account;

/// The most letters of one text of an application that people are shown.
const SAID_LETTERS_MAX: usize = 400;

/// How the change is named with which a move is given up; its cause follows.
const ROLL_BACK: &str = "roll_back: ";
/// The same of a leave.
const RETURN: &str = "return: ";
/// The same of a change of size.
const KEEP: &str = "keep: ";

/// The whole line: when, whom, which operation, what.
pub fn line(event: &Event) -> String {
    let operation = event.operation.map_or_else(String::new, |operation| format!(" {operation}"));
    format!("{} {}{operation}  {}", time_of_day(event.at_unix_ms), event.instance, what(&event.what))
}

/// What happened.
pub fn what(what: &What) -> String {
    match what {
        What::Swapped { change, record } => {
            format!("{}: {}", named(change), standing(record))
        }
        What::Entered(phase) => format!("phase {phase}"),
        What::Note(note) => self::note(note),
        What::Progress(progress) => self::progress(progress),
        What::Refused(refusal) => self::refusal(refusal),
        What::StateLost { by, consent } => lost(*by, *consent),
        What::Parked { gateway, account: Account { seen, .. } } => {
            let waited = counted(u64::from(seen.requests), "request");
            let longest = longest(seen.requests, seen.parked_us_max);
            let failed = failed(seen.failed, seen.uploads_failed);
            let ended = ended(seen.streams_cut, seen.websockets_closed);
            let ended = ended.map_or_else(String::new, |ended| format!("; {ended}"));
            format!("gateway g{gateway}: {waited} waited{longest}, {failed}{ended}")
        }
        What::Concluded(Conclusion { carried_bytes, clients_known }) => {
            let whole = if *clients_known { "every gateway" } else { "not every gateway" };
            let carried = match carried_bytes {
                Some(0) => String::new(),
                bytes => format!("carried {}; ", carried(*bytes)),
            };
            format!("concluded: {carried}{whole} has told all that its clients saw")
        }
    }
}

/// A change, as people read it.
fn named(change: &str) -> String {
    let given_up = [(ROLL_BACK, "given up"), (RETURN, "called back"), (KEEP, "its size stays")];
    let cause = |(name, words)| change.strip_prefix(name).map(|cause| format!("{words} ({})", plain(cause)));
    given_up.into_iter().find_map(cause).unwrap_or_else(|| change.to_owned())
}

/// Why an operation is given up, without the name of the change.
pub fn cause(change: &str) -> &str {
    match change {
        "doom" => "the target did not get ready within its budget, and was ended",
        "promote" => "the target died before it had served",
        other => [ROLL_BACK, RETURN, KEEP].iter().find_map(|it| other.strip_prefix(it)).unwrap_or(other),
    }
}

/// The longest wait of clients, if any waited.
pub fn longest(requests: u32, us: u64) -> String {
    if requests == 0 { String::new() } else { format!(", longest {}", micros(us)) }
}

/// Requests that failed, and how many of them were uploads.
pub fn failed(failed: u32, uploads: u32) -> String {
    match uploads {
        0 => format!("{failed} failed"),
        1 => format!("{failed} failed, 1 of them an upload"),
        _ => format!("{failed} failed, {uploads} of them uploads"),
    }
}

/// What ended for clients because of a move, if anything did.
pub fn ended(streams_cut: u32, websockets_closed: u32) -> Option<String> {
    let cut = (streams_cut > 0).then(|| format!("{} cut", counted(streams_cut.into(), "stream")));
    let closed = (websockets_closed > 0)
        .then(|| format!("{} closed with 1012", counted(websockets_closed.into(), "WebSocket")));
    let ended: Vec<_> = cut.into_iter().chain(closed).collect();
    (!ended.is_empty()).then(|| ended.join(", "))
}

/// What crossed the channel, as far as it is known.
pub fn carried(carried_bytes: Option<u64>) -> String {
    carried_bytes.map_or_else(|| "not known (the controller was restarted)".to_owned(), bytes)
}

/// A move that was not begun.
fn refusal(refusal: &Refusal) -> String {
    let Refusal { to, accept_loss, asked, code, message, held_until_unix_ms, unkept } = refusal;
    let to = to.map_or_else(|| "to another node".to_owned(), |node| format!("to {node}"));
    let consent = if *accept_loss { " with --accept-loss" } else { "" };
    let asked = asked.map_or_else(
        || "nobody was asked".to_owned(),
        |asked| format!("process {} on {} was asked", short(asked.start), asked.node),
    );
    let mut text = match held_until_unix_ms {
        Some(until) => {
            let until = time_of_day(*until);
            format!("a move {to}{consent} was held off until {until}: {} ({asked})", plain(message))
        }
        None => format!("a move {to}{consent} was refused ({code}): {} ({asked})", plain(message)),
    };
    match unkept {
        0 => {}
        1 => text += "; one more before it has no entry",
        more => text += &format!("; {more} more before it have no entry"),
    }
    text
}

fn lost(by: Loss, consent: Consent) -> String {
    let by = match by {
        Loss::Restart => "it was stopped to be moved by restart",
        Loss::Death => "its process died, and is started anew",
        Loss::Stop => "the cloud was ended",
        Loss::Removal => "it is in the manifest no more",
        Loss::Node => "its node was given up, and it is started anew on another one",
        Loss::Leave => "it left",
    };
    let consent = match consent {
        Consent::Person => "a person consented to that",
        Consent::Manifest => "the manifest consents to that (acceptLoss)",
        Consent::Nobody => "nobody was asked",
    };
    format!("its state is lost: {by}; {consent}")
}

/// Who owns, and how far the open operation is.
pub fn standing(record: &Record) -> String {
    if record.gone {
        return format!("it has left {}, and was {}", record.owner.node, record.incarnation);
    }
    let owner = format!("{} owns {} ({})", record.owner.node, record.incarnation, short(record.owner.start));
    let served = record.served.map_or_else(String::new, |address| format!(", serves at {address}"));
    let step = record.operation.as_ref().map_or_else(String::new, |it| format!(", {}", step_name(it)));
    format!("{owner}{served}{step}")
}

/// How a move is done.
pub fn way(mode: Mode) -> &'static str {
    match mode {
        Mode::Handoff => "by handoff",
        Mode::Restart => "by restart",
    }
}

fn step_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Move(moving) => move_step_name(moving),
        Operation::Leave(leave) => match leave.step {
            LeaveStep::Leaving => "it leaves, and is to be ended",
            LeaveStep::Returning => "it was to leave, and is called back",
            LeaveStep::Draining => "it is drained to leave",
        },
        Operation::Resize(_) => "it is to get another size",
    }
}

fn move_step_name(operation: &Move) -> &'static str {
    match operation.step {
        MoveStep::Open => match operation.mode {
            Mode::Handoff => "a move by handoff is open",
            Mode::Restart => "a move by restart is open",
        },
        MoveStep::Sealing => "the source may be sealed",
        MoveStep::Switch => "committed",
        MoveStep::Doomed => "the target is to be ended",
        MoveStep::Retire => "the source is to be ended",
        MoveStep::Undo => "rolled back",
    }
}

/// A note.
pub fn note(note: &Note) -> String {
    match note {
        Note::Estimate(estimate) => {
            let size = estimate
                .state_kib
                .map_or_else(|| "of unknown size".to_owned(), |kib| bytes(u64::from(kib) << 10));
            let dropped = estimate.shrinkable_kib.map_or_else(String::new, |kib| {
                format!(" ({} of it could be dropped first)", bytes(u64::from(kib) << 10))
            });
            let pause =
                estimate.pause_ms.map_or_else(String::new, |ms| format!(", pause {}", millis(ms.into())));
            format!("the application estimates: state {size}{dropped}{pause}")
        }
        Note::Reason(reason) => format!("the application says: {}", plain(reason)),
        Note::Remark { by, what } => format!("the {by} says: {}", plain(what)),
        Note::Carried { bytes: carried } => format!("{} carried", bytes(*carried)),
        Note::Copying { remaining_records, predicted_pause_ms } => {
            format!("{remaining_records} records left, pause if now {}", millis((*predicted_pause_ms).into()))
        }
        Note::Blocked { route, held_ms } => {
            format!("the seal is blocked by {}, held for {}", plain(route), millis((*held_ms).into()))
        }
        Note::Ended { start, how } => format!("process {} ended: {}", short(*start), plain(how)),
        Note::Unready { start, unready } => {
            let Unready { since_unix_ms, asked, answered } = unready;
            let (asked, answered) = (plain(asked), plain(answered));
            format!(
                "process {} is not ready since {}: {asked}: {answered}",
                short(*start),
                time_of_day(*since_unix_ms)
            )
        }
        Note::Unresponsive { start, call, at_work: false } => {
            format!("process {} does not answer {}", short(*start), plain(call))
        }
        Note::Unresponsive { start, call, at_work: true } => {
            format!(
                "process {} says that it is at work on {}, and is not done in time",
                short(*start),
                plain(call)
            )
        }
        Note::Breach { start, what } => {
            format!("process {} broke the contract: {}", short(*start), plain(what))
        }
        Note::Awaited { node, silent_ms, duty } => {
            let (node, duty) = (plain(node), plain(duty));
            format!(
                "waits for the agent of {node}, which is not connected and was not heard for {}: it is {duty}",
                millis(*silent_ms)
            )
        }
        Note::Failure { start, code, message } => {
            let said = if message.is_empty() { String::new() } else { format!(": {}", plain(message)) };
            // Its other end may have died, which takes longer to be known for sure.
            let is_channel = code == AnswerCode::ChannelLost.as_str();
            let other = if is_channel { "; the process at its other end may have ended" } else { "" };
            format!("process {} failed: {}{said}{other}", short(*start), plain(code))
        }
        Note::Sized(sizing) => sized(sizing),
    }
}

/// What a number of processors is of.
const OF_PROCESSORS: &str = " of processors";

/// How a change of size went.
fn sized(sizing: &Sizing) -> String {
    let Sizing { start, from, to, limit, used_kib, offered, why } = sizing;
    let before = match (from.cpu_milli, to.cpu_milli) {
        // What it is of stands once.
        (Some(_), Some(_)) => size(*from).replace(OF_PROCESSORS, ""),
        (None, _) | (_, None) => size(*from),
    };
    let mut parts = vec![format!("process {}, from {before} to {}", short(*start), size(*to))];
    if !why.is_empty() {
        parts.push(plain(why));
    }
    if let Some(offered) = offered {
        parts.push(format!("it could do with {}", size(*offered)));
    }
    if let Some(kib) = used_kib {
        parts.push(format!("{} of memory in use", bytes(kib << 10)));
    }
    match limit {
        Size { memory_kib: None, cpu_milli: None } => parts.push("it has no limit".to_owned()),
        limit if limit == to => {}
        limit => parts.push(format!("its limit is {}", size(*limit))),
    }
    parts.join("; ")
}

/// A size that is enforced: what it does not name has no limit.
fn size(size: Size) -> String {
    let memory = size.memory_kib.map(|kib| bytes(u64::from(kib) << 10));
    let cpu = size.cpu_milli.map(|milli| format!("{milli}m{OF_PROCESSORS}"));
    let parts: Vec<_> = [memory, cpu].into_iter().flatten().collect();
    if parts.is_empty() { "no limit".to_owned() } else { parts.join(" and ") }
}

/// That the process of one that has left ended before it was told to.
pub fn died(how: &str) -> String {
    format!("its process ended while it was drained: {}", plain(how))
}

/// So much of what a probe answered is shown, in letters.
const ANSWERED_LETTERS_MAX: usize = 200;

/// Why a process is not ready, and for how long.
pub fn unready_for(unready: &Unready, now_unix_ms: u64) -> String {
    let Unready { since_unix_ms, asked, answered } = unready;
    let waited = age(now_unix_ms.saturating_sub(*since_unix_ms));
    let answered = plain(answered);
    let answered = output::short(&answered, ANSWERED_LETTERS_MAX);
    format!("not ready for {waited}: {}: {answered}", plain(asked))
}

/// Which call an owner does not answer, and since when it is said to be silent.
pub fn unanswered_for(unanswered: &Unanswered, now_unix_ms: u64) -> String {
    let Unanswered { start, call, answered, since_unix_ms } = unanswered;
    let (call, start) = (plain(call), short(*start));
    let since = age(now_unix_ms.saturating_sub(*since_unix_ms));
    match answered {
        None => format!(
            "its owner (process {start}) does not answer {call}, for {since} now; it is told again until it does"
        ),
        Some(answered) => format!(
            "its owner (process {start}) answers {call} with {}, for {since} now; if it stays so, end its process, and the state in it goes with it",
            plain(answered)
        ),
    }
}

/// How far a copy is: bytes, share, rate, time left, pause.
pub fn progress(progress: &Progress) -> String {
    let carried = bytes(progress.carried_bytes);
    let mut parts = vec![match progress.state_bytes {
        Some(state) => format!("{carried} of {}", bytes(state)),
        None => carried,
    }];
    if let Some(state) = progress.state_bytes.filter(|state| *state > 0) {
        let share = u128::from(progress.carried_bytes) * 100 / u128::from(state);
        parts.push(format!("{} %", share.min(100)));
    }
    parts.push(format!("{}/s", bytes(progress.rate_bytes_per_s)));
    if let Some(eta) = progress.eta_ms {
        parts.push(format!("ETA {}", millis(eta)));
    }
    if let Some(pause) = progress.predicted_pause_ms {
        parts.push(format!("pause {}", millis(pause.into())));
    }
    parts.join("  ")
}

/// Whether it is something that a person who only watches wants to hear: what went wrong, and who owns now.
pub fn is_notable(event: &Event) -> bool {
    match &event.what {
        What::Swapped { .. } | What::Refused(_) | What::StateLost { .. } => true,
        What::Note(note) => note.is_trouble(),
        What::Entered(_) | What::Progress(_) | What::Parked { .. } | What::Concluded(_) => false,
    }
}

/// The first half of a start id: enough to tell processes apart.
pub fn short(start: StartId) -> String {
    start.to_string()[..8].to_owned()
}

/// What an application said, in one line that moves no cursor, and not without end.
pub(crate) fn plain(text: &str) -> String {
    let text = output::short(text, SAID_LETTERS_MAX);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
/// Why an operation ended as it did, for a table: the cause, and for one that was given up that it was.
pub fn why(outcome: &Outcome) -> Option<String> {
    let because = outcome.because.as_ref().map_or_else(String::new, |it| format!(" ({})", note(it)));
    let cause = outcome.cause.as_ref().map(|cause| format!("{cause}{because}"));
    if outcome.committed {
        return cause;
    }
    Some(format!("rolled back: {}", cause.as_deref().unwrap_or("the cause was not heard")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::StartId;

    #[test]
    fn of_a_change_of_size_it_is_said_what_was_asked_and_the_limit_only_where_it_is_another_one() {
        let of = |memory_kib, cpu_milli| Size { memory_kib, cpu_milli };
        let told = |from, to, limit| {
            let (used_kib, offered, why) = (Some(9 << 10), None, String::new());
            sized(&Sizing { start: StartId(7), from, to, limit, used_kib, offered, why })
        };
        let (one, two) = (of(Some(1 << 18), Some(500)), of(Some(1 << 19), Some(250)));
        let done = "from 256 MiB and 500m to 512 MiB and 250m of processors; 9.00 MiB of memory in use";
        assert!(told(one, two, two).ends_with(done), "{}", told(one, two, two));
        let stays = format!("{done}; its limit is 256 MiB and 500m of processors");
        assert!(told(one, two, one).ends_with(&stays), "{}", told(one, two, one));
        let unlimited = told(of(None, Some(500)), of(None, None), of(None, None));
        assert!(unlimited.contains("from 500m of processors to no limit"), "{unlimited}");
    }

    #[test]
    fn who_lost_a_channel_is_not_said_to_be_the_only_one_who_may_have_failed() {
        let said = |code: &str, message: &str| {
            note(&Note::Failure { start: StartId(7), code: code.into(), message: message.into() })
        };
        let channel = said("CHANNEL_LOST", "broken pipe");
        let end = "failed: CHANNEL_LOST: broken pipe; the process at its other end may have ended";
        assert!(channel.ends_with(end), "{channel}");
        assert!(said("APP_TIRED", "").ends_with("failed: APP_TIRED"));
    }

    #[test]
    fn what_was_carried_is_said_where_anything_was_and_that_it_is_not_known() {
        let said = |carried_bytes| what(&What::Concluded(Conclusion { carried_bytes, clients_known: true }));
        let clients = "every gateway has told all that its clients saw";
        assert_eq!(said(Some(0)), format!("concluded: {clients}"));
        assert_eq!(said(Some(2048)), format!("concluded: carried 2.00 KiB; {clients}"));
        assert!(said(None).contains("carried not known"));
    }
}
