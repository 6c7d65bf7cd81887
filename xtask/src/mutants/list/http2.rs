//! What gateways do over HTTP/2.

use super::super::Mutant;
use super::test;

const GATEWAY: &str = "paracloud-gateway";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a stream whose connection is lost counts as one that was not looked at",
        file: "crates/paracloud-gateway/src/upstream/two.rs",
        find: r"if error.is_go_away() && error.is_remote() {",
        replace: r"if error.is_go_away() && error.is_remote() || error.is_io() {",
        catch: test(
            GATEWAY,
            "gateway",
            "two::a_stream_below_a_goaway_whose_connection_ends_is_unknown_whatever_the_goaway_says",
        ),
    },
    Mutant {
        name: "a stream that was reset counts as refused, whatever the reason",
        file: "crates/paracloud-gateway/src/upstream/two.rs",
        find: r"error.reason() == Some(Reason::REFUSED_STREAM)",
        replace: r"(true || error.reason() == Some(Reason::REFUSED_STREAM))",
        catch: test(
            GATEWAY,
            "gateway",
            "two::a_stream_that_was_refused_is_sent_again_and_one_that_was_reset_otherwise_never",
        ),
    },
    Mutant {
        name: "a client whose stream was cut is told to go at the next move, though its process stayed",
        file: "crates/paracloud-gateway/src/control.rs",
        find: r"self.streams.stayed();",
        replace: "",
        catch: test(
            GATEWAY,
            "gateway",
            "goaway::after_a_move_that_was_called_off_no_connection_is_told_to_go",
        ),
    },
    Mutant {
        name: "a client whose stream was cut is not told to go",
        file: "crates/paracloud-gateway/src/control.rs",
        find: r"self.streams.left_for(route.start);",
        replace: "",
        catch: test(
            GATEWAY,
            "gateway",
            "goaway::a_connection_whose_stream_was_cut_is_told_to_go_when_its_process_has_left_and_loses_nothing",
        ),
    },
    Mutant {
        name: "a call waits longer than its deadline",
        file: "crates/paracloud-gateway/src/proxy.rs",
        find: r"let deadline = call.flatten()",
        replace: r"let deadline = call.flatten().filter(|_| false)",
        catch: test(
            GATEWAY,
            "gateway",
            "grpc::a_call_waits_no_longer_than_its_deadline_and_is_not_sent_after_it",
        ),
    },
    Mutant {
        name: "a body that is too long to be kept has no attempt at all",
        file: "crates/paracloud-gateway/src/again.rs",
        find: r"self.kept.is_whole || self.attempt == 0",
        replace: r"self.kept.is_whole",
        catch: test(GATEWAY, "gateway", "http2::a_refused_stream_that_was_too_long_to_be_kept_is_spent"),
    },
    Mutant {
        name: "an application says in its trailers what is a gateway's to say",
        file: "crates/paracloud-gateway/src/head.rs",
        find: r"trailers.remove(OUTCOME);",
        replace: "",
        catch: test(GATEWAY, "gateway", "two::an_upload_goes_on_beside_its_reply_and_its_trailers_pass"),
    },
];
