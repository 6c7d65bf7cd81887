//! The environment: where to listen, how fast to work, when to pause.
//!
//! In a cloud every instance of an app has the same environment. So a variable may stand twice: `SPEED_PERMILLE_3` is for
//! the instance of number 3 (`worker.3`), and `SPEED_PERMILLE` for all the others.

use crate::pace::FULL_PERMILLE;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Most slots.
pub const SLOTS_MAX: u32 = 10_000;
/// Most jobs that wait.
pub const QUEUE_MAX: u32 = 1_000_000;
/// Longest time, in milliseconds: an hour.
const MS_MAX: u32 = 3_600_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub address: SocketAddr,
    /// The name of this instance; `worker` without a cloud.
    pub name: String,
    /// Jobs that are worked on at a time.
    pub slots: u32,
    /// Jobs that may wait.
    pub queue_max: usize,
    /// Thousandths of full speed.
    pub speed_permille: u32,
    /// How long it takes until it listens.
    pub boot: Duration,
    /// How long it takes to get warm.
    pub warmup: Duration,
    /// What of its speed it has until then, in thousandths.
    pub cold_permille: u32,
    /// Memory that a slot is, in KiB: so many slots fit into a size.
    pub slot_kib: u32,
    /// What of a processor a slot is, in thousandths.
    pub slot_cpu_millis: u32,
    /// When it pauses, if it does.
    pub pauses: Option<Pauses>,
}

/// Pauses as those of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// From the beginning of one to that of the next.
    pub every: Duration,
    /// How long each is.
    pub length: Duration,
    /// How long before its beginning it is announced.
    pub notice: Duration,
}

/// A variable that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: want {want}")]
pub struct SettingsError {
    name: String,
    value: OsString,
    want: String,
}

impl Settings {
    /// Reads the variables through a lookup. An empty one counts as absent.
    ///
    /// # Errors
    /// A variable cannot be understood.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let there = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let name = there("PACI_INSTANCE").and_then(|name| name.into_string().ok());
        let name = name.unwrap_or_else(|| "worker".to_owned());
        let number = name.rsplit_once('.').map(|(_, number)| number.to_owned());
        let own = |variable: &str| {
            let numbered = number.as_ref().map(|number| format!("{variable}_{number}"));
            let numbered = numbered.and_then(|variable| there(&variable).map(|value| (variable, value)));
            numbered.or_else(|| there(variable).map(|value| (variable.to_owned(), value)))
        };
        let number = |variable: &str, without: u32, least: u32, most: u32| {
            let Some((name, value)) = own(variable) else { return Ok(without) };
            let read = value.to_str().and_then(|text| text.parse().ok());
            let want = || format!("a number from {least} to {most}");
            read.filter(|it| (least..=most).contains(it)).ok_or_else(|| SettingsError {
                name,
                value,
                want: want(),
            })
        };
        let host = match there("HOST") {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(value) => {
                let read = value.to_str().and_then(|text| text.parse().ok());
                let want = || "an IP address".to_owned();
                read.ok_or_else(|| SettingsError { name: "HOST".to_owned(), value, want: want() })?
            }
        };
        let port = number("PORT", 8080, 0, u16::MAX.into())?;
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let length = number("PAUSE_MS", 0, 0, MS_MAX)?;
        let every = number("PAUSE_EVERY_MS", 0, 0, MS_MAX)?;
        let notice = number("PAUSE_NOTICE_MS", 100, 0, MS_MAX)?;
        if every > 0 && every <= length + notice {
            let (name, value) = own("PAUSE_EVERY_MS").unwrap_or_default();
            let want = format!("more than PAUSE_MS and PAUSE_NOTICE_MS together, {}", length + notice);
            return Err(SettingsError { name, value, want });
        }
        let pauses = Pauses { every: millis(every), length: millis(length), notice: millis(notice) };
        Ok(Self {
            address: SocketAddr::new(host, u16::try_from(port).unwrap_or_default()),
            name,
            slots: number("SLOTS", 4, 1, SLOTS_MAX)?,
            queue_max: number("QUEUE_MAX", 1_000, 0, QUEUE_MAX)? as usize,
            speed_permille: number("SPEED_PERMILLE", FULL_PERMILLE, 1, FULL_PERMILLE)?,
            boot: millis(number("BOOT_MS", 0, 0, MS_MAX)?),
            warmup: millis(number("WARMUP_MS", 0, 0, MS_MAX)?),
            cold_permille: number("COLD_PERMILLE", 500, 1, FULL_PERMILLE)?,
            slot_kib: number("SLOT_KIB", 8 * 1024, 1, u32::MAX)?,
            slot_cpu_millis: number("SLOT_CPU_MILLIS", 100, 1, u32::MAX)?,
            pauses: (every > 0 && length > 0).then_some(pauses),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn without_variables_it_is_warm_at_full_speed_and_never_pauses() {
        let settings = read(&[("SLOTS", "")]).unwrap();
        assert_eq!(settings.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((settings.slots, settings.speed_permille), (4, FULL_PERMILLE));
        assert_eq!((settings.boot, settings.warmup, settings.pauses), (Duration::ZERO, Duration::ZERO, None));
    }

    #[test]
    fn a_variable_with_the_number_of_an_instance_is_for_that_instance_alone() {
        let speed = |instance| {
            let variables =
                [("PACI_INSTANCE", instance), ("SPEED_PERMILLE_3", "500"), ("SPEED_PERMILLE", "800")];
            read(&variables).unwrap().speed_permille
        };
        assert_eq!((speed("worker.3"), speed("worker.33"), speed("worker")), (500, 800, 800));
    }

    #[test]
    fn a_variable_that_is_not_understood_is_named_with_what_is_wanted() {
        let error = read(&[("PACI_INSTANCE", "w.1"), ("SLOTS_1", "0")]).unwrap_err();
        assert_eq!(error.to_string(), r#"SLOTS_1="0": want a number from 1 to 10000"#);
        for (name, value) in [
            ("HOST", "localhost"),
            ("PORT", "65536"),
            ("SPEED_PERMILLE", "1001"),
            ("WARMUP_MS", "-1"),
            ("PAUSE_MS", "soon"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}={value:?}: want ")), "{error}");
        }
        let overlapping = read(&[("PAUSE_EVERY_MS", "250"), ("PAUSE_MS", "200")]).unwrap_err();
        assert!(overlapping.to_string().contains("more than PAUSE_MS and PAUSE_NOTICE_MS together, 300"));
    }
}
