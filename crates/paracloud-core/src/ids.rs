//! The names the machines speak of. All are plain values: comparable, hashable, printable.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The number after this one.
            ///
            /// # Panics
            /// After 2³² − 1 steps: a register that issued so many is damaged.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a number is never issued twice, and 2^32 of them are used up"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number! {
    /// A number of an instance that grows whenever it is started, restarted or moved. Issued by the register alone;
    /// everything that acts for the instance carries it, and an older one is refused.
    Incarnation, "@"
}
number! {
    /// The number of an operation on one instance. Issued by the register; a party that has seen a higher one
    /// refuses a lower one.
    OperationNumber, "op-"
}
number! {
    /// A node: where instances run. Nodes are numbered by the configuration.
    NodeId, "n"
}
number! {
    /// A spec of an app: a number that grows with each change of what is to run. The first one is 1.
    Revision, "r"
}
number! {
    /// A gateway, numbered by the configuration.
    GatewayId, "g"
}
number! {
    /// One of the instances of an app that has several: the 3 of `worker.3`.
    InstanceNumber, "."
}

/// The id of one process that was started for an instance: random, so that two processes never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartId(pub u64);

impl fmt::Display for StartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A start id that is not 16 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a start id: want 16 hexadecimal digits")]
pub struct NotAStartId(String);

impl core::str::FromStr for StartId {
    type Err = NotAStartId;

    fn from_str(text: &str) -> Result<Self, NotAStartId> {
        let wrong = || NotAStartId(text.chars().take(32).collect());
        if text.len() != 16 {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

// In text, so that no reader rounds it to a double.
impl Serialize for StartId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StartId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One process, where it runs and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// The process.
    pub start: StartId,
    /// The spec that it runs.
    #[serde(default = "Revision::first")]
    pub revision: Revision,
}

impl Revision {
    /// That of an app as it was first applied.
    pub const fn first() -> Self {
        Self(1)
    }
}

impl Placement {
    /// A process that runs an app's first spec.
    pub const fn new(node: NodeId, start: StartId) -> Self {
        Self { node, start, revision: Revision::first() }
    }

    /// It, running this spec.
    #[must_use]
    pub const fn running(self, revision: Revision) -> Self {
        Self { revision, ..self }
    }
}
