//! The calls of the cloud, one by one: what stands beside the envelope of an upcall.

use crate::bounds;
use crate::channel::ChannelToken;
use crate::invalid::{self, Invalid, Problem};
use crate::size::Resize;
use crate::wire::{only_one, wire_enum};
use serde::{Deserialize, Deserializer, Serialize};

wire_enum! {
    /// How an instance can be moved.
    pub enum Mode {
        "MODE_UNSPECIFIED",
        /// There is nothing to carry: it is stopped here and started there.
        Restart = "RESTART",
        /// The application hands its state over by itself, while it serves.
        Handoff = "HANDOFF",
    }
}

wire_enum! {
    /// Which end of a move an application is.
    pub enum Side {
        "SIDE_UNSPECIFIED",
        /// It gives its state.
        Source = "SOURCE",
        /// It is filled.
        Target = "TARGET",
    }
}

wire_enum! {
    /// How an operation ended.
    pub enum Outcome {
        "OUTCOME_UNSPECIFIED",
        /// The target owns now.
        Committed = "COMMITTED",
        /// The source owns on, under a new incarnation.
        RolledBack = "ROLLED_BACK",
    }
}

/// The modes that are prepared.
const PREPARED: &[&str] = &[Mode::Handoff.as_str()];

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// Refuse new work, finish the old.
    Drain(Drain),
    /// Exit.
    Stop(Stop),
    /// The operation is off, before it came to a seal.
    Abort(Abort),
    /// What would a move cost? Changes nothing.
    Estimate(Estimate),
    /// Get ready for a move, as one side of it.
    Prepare(Prepare),
    /// Close the gate, wait for all guards, send the last delta and its digest.
    Seal(Seal),
    /// The operation is over; this is who you are now.
    Resume(Resume),
    /// Open the gate: you are the owner, and the register has it that you serve.
    Serve(Serve),
    /// What would losing you cost now? Changes nothing.
    Quote(Quote),
    /// Fit into another size, or use it.
    Resize(Resize),
}

/// Refuse new work, finish the old.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// It may be called off by `Abort`; so nothing that cannot be undone is done.
    pub reversible: bool,
}

/// Exit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stop {
    /// After this long the process is ended, in milliseconds from receipt.
    pub grace_ms: u32,
}

/// The operation is off, before it came to a seal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Abort {}

/// What would a move cost?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {}

/// What would losing you cost now?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quote {}

/// Get ready for a move.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prepare {
    /// Which side of it.
    pub side: Side,
    /// How the state travels. Only `HANDOFF` is prepared in v1.
    pub mode: Mode,
    /// Joins this side's end of the state channel, once: 32 lowercase hexadecimal digits.
    pub channel_token: ChannelToken,
    /// To the target: the form of the state that the source will send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

/// Name and version of the form in which state travels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Schema {
    /// Whose form it is.
    pub name: String,
    /// It grows when an older reader could not read it.
    pub version: u32,
}

/// Close the gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seal {
    /// The pause that the policy allows, in milliseconds. It informs; it permits nothing.
    pub pause_ms_max: u32,
    /// How long to wait for all guards before the answer is `SEAL_BLOCKED`, in milliseconds.
    pub guard_wait_ms: u32,
}

/// The operation is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resume {
    /// Incarnation of the owner from now on.
    pub incarnation: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// Open the gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Serve {
    /// Incarnation under which to serve: the one `Resume` told.
    pub incarnation: u32,
}

impl Call {
    /// Its field name in an upcall.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Drain(_) => "drain",
            Self::Stop(_) => "stop",
            Self::Abort(_) => "abort",
            Self::Estimate(_) => "estimate",
            Self::Prepare(_) => "prepare",
            Self::Seal(_) => "seal",
            Self::Resume(_) => "resume",
            Self::Serve(_) => "serve",
            Self::Quote(_) => "quote",
            Self::Resize(_) => "resize",
        }
    }

    /// Whether it can be tried dry: asked without anything being done because of the answer.
    pub const fn may_be_dry(&self) -> bool {
        match self {
            Self::Estimate(_) | Self::Prepare(_) | Self::Quote(_) | Self::Resize(_) => true,
            Self::Drain(_)
            | Self::Stop(_)
            | Self::Abort(_)
            | Self::Seal(_)
            | Self::Resume(_)
            | Self::Serve(_) => false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Drain(_) | Self::Abort(_) | Self::Estimate(_) | Self::Quote(_) => Ok(()),
            Self::Resize(resize) => resize.check(),
            Self::Stop(stop) => invalid::at_most("stop.graceMs", stop.grace_ms, bounds::DURATION_MS_MAX),
            Self::Prepare(prepare) => prepare.validate(),
            Self::Seal(seal) => {
                invalid::at_most("seal.pauseMsMax", seal.pause_ms_max, bounds::DURATION_MS_MAX)?;
                invalid::at_most("seal.guardWaitMs", seal.guard_wait_ms, bounds::DURATION_MS_MAX)
            }
            Self::Resume(resume) => {
                invalid::known("resume.outcome", &resume.outcome)?;
                invalid::needed("resume.incarnation", resume.incarnation)
            }
            Self::Serve(serve) => invalid::needed("serve.incarnation", serve.incarnation),
        }
    }
}

impl Prepare {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::known("prepare.side", &self.side)?;
        if self.mode != Mode::Handoff {
            let problem = Problem::Unknown { came: None, known: PREPARED };
            return Err(Invalid::new("prepare.mode", problem));
        }
        channel_token("prepare.channelToken", &self.channel_token)?;
        self.schema.as_ref().map_or(Ok(()), |schema| schema.check("prepare.schema.name"))
    }
}

impl Schema {
    pub(crate) fn check(&self, name: &'static str) -> Result<(), Invalid> {
        invalid::needed_text(name, &self.name)
    }
}

/// Holds a channel token against its form.
pub(crate) fn channel_token(field: &'static str, token: &str) -> Result<(), Invalid> {
    if token.is_empty() {
        return Err(Invalid::new(field, Problem::Missing));
    }
    if token.len() != bounds::CHANNEL_TOKEN_DIGITS || !invalid::is_lowercase_hex(token) {
        let want = "32 lowercase hexadecimal digits";
        return Err(Invalid::new(field, Problem::Malformed { came: format!("{} bytes", token.len()), want }));
    }
    Ok(())
}

pub(crate) fn only_one_call<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Call>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Calls {
        drain: Option<Drain>,
        stop: Option<Stop>,
        abort: Option<Abort>,
        estimate: Option<Estimate>,
        prepare: Option<Prepare>,
        seal: Option<Seal>,
        resume: Option<Resume>,
        serve: Option<Serve>,
        quote: Option<Quote>,
        resize: Option<Resize>,
    }
    let calls = Calls::deserialize(deserializer)?;
    only_one([
        ("drain", calls.drain.map(Call::Drain)),
        ("stop", calls.stop.map(Call::Stop)),
        ("abort", calls.abort.map(Call::Abort)),
        ("estimate", calls.estimate.map(Call::Estimate)),
        ("prepare", calls.prepare.map(Call::Prepare)),
        ("seal", calls.seal.map(Call::Seal)),
        ("resume", calls.resume.map(Call::Resume)),
        ("serve", calls.serve.map(Call::Serve)),
        ("quote", calls.quote.map(Call::Quote)),
        ("resize", calls.resize.map(Call::Resize)),
    ])
}
