//! Upcalls: what the cloud asks of an application. `Next` returns them.

use crate::bounds;
use crate::call::{Call, only_one_call};
use crate::invalid::{self, Invalid};
use crate::wire::{Message, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// Why the cloud wants what it asks for.
    pub enum Reason {
        "REASON_UNSPECIFIED",
        /// The node is to be worked on.
        Maintenance = "MAINTENANCE",
        /// Fewer instances are needed.
        ScaleIn = "SCALE_IN",
        /// More instances are needed.
        ScaleOut = "SCALE_OUT",
        /// Load is spread anew.
        Rebalance = "REBALANCE",
        /// Another version of the application takes over.
        Upgrade = "UPGRADE",
        /// The place is taken away by somebody with precedence, soon and for certain.
        Preemption = "PREEMPTION",
        /// Instances are packed closer to free a node.
        Consolidation = "CONSOLIDATION",
        /// The machine is failing: refusals and holds do not count.
        Hardware = "HARDWARE",
        /// A person asked for it.
        Person = "PERSON",
        /// A test or a rehearsal.
        Test = "TEST",
        /// The application asked for it.
        Asked = "ASKED",
    }
}

/// One question of the cloud. (operation, attempt) names its delivery; the same question asked again gets the same
/// answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upcall {
    /// Number of the operation, from the register; it grows.
    pub operation: u32,
    /// Number of this delivery within the operation, from 1; it grows with every delivery of any of its calls.
    pub attempt: u32,
    /// Time for the whole answer, in milliseconds, counted from the first delivery at the latest. 0: no bound.
    pub budget_ms: u32,
    /// Why.
    #[serde(skip_serializing_if = "Reason::is_unspecified")]
    pub reason: Reason,
    /// Nothing is done because of the answer: a preview (`estimate`, `quote`, `resize`) or a rehearsal (`prepare`).
    pub dry_run: bool,
    /// For people.
    pub message: String,
    /// What is asked. `None`: a call that this version does not know; the answer is `UNSUPPORTED`.
    #[serde(flatten, deserialize_with = "only_one_call", skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

impl Message for Upcall {
    /// [`Problem::Unknown`](invalid::Problem::Unknown) in a call means that the cloud asks for what this version does not know: the answer is
    /// `UNSUPPORTED`. To every other error it is `FAILED` with code `MALFORMED`.
    fn validate(&self) -> Result<(), Invalid> {
        invalid::needed("operation", self.operation)?;
        invalid::needed("attempt", self.attempt)?;
        invalid::at_most("budgetMs", self.budget_ms, bounds::DURATION_MS_MAX)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)?;
        let Some(call) = &self.call else { return Ok(()) };
        invalid::in_place("dryRun", call.may_be_dry() || !self.dry_run, "this call cannot be tried dry")?;
        call.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Resume;
    use crate::call::{
        Abort, Drain, Estimate, Mode, Outcome, Prepare, Quote, Schema, Seal, Serve, Side, Stop,
    };
    use crate::invalid::Problem;
    use crate::size::Resize;
    use crate::wire::ReadError;

    fn upcall(call: Call) -> Upcall {
        Upcall { operation: 7, attempt: 1, budget_ms: 30_000, call: Some(call), ..Upcall::default() }
    }

    fn prepare() -> Prepare {
        Prepare {
            side: Side::Target,
            mode: Mode::Handoff,
            channel_token: "0123456789abcdef0123456789abcdef".into(),
            schema: Some(Schema { name: "ledger".into(), version: 3 }),
        }
    }

    #[test]
    fn a_call_stands_beside_its_envelope() {
        let written = upcall(Call::Drain(Drain { reversible: true })).write();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"operation":7,"attempt":1,"budgetMs":30000,"dryRun":false,"message":"","drain":{"reversible":true}}"#
        );
    }

    #[test]
    fn every_call_comes_back_as_it_was() {
        for call in [
            Call::Drain(Drain { reversible: true }),
            Call::Stop(Stop { grace_ms: 10_000 }),
            Call::Abort(Abort {}),
            Call::Estimate(Estimate {}),
            Call::Prepare(prepare()),
            Call::Seal(Seal { pause_ms_max: 150, guard_wait_ms: 100 }),
            Call::Resume(Resume { incarnation: 8, outcome: Outcome::Committed }),
            Call::Serve(Serve { incarnation: 8 }),
            Call::Quote(Quote {}),
            Call::Resize(Resize { memory_kib: Some(65_536), ..Resize::default() }),
        ] {
            let upcall = upcall(call);
            assert_eq!(Upcall::read(&upcall.write()).unwrap(), upcall);
        }
    }

    #[test]
    fn a_call_of_a_later_version_is_read_as_none_so_that_it_can_be_answered() {
        let upcall = Upcall::read(br#"{"operation":7,"attempt":2,"diagnose":{"deep":true}}"#).unwrap();
        assert_eq!((upcall.operation, upcall.attempt, upcall.call), (7, 2, None));
    }

    #[test]
    fn two_calls_in_one_upcall_are_refused() {
        let both = br#"{"operation":7,"attempt":1,"abort":{},"serve":{"incarnation":8}}"#;
        assert!(matches!(Upcall::read(both), Err(ReadError::Shape(_))));
    }

    #[test]
    fn a_member_that_is_null_is_not_set() {
        let upcall = Upcall::read(br#"{"operation":7,"attempt":1,"abort":{},"serve":null}"#).unwrap();
        assert_eq!(upcall.call, Some(Call::Abort(Abort {})));
    }

    #[test]
    fn a_call_with_a_field_of_another_type_is_an_error_and_not_an_unknown_call() {
        let wrong = br#"{"operation":7,"attempt":1,"serve":{"incarnation":"8"}}"#;
        assert!(matches!(Upcall::decode(wrong), Err(ReadError::Shape(_))));
    }

    #[test]
    fn an_outcome_or_a_mode_of_a_later_version_is_unknown() {
        for (body, field) in [
            (
                r#"{"operation":7,"attempt":1,"resume":{"incarnation":8,"outcome":"CLONED"}}"#,
                "resume.outcome",
            ),
            (
                r#"{"operation":7,"attempt":1,"prepare":{"side":"SOURCE","mode":"CHECKPOINT"}}"#,
                "prepare.mode",
            ),
            (r#"{"operation":7,"attempt":1,"prepare":{"mode":"HANDOFF"}}"#, "prepare.side"),
        ] {
            let error = Upcall::decode(body.as_bytes()).unwrap().validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(matches!(error.problem, Problem::Unknown { .. }), "{error}");
        }
    }

    #[test]
    fn a_reason_of_a_later_version_does_no_harm() {
        let upcall = Upcall::read(br#"{"operation":7,"attempt":1,"reason":"BOREDOM","abort":{}}"#).unwrap();
        assert_eq!(upcall.reason, Reason::Unspecified);
    }

    #[test]
    fn a_seal_cannot_be_tried_dry() {
        let seal = Upcall { dry_run: true, ..upcall(Call::Seal(Seal::default())) };
        assert_eq!(seal.validate().unwrap_err().field, "dryRun");
        let rehearsal = Upcall { dry_run: true, ..upcall(Call::Prepare(prepare())) };
        assert_eq!(rehearsal.validate(), Ok(()));
    }

    #[test]
    fn an_upcall_without_number_or_incarnation_is_refused() {
        let nameless = Upcall { operation: 0, ..upcall(Call::Abort(Abort {})) };
        assert_eq!(nameless.validate().unwrap_err().field, "operation");
        assert_eq!(
            upcall(Call::Serve(Serve { incarnation: 0 })).validate().unwrap_err().field,
            "serve.incarnation"
        );
    }

    #[test]
    fn a_channel_token_is_on_the_wire_and_not_in_what_is_printed_for_debugging() {
        let prepare = upcall(Call::Prepare(prepare()));
        assert!(String::from_utf8(prepare.write()).unwrap().contains("0123456789abcdef"));
        let printed = format!("{prepare:?} {prepare:#?}");
        assert!(printed.contains("ChannelToken") && !printed.contains("0123456789abcdef"), "{printed}");
    }

    #[test]
    fn a_channel_token_has_32_lowercase_digits() {
        for bad in ["", "0123", &"A".repeat(32), &"0".repeat(33), &"/".repeat(32)] {
            let bad = upcall(Call::Prepare(Prepare { channel_token: bad.into(), ..prepare() }));
            assert_eq!(bad.validate().unwrap_err().field, "prepare.channelToken");
        }
    }
}
