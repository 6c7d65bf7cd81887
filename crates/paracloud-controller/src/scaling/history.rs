//! What the journal has of an instance and of its operations, where names are used again.

use crate::control::Control;
use crate::person::refused;
use paracloud_core::ids::OperationNumber;
use paracloud_substrate::explained::EVENTS_MAX;
use paracloud_substrate::person::{Event, Refused, What};
use std::collections::VecDeque;

/// What the journal has of an operation: the newest of it.
pub(super) async fn events(
    control: &Control,
    instance: &str,
    operation: OperationNumber,
) -> Result<Vec<Event>, Refused> {
    let mut kept = Kept::of(operation);
    each_of(control, instance, |event| kept.see(event)).await?;
    Ok(kept.events.into())
}

/// Events of one operation, while those of an instance are looked at, the oldest first.
struct Kept {
    operation: OperationNumber,
    events: VecDeque<Event>,
    /// The next one of its name has begun: what is noted of that before it has an operation has the number of the last one.
    is_over: bool,
}

impl Kept {
    fn of(operation: OperationNumber) -> Self {
        Self { operation, events: VecDeque::new(), is_over: false }
    }

    fn see(&mut self, event: Event) {
        let begins = begins(&event);
        self.is_over |= begins && !self.events.is_empty();
        if event.operation == Some(self.operation) && !begins && !self.is_over {
            self.events.push_back(event);
        }
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }
}

/// Whether another one begins under this name.
fn begins(event: &Event) -> bool {
    matches!(&event.what, What::Swapped { change, .. } if change == "start")
}

/// When the one that has this name now began in the place of another, in milliseconds since 1970: names are used again, the
/// numbers of their operations are not. 0: the journal knows of no other.
pub(super) async fn began_unix_ms(control: &Control, instance: &str) -> Result<u64, Refused> {
    let mut began_unix_ms = 0;
    each_of(control, instance, |event| {
        if begins(&event) {
            began_unix_ms = event.at_unix_ms;
        }
    })
    .await?;
    Ok(began_unix_ms)
}

/// Looks at all that the journal has of an instance, the oldest first.
async fn each_of(control: &Control, instance: &str, mut look: impl FnMut(Event)) -> Result<(), Refused> {
    let mut next = 1;
    loop {
        let page = control.register.read(next).await.map_err(|_| {
            refused(
                "controller_restarts",
                "the controller lost its register before it could answer",
                "ask again",
            )
        })?;
        let Some(last) = page.last() else { return Ok(()) };
        next = last.number + 1;
        page.into_iter().filter(|event| event.instance == instance).for_each(&mut look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::register::Record;

    #[test]
    fn what_is_noted_of_the_next_one_of_a_name_is_not_told_of_an_operation_of_the_one_before() {
        let record = Record::first(Placement::new(NodeId(1), StartId(1)));
        let swapped = |number, operation: Option<u32>, change: &str| Event {
            number,
            at_unix_ms: 0,
            instance: "web.2".to_owned(),
            operation: operation.map(OperationNumber),
            what: What::Swapped { change: change.to_owned(), record: record.clone() },
        };
        let told = |events: &[Event]| {
            let mut kept = Kept::of(OperationNumber(1));
            events.iter().cloned().for_each(|event| kept.see(event));
            kept.events.iter().map(|event| event.number).collect::<Vec<_>>()
        };
        let begins = swapped(1, None, "start");
        let leaves = [(2, "leave"), (3, "gone")].map(|(number, change)| swapped(number, Some(1), change));
        // What older journals have of it: that it starts, and why, with the number of the last operation.
        let next = [(4, "start"), (5, "serve")].map(|(number, change)| swapped(number, Some(1), change));
        assert_eq!(told(&[&[begins][..], &leaves, &next].concat()), [2, 3]);
    }
}
