//! The environment: where to listen, what to fill, how to misbehave.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Most that a start fills, in MiB.
const FILL_MIB_MAX: u32 = 64 * 1024;
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORT: u16 = 8080;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub address: SocketAddr,
    /// MiB of random values at the first start.
    pub fill_mib: u32,
    /// The routes under `/faults/` are open.
    pub has_fault_routes: bool,
    /// One misbehaviour.
    pub fault: Option<Fault>,
}

/// A misbehaviour, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A target that was committed never answers `Resume`.
    NeverReadyOnResume,
    /// A target that was committed exits instead of answering `Resume`.
    ExitOnResume,
    /// `Estimate` is answered with: not now.
    NotNow,
    /// `Stop` is not obeyed.
    NeverStops,
}

/// A variable that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: want {want}")]
pub struct SettingsError {
    name: &'static str,
    value: OsString,
    want: &'static str,
}

impl Settings {
    /// Reads the variables through a lookup. An empty one counts as absent.
    ///
    /// # Errors
    /// A variable cannot be understood.
    pub fn read(lookup: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let read = |name, want, accept: &mut dyn FnMut(&str) -> bool| {
            let Some(value) = lookup(name).filter(|value| !value.is_empty()) else { return Ok(()) };
            let is_accepted = value.to_str().is_some_and(accept);
            if is_accepted { Ok(()) } else { Err(SettingsError { name, value, want }) }
        };
        let (mut host, mut port, mut fill_mib) = (HOST, PORT, 0);
        let (mut has_fault_routes, mut fault) = (false, None);
        read("HOST", "an IP address", &mut |text| text.parse().map(|value| host = value).is_ok())?;
        read("PORT", "a number from 0 to 65535", &mut |text| text.parse().map(|value| port = value).is_ok())?;
        read("SESSIONS_FILL_MIB", "a number of at most 65536", &mut |text| {
            text.parse().map(|value| fill_mib = value).is_ok() && fill_mib <= FILL_MIB_MAX
        })?;
        read("SESSIONS_FAULTS", "1 or 0", &mut |text| {
            has_fault_routes = text == "1";
            matches!(text, "0" | "1")
        })?;
        read("SESSIONS_FAULT", "one of those in the README", &mut |text| {
            fault = Fault::from_name(text);
            fault.is_some()
        })?;
        Ok(Self { address: SocketAddr::new(host, port), fill_mib, has_fault_routes, fault })
    }
}

impl Fault {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "never-ready-on-resume" => Self::NeverReadyOnResume,
            "exit-on-resume" => Self::ExitOnResume,
            "not-now" => Self::NotNow,
            "never-stops" => Self::NeverStops,
            _ => return None,
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
    fn without_variables_it_listens_on_8080_and_behaves() {
        let settings = read(&[("SESSIONS_FAULT", "")]).unwrap();
        assert_eq!(settings.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((settings.fill_mib, settings.has_fault_routes, settings.fault), (0, false, None));
    }

    #[test]
    fn a_variable_that_is_not_understood_is_named() {
        let error = read(&[("SESSIONS_FILL_MIB", "65537")]).unwrap_err();
        assert_eq!(error.to_string(), r#"SESSIONS_FILL_MIB="65537": want a number of at most 65536"#);
        for (name, value) in
            [("HOST", "localhost"), ("PORT", "-1"), ("SESSIONS_FAULTS", "yes"), ("SESSIONS_FAULT", "moody")]
        {
            assert!(read(&[(name, value)]).is_err(), "{name}={value}");
        }
        assert_eq!(read(&[("SESSIONS_FAULT", "not-now")]).unwrap().fault, Some(Fault::NotNow));
    }
}
