//! `Hello`: which version, which capabilities, and who the process is.

use crate::bounds;
use crate::instance::{Instance, Limits, Standing};
use crate::invalid::{self, Invalid};
use crate::proof;
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// `POST /v1/hello`: the first call of each process, and of each reconnection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelloRequest {
    /// Versions of the contract that the application speaks, best first.
    pub versions: Vec<String>,
    /// Capabilities it claims ([`crate::names::CAPABILITIES`]); each must pass conformance whole.
    pub capabilities: Vec<String>,
    /// Name and version of the SDK, for people.
    pub sdk: String,
    /// Version of the application, for people and for the comparison of the two sides of a move.
    pub app_version: String,
    /// What the application was last told. Absent: it was never told anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// What an application was last told, by this process's agent or, after a restore, by another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// Start id in the last answer to `Hello`.
    pub start_id: String,
    /// The last incarnation, from `Hello` or `Resume`.
    pub incarnation: u32,
    /// Highest operation number seen in any upcall; 0: none.
    pub operation: u32,
    /// Whether it was told to seal and has not been told the outcome.
    pub sealed: bool,
    /// Number of changes its state has seen, in decimal digits; empty: it does not count.
    pub position: String,
    /// The last standing.
    #[serde(skip_serializing_if = "Standing::is_unspecified")]
    pub standing: Standing,
}

impl HelloRequest {
    /// The first of the application's versions that the agent speaks too.
    pub fn common_version(&self, spoken: &[&str]) -> Option<&str> {
        self.versions.iter().map(String::as_str).find(|version| spoken.contains(version))
    }

    /// The application's capabilities that the agent knows too, in the application's order, each once.
    pub fn common_capabilities(&self, known: &[&str]) -> Vec<String> {
        let mut common: Vec<String> = Vec::new();
        for capability in &self.capabilities {
            if known.contains(&capability.as_str()) && !common.contains(capability) {
                common.push(capability.clone());
            }
        }
        common
    }
}

impl Message for HelloRequest {
    const BODY_BYTES_MAX: usize = bounds::HELLO_BODY_BYTES_MAX;

    fn validate(&self) -> Result<(), Invalid> {
        if self.versions.is_empty() {
            return Err(Invalid::new("versions", invalid::Problem::Missing));
        }
        invalid::names("versions", &self.versions, bounds::VERSIONS_MAX)?;
        invalid::names("capabilities", &self.capabilities, bounds::CAPABILITIES_MAX)?;
        invalid::text("sdk", &self.sdk, bounds::STRING_BYTES_MAX)?;
        invalid::text("appVersion", &self.app_version, bounds::STRING_BYTES_MAX)?;
        self.told.as_ref().map_or(Ok(()), Told::check)
    }
}

impl Told {
    fn check(&self) -> Result<(), Invalid> {
        invalid::text("told.startId", &self.start_id, bounds::STRING_BYTES_MAX)?;
        if !self.position.is_empty() {
            proof::position("told.position", &self.position)?;
        }
        Ok(())
    }
}

/// The answer to `Hello`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelloResponse {
    /// The version spoken from now on.
    pub version: String,
    /// Capabilities that both sides have; nothing else may be used.
    pub capabilities: Vec<String>,
    /// Who the process is.
    pub instance: Instance,
    /// What the register says of it.
    pub standing: Standing,
    /// The limits of this agent.
    pub limits: Limits,
}

impl Message for HelloResponse {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::name("version", &self.version, bounds::NAME_BYTES_MAX)?;
        invalid::names("capabilities", &self.capabilities, bounds::CAPABILITIES_MAX)?;
        self.instance.validate()?;
        invalid::known("standing", &self.standing)?;
        self.limits.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    #[test]
    fn only_what_both_sides_have_may_be_used() {
        let hello = HelloRequest {
            versions: vec!["v9".into(), "v1".into()],
            capabilities: vec!["move.handoff".into(), "mind.reading".into(), "drain".into(), "drain".into()],
            ..HelloRequest::default()
        };
        assert_eq!(hello.common_version(&[names::VERSION]), Some("v1"));
        assert_eq!(hello.common_capabilities(&["drain", "stop", "move.handoff"]), ["move.handoff", "drain"]);
        assert_eq!(hello.common_version(&["v2"]), None);
    }

    #[test]
    fn a_hello_without_a_version_is_refused() {
        assert_eq!(
            HelloRequest::read(b"{}").unwrap_err().to_string(),
            "versions: missing or empty, and it is needed"
        );
    }

    #[test]
    fn a_position_of_more_than_64_bits_is_refused() {
        let told = |position: &str| HelloRequest {
            versions: vec!["v1".into()],
            told: Some(Told { position: position.into(), ..Told::default() }),
            ..HelloRequest::default()
        };
        assert_eq!(told("18446744073709551615").validate(), Ok(()));
        assert_eq!(told("18446744073709551616").validate().unwrap_err().field, "told.position");
    }

    #[test]
    fn the_longest_valid_hello_fits_its_bound() {
        let longest = HelloRequest {
            versions: vec!["v".repeat(bounds::NAME_BYTES_MAX); bounds::VERSIONS_MAX],
            capabilities: vec!["c".repeat(bounds::NAME_BYTES_MAX); bounds::CAPABILITIES_MAX],
            // A quotation mark takes two bytes in JSON.
            sdk: "\"".repeat(bounds::STRING_BYTES_MAX),
            app_version: "\"".repeat(bounds::STRING_BYTES_MAX),
            told: Some(Told {
                start_id: "\"".repeat(bounds::STRING_BYTES_MAX),
                incarnation: u32::MAX,
                operation: u32::MAX,
                sealed: true,
                position: u64::MAX.to_string(),
                standing: Standing::Undecided,
            }),
        };
        assert_eq!(longest.validate(), Ok(()));
        assert!(longest.write().len() <= bounds::HELLO_BODY_BYTES_MAX, "{}", longest.write().len());
    }
}
