//! The environment: where the cloud is, if there is one.

use crate::bounds;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the agent's socket is: `unix:///run/paci/x/paci.sock`. Absent or empty: no cloud, the program runs as ever.
pub const ENDPOINT: &str = "PACI_ENDPOINT";
/// `true`: no cloud, even if an endpoint is named.
pub const DISABLED: &str = "PACI_DISABLED";
/// The app's name, for display only: identity comes from the socket.
pub const APP: &str = "PACI_APP";
/// The instance's id, for display only.
pub const INSTANCE: &str = "PACI_INSTANCE";
/// The address to listen on.
pub const HOST: &str = "HOST";
/// The port to listen on.
pub const PORT: &str = "PORT";

/// Name of the agent's socket in its directory.
pub const SOCKET_FILE: &str = "paci.sock";
/// Name of the state channel's socket in the same directory.
pub const CHANNEL_FILE: &str = "channel";

const SCHEME: &str = "unix://";

/// What a process finds in its environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Where the cloud is. `None`: there is none, or it is switched off.
    pub endpoint: Option<Endpoint>,
    /// For display only.
    pub app: Option<String>,
    /// For display only.
    pub instance: Option<String>,
    /// The address to listen on.
    pub host: Option<String>,
    /// The port to listen on.
    pub port: Option<u16>,
}

/// The agent's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    path: PathBuf,
}

/// A variable that cannot be understood. A program says so once and then runs as without a cloud, unless its state
/// is moved: then it must not serve, because it may be a target that is only being filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Not text.
    #[error("{name} is not UTF-8")]
    NotUtf8 {
        /// The variable.
        name: &'static str,
    },
    /// Text of the wrong form.
    #[error("{name}={value:?}: want {want}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// Its value, cut to the bound of a message.
        value: String,
        /// The form.
        want: &'static str,
    },
}

impl Environment {
    /// Reads the variables through a lookup. An empty one counts as absent.
    ///
    /// ```
    /// use paci::env::Environment;
    ///
    /// let environment = Environment::read(|name| std::env::var_os(name))?;
    /// assert!(environment.endpoint.is_none(), "no agent runs here");
    /// # Ok::<(), paci::env::EnvError>(())
    /// ```
    ///
    /// # Errors
    /// A variable cannot be understood.
    pub fn read(mut lookup: impl FnMut(&'static str) -> Option<OsString>) -> Result<Self, EnvError> {
        let mut text = |name| match lookup(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
            Some(Err(_)) => Err(EnvError::NotUtf8 { name }),
        };
        let disabled = match text(DISABLED)?.as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(value) => return Err(malformed(DISABLED, value, "true or false")),
        };
        let endpoint = match text(ENDPOINT)? {
            Some(value) if !disabled => Some(Endpoint::parse(&value)?),
            Some(_) | None => None,
        };
        let port = text(PORT)?
            .map(|value| value.parse().map_err(|_| malformed(PORT, &value, "a number from 0 to 65535")))
            .transpose()?;
        Ok(Self { endpoint, app: text(APP)?, instance: text(INSTANCE)?, host: text(HOST)?, port })
    }
}

impl Endpoint {
    /// The endpoint of an agent whose sockets are in this directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join(SOCKET_FILE) }
    }

    /// Reads the value of [`ENDPOINT`].
    ///
    /// # Errors
    /// It is not `unix://` and an absolute path that fits a socket address, with room for the channel's name.
    pub fn parse(value: &str) -> Result<Self, EnvError> {
        let want = "unix:// and an absolute path of at most 107 bytes";
        let path = value.strip_prefix(SCHEME).filter(|path| path.starts_with('/') && !path.ends_with('/'));
        let endpoint = path.map(|path| Self { path: path.into() });
        let fits = |endpoint: &Self| {
            let longest = endpoint.path.as_os_str().len().max(endpoint.channel().as_os_str().len());
            longest <= bounds::SOCKET_PATH_BYTES_MAX && !value.contains('\0')
        };
        endpoint.filter(fits).ok_or_else(|| malformed(ENDPOINT, value, want))
    }

    /// Path of the PaCI socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the state channel's socket: beside the PaCI socket.
    pub fn channel(&self) -> PathBuf {
        self.path.with_file_name(CHANNEL_FILE)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}", self.path.display())
    }
}

fn malformed(name: &'static str, value: &str, want: &'static str) -> EnvError {
    EnvError::Malformed { name, value: crate::invalid::fitting(value), want }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvError> {
        Environment::read(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn without_an_endpoint_there_is_no_cloud() {
        assert_eq!(read(&[]), Ok(Environment::default()));
        assert_eq!(read(&[("PACI_ENDPOINT", "")]), Ok(Environment::default()));
    }

    #[test]
    fn a_cloud_that_is_switched_off_is_none() {
        let off = read(&[("PACI_ENDPOINT", "unix:///run/paci/x/paci.sock"), ("PACI_DISABLED", "true")]);
        assert_eq!(off.unwrap().endpoint, None);
        let on = read(&[("PACI_ENDPOINT", "unix:///run/paci/x/paci.sock"), ("PACI_DISABLED", "false")]);
        assert!(on.unwrap().endpoint.is_some());
        assert!(read(&[("PACI_DISABLED", "perhaps")]).is_err());
    }

    #[test]
    fn the_channel_is_beside_the_socket() {
        let endpoint = Endpoint::parse("unix:///run/paci/x/paci.sock").unwrap();
        assert_eq!(endpoint.path(), Path::new("/run/paci/x/paci.sock"));
        assert_eq!(endpoint.channel(), Path::new("/run/paci/x/channel"));
        assert_eq!(Endpoint::in_directory(Path::new("/run/paci/x")), endpoint);
        assert_eq!(endpoint.to_string(), "unix:///run/paci/x/paci.sock");
    }

    #[test]
    fn an_endpoint_is_a_unix_socket_with_an_absolute_path() {
        let long = format!("unix:///{}", "x".repeat(107));
        for bad in
            ["/run/paci.sock", "unix://run/paci.sock", "unix://", "unix:///run/", "tcp://127.0.0.1:1", &long]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_and_port_are_read() {
        let environment = read(&[("HOST", "127.0.0.2"), ("PORT", "8080"), ("PACI_APP", "ledger")]).unwrap();
        assert_eq!((environment.host.as_deref(), environment.port), (Some("127.0.0.2"), Some(8080)));
        assert_eq!(environment.app.as_deref(), Some("ledger"));
        assert_eq!(
            read(&[("PORT", "many")]).unwrap_err().to_string(),
            r#"PORT="many": want a number from 0 to 65535"#
        );
    }
}
