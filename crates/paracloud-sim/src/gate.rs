//! The gate of an application in the world: turned by what its machine asks for, as the SDK's is, and by nothing else.
//!
//! A machine that says that it serves and never asks to open, or that it is sealed and never asks to close, is therefore
//! seen: requests are served, and I1 to I3 are judged, by the gate; that it is as the machine has it is a rule of its
//! own (`G`). Where that holds the gate is a function of the machine, and makes no state of the model two.

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gate {
    open: bool,
    /// Under which it was opened last; 0 if it never was.
    incarnation: u32,
}

impl Gate {
    /// Opens it; false if it was closed before and is opened under the incarnation that it was closed under: nobody told
    /// how that ended.
    pub(crate) fn open(&mut self, incarnation: u32) -> bool {
        let is_told = incarnation > self.incarnation || (self.open && incarnation == self.incarnation);
        (self.open, self.incarnation) = (true, incarnation);
        is_told
    }

    /// Closes it.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// Whether it is open.
    pub(crate) fn is_open(self) -> bool {
        self.open
    }

    /// The incarnation under which it is open.
    pub(crate) fn open_under(self) -> Option<u32> {
        self.open.then_some(self.incarnation)
    }
}
