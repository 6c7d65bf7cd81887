//! What others would decide: policies of other systems, so that ours can be held against them on equal terms.

pub mod hpa;
