//! Another size for an instance, by a person's word, within what the manifest allows.

use crate::asks;
use crate::control::Control;
use crate::orders::{By, Order};
use crate::person::{ASK_MS, has_left, refused, rejection, unknown_instance};
use paci::answer::Answer;
use paci::size::Resize;
use paci::upcall::Reason;
use paracloud_core::ids::OperationNumber;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::register::Size;
use paracloud_substrate::config::{self, App};
use paracloud_substrate::message::Question;
use paracloud_substrate::person::Refused;

/// The least share of a processor that a system enforces, in thousandths.
const CPU_MILLI_MIN: u32 = paracloud_substrate::cgroup::CPU_MILLI_MIN;

/// What a person wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) instance: String,
    /// Memory in KiB; `None`: as it is.
    pub(crate) memory_kib: Option<u32>,
    /// Processors in thousandths; `None`: as they are.
    pub(crate) cpu_milli: Option<u32>,
    /// It is given up after so long, in milliseconds.
    pub(crate) budget_ms: Option<u32>,
}

/// Opens the change that the application asked for, whose bounds were held against the manifest already.
///
/// # Errors
/// It cannot be changed now.
pub(crate) async fn asked(
    control: &Control,
    name: &str,
    to: Size,
    by: &By,
) -> Result<OperationNumber, Refused> {
    control.resize(name, to, by).await.map_err(|rejected| rejection(control, name, rejected))
}

/// The least and the most that an instance of an app may have.
pub(crate) fn bounds(app: &App) -> (Size, Size) {
    let (least, most) = (registered(app.resources.least), registered(app.resources.most));
    let cpu_milli = least.cpu_milli.map(|least| least.max(CPU_MILLI_MIN));
    (Size { cpu_milli, ..least }, most)
}

/// Opens the change, and says its number.
///
/// # Errors
/// There is no such instance, the manifest does not allow the size, or it cannot be changed now.
pub(crate) async fn begin(control: &Control, wanted: &Wanted) -> Result<OperationNumber, Refused> {
    let name = wanted.instance.as_str();
    let order =
        Order { budget_ms: wanted.budget_ms, ..Order::of_person(Command::Resize(to(control, wanted)?)) };
    control.order(name, order).await.map_err(|rejected| rejection(control, name, rejected))
}

/// Asks its application whether it would do with that size, and changes nothing.
///
/// # Errors
/// As [`begin`], or it does not answer.
pub(crate) async fn rehearse(control: &Control, wanted: &Wanted) -> Result<Answer, Refused> {
    to(control, wanted)?;
    let Wanted { memory_kib, cpu_milli, .. } = *wanted;
    let size = Resize { memory_kib, cpu_millis: cpu_milli, ..Resize::default() };
    asks::ask(control, &wanted.instance, Question::Resize(size), Reason::Person, ASK_MS).await
}

/// The size that it would have, if the manifest allows that.
fn to(control: &Control, wanted: &Wanted) -> Result<Size, Refused> {
    let name = wanted.instance.as_str();
    let unknown = || unknown_instance(control, name);
    let cloud = control.cloud();
    let app = cloud.app_of(name).ok_or_else(unknown)?;
    let record = control.views.of(name).and_then(|view| view.record).ok_or_else(unknown)?;
    if record.gone {
        return Err(has_left(control, name));
    }
    let resources = app.resources;
    let now = record.size.unwrap_or_else(|| registered(resources.start));
    let to = Size {
        memory_kib: wanted.memory_kib.or(now.memory_kib),
        cpu_milli: wanted.cpu_milli.or(now.cpu_milli),
    };
    if to == now {
        let message = format!("{name} has that size already");
        return Err(refused("same_size", message, "`paracloud ps` shows what runs"));
    }
    let (least, most) = bounds(app);
    allowed(name, "memory", wanted.memory_kib, (least.memory_kib, most.memory_kib))?;
    allowed(name, "cpu", wanted.cpu_milli, (least.cpu_milli, most.cpu_milli))?;
    Ok(to)
}

/// Whether the manifest allows so much of it. What it does not limit has no bounds, and is not changed.
fn allowed(
    name: &str,
    what: &str,
    to: Option<u32>,
    bounds: (Option<u32>, Option<u32>),
) -> Result<(), Refused> {
    let shown = |amount: u32| match what {
        "cpu" => format!("{amount}m"),
        // As exact as the manifest has it.
        _ if amount.is_multiple_of(1 << 10) => format!("{} MiB", amount >> 10),
        _ => format!("{amount} KiB"),
    };
    let Some(to) = to else { return Ok(()) };
    let (message, field) = match bounds {
        (Some(least), Some(_)) if to < least => {
            (format!("{name}: {what} may not be less than {}", shown(least)), "resizeMin")
        }
        (Some(_), Some(most)) if to > most => {
            (format!("{name}: {what} may not be more than {}", shown(most)), "resizeMax")
        }
        (Some(_), Some(_)) => return Ok(()),
        (None, _) | (_, None) => {
            (format!("{name}: its manifest has no resources.{what}, so there is no limit to change"), what)
        }
    };
    let next = format!("set resources.{field} in its manifest, and apply it");
    Err(refused("out_of_bounds", message, next))
}

/// A size of the manifest, as the register has it.
pub(crate) fn registered(size: config::Size) -> Size {
    let kib = |bytes: u64| u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
    Size { memory_kib: size.memory_bytes.map(kib), cpu_milli: size.cpu_milli }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_beyond_what_the_manifest_allows_is_refused_with_the_bound() {
        let of =
            |to, least, most| allowed("web", "memory", to, (least, most)).map_err(|refused| refused.message);
        assert_eq!(of(Some(64), Some(64), Some(64)), Ok(()));
        assert!(of(Some(1), Some(1 << 20), Some(1 << 21)).unwrap_err().ends_with("less than 1024 MiB"));
        assert_eq!(of(None, Some(2), Some(3)), Ok(()), "it does not change");
        assert_eq!(of(None, None, None), Ok(()), "nor here");
        assert_eq!(of(Some(63), Some(64), Some(64)).unwrap_err(), "web: memory may not be less than 64 KiB");
        assert_eq!(of(Some(65), Some(64), Some(64)).unwrap_err(), "web: memory may not be more than 64 KiB");
    }

    #[test]
    fn nobody_is_given_less_of_a_processor_than_a_system_enforces() {
        let mut app = App::new("web", vec!["web".to_owned()]);
        for (least, expected) in [(Some(1), Some(CPU_MILLI_MIN)), (Some(400), Some(400)), (None, None)] {
            app.resources.least.cpu_milli = least;
            assert_eq!(bounds(&app).0.cpu_milli, expected);
        }
    }

    #[test]
    fn what_the_manifest_does_not_limit_is_not_changed_by_a_person() {
        let refused = allowed("web", "cpu", Some(500), (None, None)).unwrap_err();
        let why = "web: its manifest has no resources.cpu, so there is no limit to change";
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("out_of_bounds", why));
        assert_eq!(refused.next, "set resources.cpu in its manifest, and apply it");
    }
}
