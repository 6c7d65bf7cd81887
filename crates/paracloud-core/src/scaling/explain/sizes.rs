//! How large those that serve were to be, and what kept them from it.

use super::super::record::{Reasons, SizeCut, Sizing};
use super::time;
use crate::page::Page;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

/// Nothing, where sizes stay as they are.
pub(super) fn say(page: &mut Page, reasons: &Reasons) {
    let Some(sizing) = &reasons.sizing else { return };
    page.say("size", &steps(sizing));
    for cut in &sizing.cuts {
        page.say("size cut", &why(cut));
    }
}

fn steps(sizing: &Sizing) -> String {
    let Sizing { mean_cpu_m, used_cpu_m, by_load_m, by_use_m, wanted_cpu_m, cuts: _ } = sizing;
    let uses = used_cpu_m.map_or_else(String::new, |used| format!(" and uses {}", processors(used)));
    let by = |what: &str, cpu_m: &Option<u64>| {
        cpu_m.map_or_else(String::new, |cpu_m| format!("; {} by {what}", processors(cpu_m)))
    };
    let within = match (wanted_cpu_m, by_load_m, by_use_m) {
        (Some(wanted), ..) => format!("; {} within limits", processors(*wanted)),
        (None, None, None) => "; nobody knows what they can do: it stays".to_owned(),
        (None, ..) => "; it stays".to_owned(),
    };
    let (load, used) = (by("the load", by_load_m), by("what is used", by_use_m));
    format!("each has {} processors{uses}{load}{used}{within}", processors(*mean_cpu_m))
}

fn why(cut: &SizeCut) -> String {
    match cut {
        SizeCut::Min(cpu_m) => format!("the least: {}", processors(u64::from(*cpu_m))),
        SizeCut::Max(cpu_m) => format!("the most: {}", processors(u64::from(*cpu_m))),
        SizeCut::Hold(peak) => {
            let (need, left) = (processors(u64::from(peak.need)), time(peak.left_ms));
            format!("hold: {need} were needed, which counts for {left} more")
        }
        SizeCut::Changing => "one starts or leaves: nothing becomes smaller meanwhile".to_owned(),
        SizeCut::Grew => "one has become larger: nothing becomes smaller so soon after it".to_owned(),
        SizeCut::Silent => "not all say what they work on: nothing becomes smaller".to_owned(),
        SizeCut::Rests => "it did not take another size of late: it is not asked for one yet".to_owned(),
        SizeCut::Step => {
            "nobody is asked: it is less than a tenth, or none of them may be asked for it now".to_owned()
        }
    }
}

/// As a decision names them.
pub(super) fn processors(cpu_m: u64) -> String {
    format!("{}.{:03}", cpu_m / 1_000, cpu_m % 1_000)
}
