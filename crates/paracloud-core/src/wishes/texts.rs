//! A decision about an ask as people, and the application, read it.

use super::{Record, Refusal, Resource, Sight, Verdict, Wait, Wish};
use crate::page::counted;
use crate::register::Size;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Wish {
    /// What is asked for, behind `asks`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Move => "to be moved to another node".to_string(),
            Self::Size(size) => format!("for another size ({})", sized(*size)),
            Self::Replicas(count) => format!("for {} of its app", counted((*count).into(), "instance")),
            Self::Retire => "to be drained and ended".to_string(),
        }
    }
}

impl Verdict {
    /// What became of it, and why.
    #[must_use]
    pub fn text(&self) -> String {
        let became = match self {
            Self::Grant | Self::Underway | Self::Done => "granted",
            Self::Taken | Self::Waits(_) => "pending",
            Self::Refused(_) => "refused",
        };
        format!("{became}: {}", self.why())
    }

    /// Why, or what is done: the application is told the rest beside it.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Grant | Self::Underway => "it is being carried out".to_string(),
            Self::Done => "it is done".to_string(),
            Self::Taken => "it counts when the number of instances is decided next".to_string(),
            Self::Waits(wait) => waits(wait),
            Self::Refused(refusal) => refused(refusal),
        }
    }
}

fn waits(wait: &Wait) -> String {
    match wait {
        Wait::Starts => "it does not serve yet".to_string(),
        Wait::InOperation => "an operation of it is open".to_string(),
        Wait::Unknown => "nothing can be decided about it yet".to_string(),
        Wait::NoNode => "no other node is there that takes it".to_string(),
        Wait::Budget(left_ms) => {
            let left_s = left_ms.div_ceil(1_000);
            format!("as many of its asks were carried out as may be, for another {left_s} s")
        }
        Wait::NotBegun(why) => why.clone(),
    }
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotScaled => "its app has one instance: its manifest has no scale".to_string(),
        Refusal::NotCounted => "its manifest says scale.reports: ignored".to_string(),
        Refusal::FollowsLoad => "its processors follow the load: its manifest says scale.shape".to_string(),
        Refusal::Unlimited(resource) => {
            let field = field(*resource);
            format!("its manifest has no resources.{field}, so there is no limit to change")
        }
        Refusal::TooSmall(resource, least) => {
            let (field, least) = (field(*resource), amount(*resource, *least));
            format!("it may not have less than {least}: resources.resizeMin.{field}")
        }
        Refusal::TooLarge(resource, most) => {
            let (field, most) = (field(*resource), amount(*resource, *most));
            format!("it may not have more than {most}: resources.resizeMax.{field}")
        }
        Refusal::Tried(why) => why.clone(),
    }
}

const fn field(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "memory",
        Resource::Cpu => "cpu",
    }
}

fn amount(resource: Resource, amount: u32) -> String {
    match resource {
        Resource::Memory => format!("{amount} KiB"),
        Resource::Cpu => format!("{amount}m"),
    }
}

fn sized(size: Size) -> String {
    let memory = size.memory_kib.map(|kib| format!("memory {}", amount(Resource::Memory, kib)));
    let cpu = size.cpu_milli.map(|milli| format!("cpu {}", amount(Resource::Cpu, milli)));
    memory.into_iter().chain(cpu).collect::<Vec<_>>().join(", ")
}

/// What was asked for and what became of it, in a line.
#[must_use]
pub fn explain(record: &Record) -> String {
    let Sight { wish, reason, .. } = &record.sight;
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{} asks {}{why}: {}", record.instance, wish.text(), record.verdict.text())
}
