//! What gateways do with requests.

use super::super::Mutant;
use super::{model, seeds, unit};

const FILE: &str = "crates/paracloud-core/src/migration/gateway.rs";
const WORDS: &str = "crates/paracloud-core/src/migration/gateway/words.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a gateway takes an older table up",
        file: FILE,
        find: r"Some(known) if !table.is_newer_than(known) => return,",
        replace: r"Some(known) if false && !table.is_newer_than(known) => return,",
        catch: unit("paracloud-core", "migration::gateway::tests::an_older_table_is_not_taken_up"),
    },
    Mutant {
        name: "a stale gateway's route trusted",
        file: WORDS,
        find: r"(self.order, self.is_open()) > (other.order, other.is_open())",
        replace: r"(self.order != other.order && self.is_open()) || (self.order, self.is_open()) > (other.order, other.is_open())",
        catch: seeds(&["I4"]),
    },
    Mutant {
        name: "a gateway says that it parks while requests are outstanding",
        file: FILE,
        find: r"if self.owes_answer && quiet {",
        replace: r"if self.owes_answer || quiet {",
        catch: unit(
            "paracloud-core",
            "migration::gateway::tests::a_park_is_answered_when_nothing_is_outstanding",
        ),
    },
    Mutant {
        name: "a request is sent again after a byte was sent",
        file: FILE,
        find: r"Answer::Lost => Some(Failure::Unknown),",
        replace: r"Answer::Lost => {
                let parked = Parked { refused_by: None, belongs: false };
                self.park(setting, ticket, parked, sent.waited, effects);
                return self.answer_if_quiet(effects);
            }",
        catch: model("crash-restart", "I2"),
    },
    Mutant {
        name: "a lost request is called not applied",
        file: FILE,
        find: r"Answer::Lost => Some(Failure::Unknown),",
        replace: r"Answer::Lost => Some(Failure::NotApplied),",
        catch: seeds(&["I2"]),
    },
    Mutant {
        name: "a parked request has no bound",
        file: FILE,
        find: r"effects.push(Effect::SetTimer(Timer::Bound(ticket), setting.parked_ms_max));",
        replace: "",
        catch: model("crash-handoff", "I4"),
    },
    Mutant {
        name: "a request that is refused again waits anew",
        file: FILE,
        find: r"if !waited {",
        replace: r"if true || !waited {",
        catch: seeds(&["I4"]),
    },
    Mutant {
        name: "a gateway forwards though it parks",
        file: FILE,
        find: r"self.table.as_ref().filter(|table| table.is_open()).and_then(|table| table.route)",
        replace: r"self.table.as_ref().and_then(|table| table.route)",
        catch: seeds(&["I4"]),
    },
];
