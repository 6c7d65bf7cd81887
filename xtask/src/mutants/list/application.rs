//! What an application takes for permission: the contract's own machine, and the frames of the channel.

use super::super::Mutant;
use super::{model, seeds, test};

const PARTICIPANT: &str = "crates/paci/src/participant.rs";
const DECODER: &str = "crates/paci/src/frame/decoder.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a local timer un-seals",
        file: PARTICIPANT,
        find: r"
        self.phase = Phase::Blocked(operation);
        vec![Act::Answer(operation, Answer::Blocked)]",
        replace: r"
        self.phase = Phase::Serving;
        vec![Act::Open(self.incarnation), Act::Answer(operation, Answer::Blocked)]",
        catch: model("late-handoff", "I3"),
    },
    Mutant {
        name: "a lost socket un-seals",
        file: PARTICIPANT,
        find: r"
            Phase::Preparing(of) | Phase::Sealing(of) | Phase::Blocked(of) if of == operation => {",
        replace: r"
            Phase::Sealing(of) | Phase::Blocked(of) | Phase::Sealed(of, _) if of == operation => {
                self.phase = Phase::Serving;
                vec![Act::Open(self.incarnation), Act::Answer(operation, Answer::Failed)]
            }
            Phase::Preparing(of) if of == operation => {",
        catch: seeds(&["I1", "I3"]),
    },
    Mutant {
        name: "a handshake un-seals",
        file: PARTICIPANT,
        find: r"
            (Standing::Owner, Phase::New) => {",
        replace: r"
            (Standing::Owner, Phase::New | Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..)) => {",
        catch: seeds(&["I1", "I3"]),
    },
    Mutant {
        name: "an abort un-seals",
        file: PARTICIPANT,
        find: r"
            Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..) => {
                vec![Act::Answer(operation, Answer::Failed)]
            }",
        replace: r"
            Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..) => {
                self.phase = Phase::Serving;
                vec![Act::Open(self.incarnation), Act::Answer(operation, Answer::Aborted)]
            }",
        catch: test("paci", "participant", "only_resume_ends_a_seal"),
    },
    Mutant {
        name: "no served mark",
        file: PARTICIPANT,
        find: r"
                self.phase = Phase::Resumed(operation);
                self.incarnation = incarnation;
                vec![answer]",
        replace: r"
                self.phase = Phase::Serving;
                self.incarnation = incarnation;
                vec![Act::Open(incarnation), answer]",
        catch: model("crash-handoff", "I3"),
    },
    Mutant {
        name: "stale operation number accepted",
        file: PARTICIPANT,
        find: r"if operation < self.seen {",
        replace: r"if false && operation < self.seen {",
        catch: test("paci", "participant", "a_lower_operation_than_one_that_was_seen_is_refused"),
    },
    Mutant {
        name: "a closed operation is sealed again",
        file: PARTICIPANT,
        find: r"Call::Seal if operation > self.closed => self.seal(operation),",
        replace: r"Call::Seal => self.seal(operation),",
        catch: test("paci", "participant", "what_is_over_is_refused"),
    },
    Mutant {
        name: "a closed operation is prepared again",
        file: PARTICIPANT,
        find: r"Call::Prepare(side) if operation > self.closed => self.prepare(operation, side),",
        replace: r"Call::Prepare(side) => self.prepare(operation, side),",
        catch: test("paci", "participant", "what_is_over_is_refused"),
    },
    Mutant {
        name: "a seal has another answer the second time",
        file: PARTICIPANT,
        find: r"
            Phase::Blocked(of) if *of == operation => vec![Act::Answer(operation, Answer::Blocked)],",
        replace: r"
            Phase::Blocked(of) if *of == operation => {
                self.phase = Phase::Sealing(operation);
                vec![Act::Ship(operation)]
            }",
        catch: test("paci", "participant", "a_seal_has_one_answer"),
    },
    Mutant {
        name: "a sealed source leaves its gate to the gateways",
        file: PARTICIPANT,
        find: r"vec![Act::Close, Act::Ship(operation)]",
        replace: r"vec![Act::Ship(operation)]",
        catch: seeds(&["G"]),
    },
    Mutant {
        name: "a target says that it serves and opens no gate",
        file: PARTICIPANT,
        find: r"vec![Act::Open(incarnation), Act::Answer(operation, Answer::Serving)]",
        replace: r"vec![Act::Answer(operation, Answer::Serving)]",
        catch: seeds(&["G"]),
    },
    Mutant {
        name: "an outdated process serves on",
        file: PARTICIPANT,
        find: r"
                self.phase = Phase::Outdated;
                vec![Act::Forget(operation), Act::Close, answer]",
        replace: r"
                self.phase = Phase::Serving;
                vec![Act::Forget(operation), Act::Open(incarnation), answer]",
        catch: test("paci", "participant", "a_source_that_was_left_never_serves_again"),
    },
    Mutant {
        name: "frame checksum not checked",
        file: DECODER,
        find: r"if stated != computed {",
        replace: r"if false && stated != computed {",
        catch: test("paci", "frames", "a_frame_with_a_flipped_bit_is_refused"),
    },
    Mutant {
        name: "frame sequence not checked",
        file: DECODER,
        find: r"if found != expected {",
        replace: r"if false && found != expected {",
        catch: test("paci", "frames", "a_frame_that_is_doubled_or_missing_is_refused"),
    },
    Mutant {
        name: "a channel that ended is whole",
        file: DECODER,
        find: r"(Carries::Acks, false) if bytes == 0 => Ok(()),",
        replace: r"(Carries::State | Carries::Acks, false) if bytes == 0 => Ok(()),",
        catch: test("paci", "frames", "a_stream_cut_at_a_frame_boundary_is_not_whole"),
    },
];
