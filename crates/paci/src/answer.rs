//! What an application answers to an upcall.

use crate::bounds;
use crate::call::{Call, Prepare, Side};
use crate::finding::{Finding, only_one_finding};
use crate::invalid::{self, Invalid, Problem};
use crate::names::AnswerCode;
use crate::upcall::Upcall;
use crate::wire::{Message, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// How far an upcall has got.
    pub enum Verdict {
        "VERDICT_UNSPECIFIED",
        /// At work; said again at least each heartbeat, it keeps the question from being asked again.
        InProgress = "IN_PROGRESS",
        /// Done.
        Done = "DONE",
        /// Not now: ask again after `retryAfterMs`.
        Defer = "DEFER",
        /// No, for the reason in `code`. It expires too.
        Refuse = "REFUSE",
        /// The application does not know this call, mode or outcome.
        Unsupported = "UNSUPPORTED",
        /// It was tried and did not succeed, for the reason in `code`.
        Failed = "FAILED",
    }
}

/// `POST /v1/upcalls/{operation}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// The upcall's operation; the path names the same.
    pub operation: u32,
    /// The upcall's attempt.
    pub attempt: u32,
    /// How far it has got.
    pub verdict: Verdict,
    /// Milliseconds until it will be done, as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u32>,
    /// Share that is done, as far as known: 1000 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_permille: Option<u32>,
    /// With `DEFER`, needed: ask again after so many milliseconds. With `REFUSE`: when it expires; 0 means
    /// [`bounds::REFUSAL_MS`].
    pub retry_after_ms: u32,
    /// Why: one of [`AnswerCode`], or the application's own with the prefix `APP_`.
    pub code: String,
    /// For people.
    pub message: String,
    /// What it found or reached.
    #[serde(flatten, deserialize_with = "only_one_finding", skip_serializing_if = "Option::is_none")]
    pub result: Option<Finding>,
}

impl Answer {
    /// An answer to this upcall.
    pub fn to(upcall: &Upcall, verdict: Verdict) -> Self {
        Self { operation: upcall.operation, attempt: upcall.attempt, verdict, ..Self::default() }
    }

    /// With what was found or reached.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.result = Some(finding);
        self
    }

    /// With the reason.
    #[must_use]
    pub fn because(mut self, code: AnswerCode) -> Self {
        self.code = code.as_str().to_owned();
        self
    }

    /// With a message for people, cut to its bound and without control characters.
    #[must_use]
    pub fn saying(mut self, message: &str) -> Self {
        self.message = invalid::fitting(message);
        self
    }

    /// Whether nothing more is said to this question: it is answered the same way from now on.
    pub fn is_final(&self) -> bool {
        match self.verdict {
            Verdict::Done | Verdict::Unsupported | Verdict::Failed => true,
            Verdict::Unspecified | Verdict::InProgress | Verdict::Defer | Verdict::Refuse => false,
        }
    }

    /// Holds an answer against the question: only `DONE` to `seal` says what is sealed, and it must.
    ///
    /// # Errors
    /// The result is not one of this call, or the verdict needs one that is absent.
    pub fn answers(&self, call: &Call) -> Result<(), Invalid> {
        let done = self.verdict == Verdict::Done;
        let target = matches!(call, Call::Prepare(Prepare { side: Side::Target, .. }));
        let fits = match (&self.result, call) {
            (Some(Finding::Estimate(_)), Call::Estimate(_)) => done,
            (Some(Finding::Copy(_)), Call::Prepare(_)) => {
                self.verdict == Verdict::InProgress || (done && !target)
            }
            (Some(Finding::Loaded(_)), Call::Prepare(_)) => done && target,
            (Some(Finding::Sealed(_)), Call::Seal(_)) => done,
            (Some(Finding::Blocked(_)), Call::Seal(_)) => self.verdict == Verdict::Failed,
            (Some(Finding::InFlight(_)), Call::Drain(_)) => done || self.verdict == Verdict::InProgress,
            (Some(Finding::Quote(_)), Call::Quote(_)) => done,
            (Some(Finding::Fit(_)), Call::Resize(_)) => done || self.verdict == Verdict::Refuse,
            (None, Call::Estimate(_) | Call::Prepare(_) | Call::Seal(_) | Call::Quote(_)) => !done,
            (
                None,
                Call::Drain(_)
                | Call::Stop(_)
                | Call::Abort(_)
                | Call::Resume(_)
                | Call::Serve(_)
                | Call::Resize(_),
            ) => true,
            (
                Some(
                    Finding::Estimate(_)
                    | Finding::Copy(_)
                    | Finding::Sealed(_)
                    | Finding::Loaded(_)
                    | Finding::Blocked(_)
                    | Finding::InFlight(_)
                    | Finding::Quote(_)
                    | Finding::Fit(_),
                ),
                Call::Drain(_)
                | Call::Stop(_)
                | Call::Abort(_)
                | Call::Estimate(_)
                | Call::Prepare(_)
                | Call::Seal(_)
                | Call::Resume(_)
                | Call::Serve(_)
                | Call::Quote(_)
                | Call::Resize(_),
            ) => false,
        };
        invalid::in_place("result", fits, "not the result of this call with this verdict")
    }
}

impl Message for Answer {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::needed("operation", self.operation)?;
        invalid::needed("attempt", self.attempt)?;
        invalid::known("verdict", &self.verdict)?;
        invalid::at_most("etaMs", self.eta_ms.unwrap_or(0), bounds::DURATION_MS_MAX)?;
        let progress = self.progress_permille.unwrap_or(0);
        invalid::at_most("progressPermille", progress, bounds::PROGRESS_PERMILLE_MAX)?;
        invalid::at_most("retryAfterMs", self.retry_after_ms, bounds::REFUSAL_MS_MAX)?;
        if !self.code.is_empty() {
            invalid::name("code", &self.code, bounds::NAME_BYTES_MAX)?;
        }
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)?;
        self.check_verdict()?;
        self.result.as_ref().map_or(Ok(()), Finding::validate)
    }
}

impl Answer {
    /// What a verdict needs beside it.
    fn check_verdict(&self) -> Result<(), Invalid> {
        match self.verdict {
            Verdict::Defer => invalid::needed("retryAfterMs", self.retry_after_ms)?,
            Verdict::Refuse | Verdict::Failed if self.code.is_empty() => {
                return Err(Invalid::new("code", Problem::Missing));
            }
            Verdict::Unspecified
            | Verdict::InProgress
            | Verdict::Done
            | Verdict::Refuse
            | Verdict::Unsupported
            | Verdict::Failed => {}
        }
        let says_blocked = self.code == AnswerCode::SealBlocked.as_str();
        let is_blocked = matches!(self.result, Some(Finding::Blocked(_)));
        invalid::in_place("blocked", says_blocked == is_blocked, "it goes with the code SEAL_BLOCKED")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Drain, Estimate, Seal};
    use crate::finding::{Blocked, CopyProgress, Loaded, MoveEstimate};
    use crate::proof::Sealed;
    use crate::wire::ReadError;

    fn seal() -> Upcall {
        Upcall { operation: 7, attempt: 3, call: Some(Call::Seal(Seal::default())), ..Upcall::default() }
    }

    fn blocked() -> Answer {
        let finding = Finding::Blocked(Blocked { route: "POST /transfer".into(), held_ms: 740 });
        Answer::to(&seal(), Verdict::Failed).because(AnswerCode::SealBlocked).with(finding)
    }

    #[test]
    fn an_answer_names_the_delivery_it_answers() {
        let answer = Answer::to(&seal(), Verdict::Done).with(Finding::Sealed(Sealed::new(9, &[0xab; 16])));
        assert_eq!(
            String::from_utf8(answer.write()).unwrap(),
            r#"{"operation":7,"attempt":3,"verdict":"DONE","retryAfterMs":0,"code":"","message":"","sealed":{"position":"9","digest":"abababababababababababababababab"}}"#
        );
        assert_eq!(Answer::read(&answer.write()).unwrap(), answer);
    }

    #[test]
    fn a_deferral_without_a_time_is_refused() {
        let error = Answer::to(&seal(), Verdict::Defer).validate().unwrap_err();
        assert_eq!(error, Invalid::new("retryAfterMs", Problem::Zero));
    }

    #[test]
    fn no_refusal_stands_for_ever() {
        let mut answer = Answer::to(&seal(), Verdict::Refuse).because(AnswerCode::NoRoom);
        answer.retry_after_ms = bounds::REFUSAL_MS_MAX + 1;
        assert_eq!(answer.validate().unwrap_err().field, "retryAfterMs");
    }

    #[test]
    fn a_refusal_and_a_failure_need_a_code() {
        for verdict in [Verdict::Refuse, Verdict::Failed] {
            assert_eq!(Answer::to(&seal(), verdict).validate().unwrap_err().field, "code");
        }
    }

    #[test]
    fn an_answer_without_a_known_verdict_is_refused() {
        let error = Answer::read(br#"{"operation":7,"attempt":1,"verdict":"MAYBE"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "verdict: \"MAYBE\", want one of IN_PROGRESS, DONE, DEFER, REFUSE, UNSUPPORTED, FAILED"
        );
    }

    #[test]
    fn seal_blocked_says_who_blocks() {
        assert_eq!(blocked().validate(), Ok(()));
        let nobody = Answer { result: None, ..blocked() };
        assert_eq!(nobody.validate().unwrap_err().field, "blocked");
        let other = Answer { code: "APP_TIRED".into(), ..blocked() };
        assert_eq!(other.validate().unwrap_err().field, "blocked");
    }

    #[test]
    fn two_results_in_one_answer_are_refused() {
        let both = br#"{"operation":7,"attempt":1,"verdict":"DONE","inFlight":0,"copy":{}}"#;
        assert!(matches!(Answer::read(both), Err(ReadError::Shape(_))));
    }

    #[test]
    fn a_done_without_its_result_does_not_answer() {
        for call in
            [Call::Estimate(Estimate {}), Call::Prepare(Prepare::default()), Call::Seal(Seal::default())]
        {
            let bare = Answer::to(&seal(), Verdict::Done);
            assert_eq!(bare.answers(&call).unwrap_err().field, "result", "{}", call.name());
        }
        assert_eq!(Answer::to(&seal(), Verdict::Done).answers(&Call::Drain(Drain::default())), Ok(()));
    }

    #[test]
    fn only_a_target_is_done_with_what_it_loaded() {
        let as_side = |side| Call::Prepare(Prepare { side, ..Prepare::default() });
        let loaded = Finding::Loaded(Loaded::new((9, &[1; 16]), (9, &[1; 16])));
        let done = Answer::to(&seal(), Verdict::Done);
        assert_eq!(done.clone().with(loaded.clone()).answers(&as_side(Side::Target)), Ok(()));
        assert!(done.clone().with(loaded).answers(&as_side(Side::Source)).is_err());
        let copied = Finding::Copy(CopyProgress { staged: true, ..CopyProgress::default() });
        assert!(done.clone().with(copied.clone()).answers(&as_side(Side::Target)).is_err());
        assert_eq!(done.with(copied).answers(&as_side(Side::Source)), Ok(()));
    }

    #[test]
    fn a_result_of_another_call_does_not_answer() {
        let estimate = Finding::Estimate(MoveEstimate::default());
        let answer = Answer::to(&seal(), Verdict::Done).with(estimate);
        assert!(answer.answers(&Call::Seal(Seal::default())).is_err());
        assert_eq!(answer.answers(&Call::Estimate(Estimate {})), Ok(()));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let answer = Answer::to(&seal(), Verdict::InProgress).saying(&"ä".repeat(150));
        assert_eq!(answer.message.len(), bounds::MESSAGE_BYTES_MAX);
        let answer = Answer::to(&seal(), Verdict::InProgress).saying(&format!("a{}\n", "ä".repeat(150)));
        assert_eq!(answer.message.len(), bounds::MESSAGE_BYTES_MAX - 1);
        assert_eq!(answer.validate(), Ok(()));
    }
}
