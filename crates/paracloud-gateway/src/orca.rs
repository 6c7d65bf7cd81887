//! Load that an application reports with its replies, in the form that Envoy and gRPC read too: ORCA.
//!
//! A report is read from a reply's head or trailers: as `endpoint-load-metrics` in its native form
//! (`TEXT cpu_utilization:0.3,named_metrics.queue:4`, also without the word) or as `JSON {…}`, as `endpoint-load-metrics-bin`
//! or `BIN …` as the message itself in base64. More than one of them, a number that is none or negative, and a name that
//! stands twice are refused whole: who says two things has said nothing.

mod form;
mod proto;

use form::{json, text};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The header of a report in words.
pub(crate) const METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// And of one in base64.
pub(crate) const METRICS_BIN: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");
/// Longest report, in bytes.
pub const ORCA_BYTES_MAX: usize = 4 << 10;
/// Most names in a report that are not ORCA's own.
pub const ORCA_NAMES_MAX: usize = 32;
/// Longest such name, in bytes.
pub const ORCA_NAME_BYTES_MAX: usize = 128;
/// The largest number in a report.
pub const ORCA_VALUE_MAX: f64 = 1e12;

/// What an application said of its load. Absent means unknown, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Of the processors that it may use, in thousandths; may exceed 1,000.
    pub cpu_permille: Option<u64>,
    /// Of the memory that it may use, in thousandths.
    pub memory_permille: Option<u64>,
    /// Of what it can do, in thousandths, as it counts itself; may exceed 1,000.
    pub application_permille: Option<u64>,
    /// Requests a second, in thousandths.
    pub rps_milli: Option<u64>,
    /// Errors a second, in thousandths.
    pub eps_milli: Option<u64>,
    /// What else it said, in thousandths, by the name that a policy of Envoy would have for it: `named_metrics.queue`,
    /// `utilization.disk`, `request_cost.rows`.
    pub others: BTreeMap<String, u64>,
}

/// Why a report is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is there in more than one form, or more than once.
    #[error("a report stands there once, in one form")]
    Twice,
    /// It is too long.
    #[error("a report has at most {ORCA_BYTES_MAX} bytes")]
    Long,
    /// It is not what it says it is.
    #[error("this is no report: {0}")]
    Form(&'static str),
    /// A number is none, or negative, or too large.
    #[error("{0}: wants a number from 0 to {ORCA_VALUE_MAX}")]
    Value(String),
    /// A name stands twice.
    #[error("{0}: stands twice")]
    Name(String),
    /// There are too many names, or one is too long.
    #[error("a report has at most {ORCA_NAMES_MAX} names of its own, of at most {ORCA_NAME_BYTES_MAX} bytes")]
    Names,
}

/// Reads the report of a head or of trailers; `None` if there is none.
///
/// # Errors
/// There is one that is not taken.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Load>, Refused> {
    let (words, binary) = (headers.get_all(METRICS), headers.get_all(METRICS_BIN));
    let mut all = words.iter().map(|value| (value, false)).chain(binary.iter().map(|value| (value, true)));
    let Some((value, is_binary)) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Refused::Twice);
    }
    if value.len() > ORCA_BYTES_MAX {
        return Err(Refused::Long);
    }
    let value = value.to_str().map_err(|_| Refused::Form("not in ASCII"))?;
    let load = if is_binary {
        proto::read(value)
    } else if let Some(value) = value.strip_prefix("JSON ") {
        json(value)
    } else if let Some(value) = value.strip_prefix("BIN ") {
        proto::read(value)
    } else {
        text(value.strip_prefix("TEXT ").unwrap_or(value))
    }?;
    Ok(Some(load))
}

/// Whether there is a report, whatever is in it.
pub(crate) fn is_there(headers: &HeaderMap) -> bool {
    headers.contains_key(METRICS) || headers.contains_key(METRICS_BIN)
}

impl Load {
    /// In ORCA's native form. A name that cannot be said in it is left out.
    pub(crate) fn text(&self) -> Option<HeaderValue> {
        let mut text = String::from("TEXT ");
        let own = [
            ("cpu_utilization", self.cpu_permille),
            ("mem_utilization", self.memory_permille),
            ("application_utilization", self.application_permille),
            ("rps_fractional", self.rps_milli),
            ("eps", self.eps_milli),
        ];
        let can_be_said = |name: &str| {
            name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-'))
        };
        let others = self.others.iter().filter(|(name, _)| can_be_said(name));
        let others = others.map(|(name, value)| (name.as_str(), Some(*value)));
        let mut between = "";
        for (name, value) in own.into_iter().chain(others) {
            if let Some(value) = value {
                let _ = write!(text, "{between}{name}:{}.{:03}", value / 1_000, value % 1_000);
                between = ",";
            }
        }
        if between.is_empty() { None } else { HeaderValue::try_from(text).ok() }
    }

    /// As the message itself, in base64.
    pub(crate) fn message(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(proto::write(self)).ok()
    }

    /// Takes a figure up. `None`: what is not known is ignored, so that a newer form can say more.
    fn take(&mut self, name: &str, value: f64) -> Result<(), Refused> {
        let place = match name {
            "cpu_utilization" => &mut self.cpu_permille,
            "mem_utilization" => &mut self.memory_permille,
            "application_utilization" => &mut self.application_permille,
            "rps_fractional" => &mut self.rps_milli,
            "eps" => &mut self.eps_milli,
            name => return self.take_other(name, value),
        };
        let before = place.replace(thousandths(name, value)?);
        if before.is_some() { Err(Refused::Name(name.to_owned())) } else { Ok(()) }
    }

    fn take_other(&mut self, name: &str, value: f64) -> Result<(), Refused> {
        let is_known = ["named_metrics.", "utilization.", "request_cost."]
            .iter()
            .any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
        if !is_known {
            return Ok(());
        }
        let value = thousandths(name, value)?;
        if self.others.len() >= ORCA_NAMES_MAX || name.len() > ORCA_NAME_BYTES_MAX {
            return Err(Refused::Names);
        }
        let before = self.others.insert(name.to_owned(), value);
        if before.is_some() { Err(Refused::Name(name.to_owned())) } else { Ok(()) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to a number far below the largest"
)]
fn thousandths(name: &str, value: f64) -> Result<u64, Refused> {
    if (0.0..=ORCA_VALUE_MAX).contains(&value) {
        Ok((value * 1_000.0).round() as u64)
    } else {
        Err(Refused::Value(name.chars().take(ORCA_NAME_BYTES_MAX).collect()))
    }
}

#[cfg(test)]
mod tests;
