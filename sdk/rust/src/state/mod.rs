//! Containers whose content moves with the instance: [`Map`] and [`Cell`].

mod cell;
pub(crate) mod digest;
mod map;
pub(crate) mod record;
pub(crate) mod shard;
pub(crate) mod store;
pub(crate) mod table;
mod txn;

pub use cell::Cell;
pub use map::{Map, TransactError};
pub use record::RECORD_BYTES_MAX;
pub use store::{CONTAINERS_MAX, ContainerError};
pub use txn::Txn;
