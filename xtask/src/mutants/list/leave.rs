//! How an instance leaves, and is called back.

use super::super::Mutant;
use super::{seeds, unit};

const DECIDE: &str = "crates/paracloud-core/src/migration/coordinator/decide.rs";
const GATEWAY: &str = "crates/paracloud-core/src/migration/gateway.rs";
const WORDS: &str = "crates/paracloud-core/src/migration/gateway/words.rs";
const REGISTER: &str = "crates/paracloud-core/src/register/leave.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "who leaves is ended while gateways have requests there",
        file: DECIDE,
        find: r"if !setting.gateways.is_subset(&facts.drained) {",
        replace: r"if facts.drained.is_empty() {",
        catch: seeds(&["I6"]),
    },
    Mutant {
        name: "who leaves is ended before it has done its work",
        file: DECIDE,
        find: r"if facts.emptied { Next::Swap(Change::Depart) } else { Next::Wait(Phase::Leave) }",
        replace: r"Next::Swap(Change::Depart)",
        catch: seeds(&["I6"]),
    },
    Mutant {
        name: "a gateway says that nothing is left while a request is outstanding",
        file: GATEWAY,
        find: r"self.emptied == Some(table.order) && self.outstanding.is_empty();",
        replace: r"self.emptied == Some(table.order);",
        catch: seeds(&["I4", "I6"]),
    },
    Mutant {
        name: "a gateway sends new requests to who leaves",
        file: WORDS,
        find: r"!self.parks && !self.drains",
        replace: r"!self.parks",
        catch: seeds(&["I4", "I6"]),
    },
    Mutant {
        name: "who is called back is not told",
        file: DECIDE,
        find: r"if !self.told(record, leave.victim.start) {",
        replace: r"if false && !self.told(record, leave.victim.start) {",
        catch: seeds(&["I5"]),
    },
    Mutant {
        name: "who leaves is gone before its death is proved",
        file: DECIDE,
        find: r"LeaveStep::Leaving if self.is_dead(record.owner.start) => Next::Swap(Change::Gone),",
        replace: r"LeaveStep::Leaving if self.phase == Phase::Retire => Next::Swap(Change::Gone),",
        catch: seeds(&["I1"]),
    },
    Mutant {
        name: "who is to be ended is called back",
        file: REGISTER,
        find: r"(Change::Return(_), LeaveStep::Draining) =>",
        replace: r"(Change::Return(_), LeaveStep::Draining | LeaveStep::Leaving) =>",
        catch: unit(
            "paracloud-core",
            "register::tests::whether_an_instance_leaves_or_is_called_back_is_decided_by_the_first_swap",
        ),
    },
];
