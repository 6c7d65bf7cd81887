//! How large an instance is, and `Resize`: another size, with its consent.

use crate::invalid::{self, Invalid, Problem};
use serde::{Deserialize, Serialize};

/// How large an instance is. At least one of both is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Size {
    /// Memory in KiB, from 1. Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u32>,
    /// Processors in thousandths, from 1. Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
}

/// Fit into another size before it gets smaller; use it after it got greater. The upcall's budget is the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resize {
    /// The memory that it is to have, in KiB, from 1. Absent: it does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u32>,
    /// The processors that it is to have, in thousandths, from 1. Absent: they do not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// The memory that it has now, in KiB. Absent: it has no limit, or none that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_memory_kib: Option<u32>,
    /// The processors that it has now, in thousandths. Absent: it has no limit, or none that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_cpu_millis: Option<u32>,
}

impl Size {
    /// Holds it against its form. The fields: of all of it, of the memory, of the processors.
    pub(crate) fn check(&self, [whole, memory, cpu]: [&'static str; 3]) -> Result<(), Invalid> {
        if self.memory_kib.is_none() && self.cpu_millis.is_none() {
            return Err(Invalid::new(whole, Problem::NoneOf { of: &["memoryKib", "cpuMillis"] }));
        }
        invalid::not_zero(memory, self.memory_kib)?;
        invalid::not_zero(cpu, self.cpu_millis)
    }
}

impl Resize {
    /// What it is to be.
    pub const fn wanted(&self) -> Size {
        Size { memory_kib: self.memory_kib, cpu_millis: self.cpu_millis }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.wanted().check(["resize", "resize.memoryKib", "resize.cpuMillis"])?;
        invalid::not_zero("resize.nowMemoryKib", self.now_memory_kib)?;
        invalid::not_zero("resize.nowCpuMillis", self.now_cpu_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_of_nothing_is_none() {
        let whole = Resize::default().check().unwrap_err();
        assert_eq!(whole.to_string(), "resize: none of memoryKib, cpuMillis is given, and one is needed");
        let none = Resize { memory_kib: Some(0), ..Resize::default() }.check().unwrap_err();
        assert_eq!(none.field, "resize.memoryKib");
        assert_eq!(Resize { cpu_millis: Some(1), ..Resize::default() }.check(), Ok(()));
    }
}
