//! The commands of a person, one file each.

pub mod cancel;
pub mod events;
pub mod logs;
pub mod node;
pub mod ps;
pub mod reconsider;
pub mod stop;
pub mod transfer;
pub mod validate;

use crate::output::Format;
use paracloud_substrate::layout::Layout;

/// What every command knows.
#[derive(Debug, Clone)]
pub struct Context {
    /// The directory of the cloud.
    pub layout: Layout,
    /// For whom it prints.
    pub format: Format,
}
