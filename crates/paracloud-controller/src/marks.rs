//! Names of which something is so for as long as somebody holds that.

use crate::control::locked;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// There are never more than instances that are driven.
#[derive(Debug, Default)]
pub(crate) struct Marks(Arc<Mutex<BTreeSet<String>>>);

/// It is so until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Mark {
    all: Arc<Mutex<BTreeSet<String>>>,
    name: String,
}

impl Marks {
    /// From now on it is so of one of which it is not.
    pub(crate) fn set(&self, name: &str) -> Mark {
        locked(&self.0).insert(name.to_owned());
        Mark { all: Arc::clone(&self.0), name: name.to_owned() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        locked(&self.0).contains(name)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.name);
    }
}
