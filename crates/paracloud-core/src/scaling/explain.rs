//! A record as people read it: 80 columns, the decision first, then why, then what it was made from.

mod leaving;
mod sizes;
mod there;

use super::policy::Work;
use super::record::{
    Action, Alternative, Bound, Cut, Figure, Input, Instead, Reasons, Record, Rule, Subject, WhyNot,
};
use super::unseen::says_its_work;
use crate::ids::InstanceNumber;
use crate::page::{Page, WIDTH, time};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// The longest name of an app.
const NAME_MAX: usize = 63;
/// The most inputs that are shown; those that were cut come first.
const INPUTS_MAX: usize = 24;

/// What was decided of the app of this name, and why. `until`: when a person's number is over, as a clock shows it.
#[must_use]
pub fn explain(record: &Record, app: &str, until: Option<&str>) -> String {
    let mut page = Page::default();
    let reasons = &record.reasons;
    let headline = headline(record);
    let app: String = app.chars().take(NAME_MAX).collect();
    let app = app.as_str();
    let is_long = app.chars().count() + 2 + headline.len() > WIDTH;
    let between = if is_long { "\n " } else { "" };
    let _ = writeln!(page.lines, "{app}:{between} {headline}");
    if reasons.rule == Rule::Unusable {
        let why =
            record.policy.check().err().map_or_else(|| "it is usable now".to_owned(), |why| why.to_string());
        page.say("policy", &why);
        return page.lines;
    }
    page.say("rule", &by(record, until));
    page.say("load", &load(record));
    page.say("needs", &needs(record));
    page.say("silent", &silent(record, app));
    page.say("has", &has(record));
    there::say(&mut page, reasons, app);
    let by = if reasons.rule == Rule::Manual { "a person's word" } else { "the rule" };
    let steps = format!(
        "{} by {by}, {} within limits, {} by this plan",
        reasons.raw, reasons.bounded, reasons.planned
    );
    page.say("instances", &steps);
    sizes::say(&mut page, reasons);
    for input in &reasons.inputs {
        page.say("announced", &announced(input, record, app));
    }
    for limit in &reasons.cuts {
        page.say("cut by", &cut(limit, record.policy.work));
    }
    if let Some((hold_ms, _)) = reasons.hold {
        page.say("hold", &format!("what was needed counts for {}", time(hold_ms)));
    }
    for action in &record.plan.actions {
        page.say("does", &does(action, app));
    }
    leaving::say(&mut page, record, app);
    for alternative in &reasons.alternatives {
        let label = format!("not {}", alternative.count);
        page.say(&label, &why_not(alternative, record));
    }
    list(&mut page, &reasons.inputs, app);
    page.lines
}

fn list(page: &mut Page, inputs: &[Input], app: &str) {
    if inputs.is_empty() {
        return;
    }
    let mut shown: Vec<&Input> = inputs.iter().collect();
    shown.sort_by_key(|input| input.bound.is_none());
    let hidden = shown.len().saturating_sub(INPUTS_MAX);
    page.lines.push_str("  known                         told      used       age  trust  because\n");
    for input in shown.into_iter().take(INPUTS_MAX) {
        let of = format!("{} {}", subject(&input.of, app), figure(input.figure));
        let told = input.told.map_or_else(|| "seen".to_owned(), |told| value(input.figure, told));
        let used = value(input.figure, input.used);
        let age = input.age_ms.map_or_else(|| "-".to_owned(), |age_ms| time(age_ms.into()));
        // What is over, or nearly, counts by its age, and not by whose word it is.
        let trust = input.trust_permille.filter(|_| input.bound != Some(Bound::Lease));
        let trust = trust.map_or_else(|| "-".to_owned(), |it| format!("{} %", it / 10));
        let of: String = of.chars().take(23).collect();
        let line = format!(
            "    {of:<23} {told:>9} {used:>9} {age:>9} {trust:>6}  {}",
            input.bound.map_or("", bound)
        );
        page.lines.push_str(line.trim_end());
        page.lines.push('\n');
    }
    if hidden > 0 {
        let _ = writeln!(page.lines, "    and {hidden} more, all used as they were told or seen");
    }
}

fn headline(record: &Record) -> String {
    let reasons = &record.reasons;
    match (reasons.count, reasons.planned) {
        (count, planned) if count == planned && record.plan.actions.is_empty() => format!("stays at {count}"),
        (count, planned) if count == planned => format!("stays at {count}, and something is done"),
        (count, planned) => format!("{count} -> {planned}"),
    }
}

fn instance(app: &str, number: InstanceNumber) -> String {
    format!("{app}{number}")
}

/// The rule; of a person's number how long it stands, and what there would be without it.
fn by(record: &Record, until: Option<&str>) -> String {
    let work = record.policy.work;
    let (Some(instead), Some(manual)) = (record.reasons.instead, record.observation.manual) else {
        return rule(record.reasons.rule, work).to_owned();
    };
    let left = time(manual.left_ms.into());
    let stands =
        until.map_or_else(|| format!("for {left} more"), |until| format!("until {until} (in {left})"));
    let Instead { rule: by, count } = instead;
    format!("a person set the number, {stands}; the rule would have {count}: {}", rule(by, work))
}

fn rule(rule: Rule, work: Work) -> &'static str {
    match rule {
        Rule::Unusable => "the policy cannot be used",
        Rule::Manual => "a person set the number",
        Rule::Blind => match work {
            Work::Requests => "nothing is told and nothing is measured: it stays as it is",
            Work::Queue => "nobody tells what it works on and what waits: it stays as it is",
        },
        Rule::Unknown => "nobody knows yet what an instance can do, and nothing waits",
        Rule::Idle => "nothing comes, and nobody was ever seen at work: the least",
        Rule::Waiting => "nobody knows yet what an instance can do, and requests wait: half as many again",
        Rule::Unsaturated => "no instance was ever saturated: no more than there are",
        Rule::Load => "enough for the requests that come",
        Rule::Queue => "enough to work off what waits",
        Rule::Announced => "enough for what is announced, as far as it is believed",
        Rule::Asked => "the app asked for more",
        Rule::Fixed => "the number stays, the size follows the load",
    }
}

fn load(record: &Record) -> String {
    let reasons = &record.reasons;
    if record.policy.work == Work::Queue {
        return "by the word of instances alone: requests that come do not count".to_owned();
    }
    let Some(rate) = reasons.rate else { return "not measured".to_owned() };
    let (short, long) = (per_second(rate.short_milli), per_second(rate.long_milli));
    let window = |periods: u64| match periods * u64::from(record.policy.period_ms) {
        ms if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms => time(ms),
    };
    let [short_for, long_for] = [window(super::load::SHORT_PERIODS), window(super::load::LONG_PERIODS)];
    let planned = per_second(reasons.planned_milli);
    format!("{short} over {short_for}, {long} over {long_for}; planned for {planned}")
}

fn needs(record: &Record) -> String {
    let need = record.reasons.need;
    if !record.reasons.knows_need() && need.total_milli() == 0 {
        return "not known".to_owned();
    }
    let [total, offered, spare, queue] =
        [need.total_milli(), need.offered_milli, need.spare_milli, need.queue_milli].map(thousandths);
    let load = match record.policy.work {
        Work::Requests => "the load",
        Work::Queue => "what is worked on",
    };
    format!("{total} slots: {offered} for {load}, {spare} for chance, {queue} for what waits")
}

/// What those are taken for that do not say what they work on. Nothing, if all say it, or nobody.
fn silent(record: &Record, app: &str) -> String {
    let Some(silent) = record.reasons.silent.filter(|_| record.reasons.rule != Rule::Blind) else {
        return String::new();
    };
    let ready = record.observation.ready();
    let who: Vec<_> = ready.filter(|(_, it)| !says_its_work(it)).map(|(number, _)| number).collect();
    let who = there::names(&who, app);
    let says =
        if silent.count == 1 { "does not say what it works on" } else { "do not say what they work on" };
    format!("{who} {says}: {} slots of the load, by what others say", thousandths(silent.milli))
}

fn has(record: &Record) -> String {
    let reasons = &record.reasons;
    let (serving, coming) = (thousandths(reasons.serving_milli), thousandths(reasons.coming_milli));
    let Some(unit) = reasons.unit else { return "what an instance can do is not known".to_owned() };
    let start = reasons.start.map_or_else(String::new, |start| {
        format!(" in {}, when one ordered now would be ready", time(start.boot_ms))
    });
    let slots = unit.slots;
    let plural = if slots == 1 { "slot" } else { "slots" };
    let does = match record.policy.work {
        Work::Requests => format!(" and does {}", per_second(unit.capacity_milli)),
        Work::Queue => String::new(),
    };
    format!("{serving} slots now, {coming}{start}; an instance has {slots} {plural}{does}")
}

/// What is known to come and is provided for later. Nothing of another input.
fn announced(input: &Input, record: &Record, app: &str) -> String {
    let (Some(Bound::Ahead(ahead_ms)), Some(told), Some(start)) =
        (input.bound, input.told, record.reasons.start)
    else {
        return String::new();
    };
    let (id, rate) = (subject(&input.of, app), value(input.figure, told));
    let before = time(start.boot_ms + start.warm_ms + u64::from(record.policy.period_ms));
    format!("{id} begins in {} with {rate}: not counted until {before} before", time(ahead_ms))
}

fn cut(cut: &Cut, work: Work) -> String {
    match cut {
        Cut::Hold(peak) => {
            format!("hold: {} were needed, which counts for {} more", peak.need, time(peak.left_ms))
        }
        Cut::Blind => match work {
            Work::Requests => "nothing is told and nothing is measured: nothing leaves".to_owned(),
            Work::Queue => "nobody tells what it works on and what waits: nothing leaves".to_owned(),
        },
        Cut::Silent(1) => "one does not say what it works on: nothing leaves".to_owned(),
        Cut::Silent(count) => format!("{count} do not say what they work on: nothing leaves"),
        Cut::Claim(most) => {
            format!("what they can do is only claimed so far: {most} at most")
        }
        Cut::Unsaturated => "no instance was ever saturated: only what waits adds any".to_owned(),
        Cut::Backlog => "what waits adds as much again at once, no more".to_owned(),
        Cut::Quarter(asked) => format!("the app asks for {asked}: a quarter comes at once"),
        Cut::Untested(fewest) => {
            format!("what an instance can do was never tested: no fewer than {fewest} at once")
        }
        Cut::Min(min) => format!("the least: {min}"),
        Cut::Max { max, leaving: 0 } => format!("the most: {max}"),
        Cut::Max { max, leaving } => format!("the most: {max}, of which {leaving} are leaving"),
        Cut::Flap { spent, actions } => {
            format!("flap budget: {spent} of {actions} starts and stops are spent")
        }
        Cut::FlapStops { spent, actions } => {
            format!("flap budget: {spent} starts and stops are spent, and stops may use {actions} of it")
        }
        Cut::Quotes => "candidates are asked what losing them costs".to_owned(),
        Cut::NoVictim => "no more can go".to_owned(),
        Cut::Leaving(0) => "at most a quarter leaves at once".to_owned(),
        Cut::Leaving(leaving) => format!("{leaving} are leaving already; at most a quarter does at once"),
        Cut::Retiring(count) => format!("{count} asked to go: another one comes first"),
        Cut::Start(start) => format!("at first: {start}"),
        Cut::Serving => "without them too little would serve now".to_owned(),
    }
}

fn does(action: &Action, app: &str) -> String {
    match action {
        Action::Revoke(number) => format!("calls {} back", instance(app, *number)),
        Action::Start(count) => format!("starts {count}"),
        Action::AskQuotes(of) => {
            let names: Vec<String> = of.iter().map(|number| instance(app, *number)).collect();
            format!("asks what losing it costs: {}", names.join(", "))
        }
        Action::Leave(number) => format!("lets {} drain and go", instance(app, *number)),
        Action::Resize { instance: number, cpu_m } => {
            let size = sizes::processors(u64::from(*cpu_m));
            format!("proposes {size} processors to {}", instance(app, *number))
        }
    }
}

fn why_not(alternative: &Alternative, record: &Record) -> String {
    let need = thousandths(record.reasons.need.total_milli());
    let slots = alternative.slots_milli.map(thousandths);
    match (alternative.why_not, slots) {
        (WhyNot::TooFew, Some(slots)) => format!("too few: {slots} slots of the {need} it takes"),
        (WhyNot::NotNeeded, Some(_)) if is_short(&record.reasons) => {
            format!("not needed: a tenth of the {need} slots that it takes may be missing")
        }
        (WhyNot::NotNeeded, Some(_)) => format!("not needed: it takes {need} slots"),
        (WhyNot::Manual, _) => "a person set another number".to_owned(),
        (WhyNot::Cut(limit), _) => cut(&limit, record.policy.work),
        (WhyNot::Rule, _) => by_rule(&record.reasons),
        (WhyNot::TooFew | WhyNot::NotNeeded | WhyNot::Unknown, _) => {
            "not known whether it would do".to_owned()
        }
    }
}

/// What the rule takes, and what it does not know for taking less or more.
fn by_rule(reasons: &Reasons) -> String {
    let raw = reasons.raw;
    match reasons.rule {
        Rule::Asked => format!("the rule takes {raw}: the app asked for more"),
        Rule::Fixed => format!("the number stays at {raw}"),
        Rule::Idle => format!("the rule takes {raw}: nobody knows what one can do, and nothing comes"),
        Rule::Waiting => format!("the rule takes {raw}: nobody knows what one can do, and some wait"),
        Rule::Load | Rule::Queue | Rule::Announced if reasons.unit.is_none() => {
            format!("the rule takes {raw}: nobody knows what one can do")
        }
        Rule::Unusable
        | Rule::Manual
        | Rule::Blind
        | Rule::Unknown
        | Rule::Unsaturated
        | Rule::Load
        | Rule::Queue
        | Rule::Announced => format!("the rule takes {raw}"),
    }
}

/// Whether what is planned is less than it takes.
fn is_short(reasons: &Reasons) -> bool {
    reasons.there_milli().is_some_and(|there_milli| there_milli < reasons.need.total_milli())
}

fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Lease => "its lease",
        Bound::Measured => "seen",
        Bound::Done => "more done",
        Bound::Fleet => "others",
        Bound::Little => "Little's law",
        Bound::GatewaysSeeMore => "more seen",
        Bound::GatewaysSeeLess => "less seen",
        Bound::Load => "the load",
        Bound::Doubling => "doubling",
        Bound::Grade => "grade",
        Bound::Confidence => "confidence",
        Bound::Ahead(_) => "not yet",
        Bound::NoLoad => "not its load",
        Bound::NotShown => "no show",
        Bound::TooMany => "too many",
        Bound::Quarter => "a quarter",
        Bound::Bounds => "bounds",
    }
}

fn subject(subject: &Subject, app: &str) -> String {
    match subject {
        Subject::Instance(number) => {
            let number = number.to_string();
            let kept = 13_usize.saturating_sub(number.len());
            app.chars().take(kept).collect::<String>() + &number
        }
        Subject::App => "app".to_owned(),
        Subject::Gateways => "gateways".to_owned(),
        Subject::Person => "person".to_owned(),
        Subject::Announcement(id) => {
            id.chars().map(|it| if it.is_control() { '?' } else { it }).take(13).collect()
        }
    }
}

fn figure(figure: Figure) -> &'static str {
    match figure {
        Figure::Capacity => "capacity",
        Figure::Slots => "slots",
        Figure::Backlog => "backlog",
        Figure::Boot => "start",
        Figure::Rate => "rate",
        Figure::Waiting => "waiting",
        Figure::Announced => "announced",
        Figure::Asked => "asks for",
        Figure::Manual => "set",
    }
}

fn value(figure: Figure, value: u64) -> String {
    match figure {
        Figure::Capacity | Figure::Rate | Figure::Announced => per_second(value),
        Figure::Backlog | Figure::Boot => time(value),
        Figure::Slots | Figure::Waiting | Figure::Asked | Figure::Manual => value.to_string(),
    }
}

/// Thousandths with one digit behind the point.
fn thousandths(milli: u64) -> String {
    if milli < 1_000_000 {
        format!("{}.{}", milli / 1_000, milli % 1_000 / 100)
    } else {
        large(milli / 1_000)
    }
}

fn large(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{}k", count / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        10_000_000_000.. => "10000M+".to_owned(),
    }
}

fn per_second(milli: u64) -> String {
    format!("{}/s", thousandths(milli))
}
