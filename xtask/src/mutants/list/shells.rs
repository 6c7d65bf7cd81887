//! What the shells keep and let in.

use super::super::Mutant;
use super::{test, unit};

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "the store swaps without comparing",
        file: "crates/paracloud-controller/src/store/mod.rs",
        find: r"if current.as_ref() != expected {",
        replace: r"if false && current.as_ref() != expected {",
        catch: test(
            "paracloud-controller",
            "store",
            "behaviour::a_swap_that_expected_another_record_writes_nothing_and_tells_the_one_there_is",
        ),
    },
    Mutant {
        name: "a controller acts on a damaged record",
        file: "crates/paracloud-controller/src/store/frame.rs",
        find: r"if expected != found {",
        replace: r"if false && expected != found {",
        catch: test("paracloud-controller", "store", "damage::a_damaged_record_is_refused_by_table_and_name"),
    },
    Mutant {
        name: "a record of another instance is taken for this one's",
        file: "crates/paracloud-controller/src/store/frame.rs",
        find: r"let crc = crc32c::crc32c_append(crc, key);",
        replace: "",
        catch: unit(
            "paracloud-controller",
            "store::frame::tests::a_value_under_another_key_or_in_another_table_is_damaged",
        ),
    },
    Mutant {
        name: "a channel token is used twice",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"if std::mem::replace(&mut token.used, true) {",
        replace: r"if std::mem::replace(&mut token.used, false) {",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
    Mutant {
        name: "a channel token of another process",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"*owner == start && *token.text == *text",
        replace: r"*token.text == *text",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
    Mutant {
        name: "a channel token outlives its operation",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"if closed(*operation) {",
        replace: r"if false && closed(*operation) {",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
];
