//! What follows from a person's word that a node is lost.

use super::super::Mutant;
use super::unit;

const FILE: &str = "crates/paracloud-core/src/migration/coordinator/lost.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "whatever lives on a node that comes back is ended",
        file: FILE,
        find: r"record.is_owned_by(start) || has_part",
        replace: r"record.is_owned_by(start) || (false && has_part)",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::only_what_no_record_names_is_ended_and_not_what_is_in_doubt",
        ),
    },
    Mutant {
        name: "what may be the only copy is ended with its node's return",
        file: FILE,
        find: r"if found.doubt.is_none() {",
        replace: r"if true || found.doubt.is_none() {",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::only_what_no_record_names_is_ended_and_not_what_is_in_doubt",
        ),
    },
    Mutant {
        name: "what was replaced before its move was closed is left alone when it comes back",
        file: FILE,
        find: r"MoveStep::Undo => operation.target.start == start,",
        replace: r"MoveStep::Undo => record.names(start),",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::only_what_no_record_names_is_ended_and_not_what_is_in_doubt",
        ),
    },
    Mutant {
        name: "what was found while a swap was on its way is forgotten",
        file: "crates/paracloud-core/src/migration/coordinator.rs",
        find: r"
        self.judge_found(effects);",
        replace: r"",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::only_what_no_record_names_is_ended_and_not_what_is_in_doubt",
        ),
    },
    Mutant {
        name: "an owner is replaced on a node that is lost as well",
        file: FILE,
        find: r"self.nodes.connected.difference(&self.nodes.lost).next()?",
        replace: r"self.nodes.connected.iter().next()?",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::an_owner_on_a_lost_node_is_replaced_on_one_that_is_connected_and_not_lost",
        ),
    },
    Mutant {
        name: "an owner is replaced in the middle of a move",
        file: FILE,
        find: r" || !record.is_replaceable() {",
        replace: r" {",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::between_sealing_and_served_what_is_proved_decides_and_no_word_on_a_node",
        ),
    },
];
