//! Figures as people read them.

pub use paracloud_substrate::figures::{age, bytes, counted, micros, millis, time_of_day};
