//! `scale`, `resources` and `session` of an app.

use super::Problem;
use super::field::{Field, Fields};
use super::node::quoted;
use paracloud_substrate::config::{Flap, Reports, Resources, Scale, Session, Shape, Size, Sticky, Work};
use paracloud_substrate::names::INSTANCES_PER_APP_MAX;

pub(super) const SCALE: &[&str] = &[
    "min",
    "max",
    "start",
    "period",
    "hold",
    "target",
    "flap",
    "drain",
    "manualHold",
    "shape",
    "reports",
    "work",
];
pub(super) const RESOURCES: &[&str] = &["memory", "cpu", "resizeMin", "resizeMax"];
pub(super) const SESSION: &[&str] = &["cookie", "header", "idle"];
pub(super) const SIZE: &[&str] = &["memory", "cpu"];
pub(super) const FLAP: &[&str] = &["actions", "per"];

const PERIOD_MS_MAX: u32 = 60_000;
const HOLD_MS_MAX: u32 = 24 * 3_600_000;
const FLAP_ACTIONS_MAX: u32 = 10_000;
const DRAIN_MS_MAX: u32 = 3_600_000;
const MANUAL_HOLD_MS_MAX: u32 = 7 * 24 * 3_600_000;
/// The least memory that a program can begin in, and the most that one may have, in bytes.
const MEMORY_BYTES: (u64, u64) = (1 << 20, 1 << 44);
/// The least and the most of processor time, in thousandths of a processor.
const CPU_MILLI: (u32, u32) = (10, 1_024_000);
const SESSION_IDLE_MS: u32 = 1_800_000;
const SESSION_IDLE_MS_MAX: u32 = 7 * 24 * 3_600_000;
const NAME_BYTES_MAX: usize = 64;

pub(super) fn scale(field: &Field<'_>) -> Result<Scale, Problem> {
    let fields = field.fields(SCALE)?;
    let default = Scale::default();
    let most = INSTANCES_PER_APP_MAX;
    let count = |name: &str, default| fields.get(name).map_or(Ok(default), |it| it.count(1, most));
    let min = count("min", default.min)?;
    let max_field = fields.require("max")?;
    let max = max_field.count(1, most)?;
    if max < min {
        return Err(max_field.problem(format!("max ({max}) must not be less than min ({min})")));
    }
    let start = count("start", min)?;
    if !(min..=max).contains(&start) {
        let at = fields.get("start");
        let what = format!("start ({start}) must be from min ({min}) to max ({max})");
        return Err(at.as_ref().unwrap_or(field).problem(what));
    }
    let reports = [("used", Reports::Used), ("ignored", Reports::Ignored)];
    let reports = fields.get("reports").map_or(Ok(default.reports), |it| it.one_of(&reports))?;
    let shapes = [("out", Shape::Out), ("up", Shape::Up), ("both", Shape::Both)];
    Ok(Scale {
        min,
        max,
        start,
        period_ms: fields.millis("period", default.period_ms, PERIOD_MS_MAX)?,
        hold_ms: fields.get("hold").map(|hold| hold.millis(HOLD_MS_MAX)).transpose()?,
        target_permille: fields
            .get("target")
            .map_or(Ok(default.target_permille), |target| target.permille())?,
        flap: flap(fields.get("flap").as_ref(), max)?,
        drain_ms: fields.millis("drain", default.drain_ms, DRAIN_MS_MAX)?,
        manual_hold_ms: fields.millis("manualHold", default.manual_hold_ms, MANUAL_HOLD_MS_MAX)?,
        shape: fields.get("shape").map_or(Ok(default.shape), |shape| shape.one_of(&shapes))?,
        reports,
        work: fields.get("work").map_or(Ok(default.work), |work| self::work(&work, reports))?,
    })
}

/// A queue is known by what instances say of it, and by nothing else.
fn work(field: &Field<'_>, reports: Reports) -> Result<Work, Problem> {
    let work = field.one_of(&[("requests", Work::Requests), ("queue", Work::Queue)])?;
    match (work, reports) {
        (Work::Queue, Reports::Ignored) => {
            Err(field.problem("queue is known only by what instances report: leave `reports: ignored` out"))
        }
        (Work::Requests, _) | (Work::Queue, Reports::Used) => Ok(work),
    }
}

/// Without a word it follows how many there may be: all of them can be started, ended, and started once more.
fn flap(field: Option<&Field<'_>>, max: u32) -> Result<Flap, Problem> {
    let default = Scale::default().flap;
    let default = Flap { actions: max.saturating_mul(3).max(default.actions), ..default };
    let Some(field) = field else { return Ok(default) };
    let fields = field.fields(FLAP)?;
    Ok(Flap {
        actions: fields
            .get("actions")
            .map_or(Ok(default.actions), |actions| actions.count(1, FLAP_ACTIONS_MAX))?,
        per_ms: fields.millis("per", default.per_ms, HOLD_MS_MAX)?,
    })
}

pub(super) fn resources(field: &Field<'_>) -> Result<Resources, Problem> {
    let fields = field.fields(RESOURCES)?;
    let start = size(&fields)?;
    let bound = |name: &str| {
        let Some(field) = fields.get(name) else { return Ok((start, None)) };
        let own = size(&field.fields(SIZE)?)?;
        for (what, has, bounded) in [
            ("memory", start.memory_bytes.is_some(), own.memory_bytes.is_some()),
            ("cpu", start.cpu_milli.is_some(), own.cpu_milli.is_some()),
        ] {
            if bounded && !has {
                let what = format!("bounds {what}, which has no limit at the start: give resources.{what}");
                return Err(field.problem(what));
            }
        }
        let filled = Size {
            memory_bytes: own.memory_bytes.or(start.memory_bytes),
            cpu_milli: own.cpu_milli.or(start.cpu_milli),
        };
        Ok((filled, Some(field)))
    };
    let ((least, at_least), (most, at_most)) = (bound("resizeMin")?, bound("resizeMax")?);
    if let Some(at) = at_least.filter(|_| !fits(least, start)) {
        return Err(at.problem("must not be more than the limits at the start"));
    }
    if let Some(at) = at_most.filter(|_| !fits(start, most)) {
        return Err(at.problem("must not be less than the limits at the start"));
    }
    Ok(Resources { start, least, most })
}

fn size(fields: &Fields<'_>) -> Result<Size, Problem> {
    let memory = fields.get("memory").map(|memory| memory.memory(MEMORY_BYTES)).transpose()?;
    let cpu = fields.get("cpu").map(|cpu| cpu.cpu(CPU_MILLI)).transpose()?;
    Ok(Size { memory_bytes: memory, cpu_milli: cpu })
}

/// Whether one size is nowhere more than another.
fn fits(small: Size, large: Size) -> bool {
    small.memory_bytes <= large.memory_bytes && small.cpu_milli <= large.cpu_milli
}

/// Headers that say how a message is read, who it is for and what it is: no session is told by them.
const NOT_OF_SESSIONS: [&str; 22] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "endpoint-load-metrics",
    "endpoint-load-metrics-bin",
    "expect",
    "host",
    "keep-alive",
    "location",
    "paci-not-applied",
    "paci-outcome",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn session(field: &Field<'_>) -> Result<Session, Problem> {
    let fields = field.fields(SESSION)?;
    let sticky = match (fields.get("cookie"), fields.get("header")) {
        (Some(cookie), None) => Sticky::Cookie(token(&cookie)?.to_owned()),
        (None, Some(header)) => {
            let name = token(&header)?.to_ascii_lowercase();
            if NOT_OF_SESSIONS.contains(&name.as_str()) {
                let what = format!(
                    "{} has a meaning of its own in HTTP: wants another one, such as Session-Id",
                    quoted(&name)
                );
                return Err(header.problem(what));
            }
            Sticky::Header(name)
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(field.problem("wants one of {cookie: NAME} and {header: NAME}"));
        }
    };
    Ok(Session { sticky, idle_ms: fields.millis("idle", SESSION_IDLE_MS, SESSION_IDLE_MS_MAX)? })
}

/// A name as HTTP allows it for headers and cookies.
fn token<'a>(field: &Field<'a>) -> Result<&'a str, Problem> {
    let name = field.text()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let what = format!(
            "wants 1 to {NAME_BYTES_MAX} letters, digits and hyphens, such as sid, got {}",
            quoted(name)
        );
        return Err(field.problem(what));
    }
    Ok(name)
}
