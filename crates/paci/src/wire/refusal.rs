//! What is said of a body that is not the message that was expected.

use super::Misshapen;
use crate::invalid::Invalid;

/// Why a body is not the message that was expected.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It passes its bound.
    #[error("body: {bytes} bytes, at most {bytes_max}")]
    TooLong {
        /// What came.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// There is nothing in it.
    #[error("the body is empty, want a JSON object, such as {{}}")]
    Empty,
    /// It is not JSON, or nests deeper than is read.
    #[error("the body cannot be read as JSON at line {line}, column {column}: `{near}`")]
    NotJson {
        /// Where, from 1.
        line: usize,
        /// The byte of the line, from 1.
        column: usize,
        /// What stands there, and before it.
        near: String,
    },
    /// It ends too early.
    #[error("the body ends at line {line}, column {column}, before its JSON does")]
    Cut {
        /// Where, from 1.
        line: usize,
        /// The byte of the line, from 1.
        column: usize,
    },
    /// It is JSON, but no object.
    #[error("the body is {came}, want a JSON object, such as {{}}")]
    NotAnObject {
        /// What it is.
        came: &'static str,
    },
    /// A field is there more than once.
    #[error("{field}: given twice, the second time at line {line}, column {column}")]
    Twice {
        /// Its path, as it stands in JSON.
        field: String,
        /// Where, from 1.
        line: usize,
        /// The byte of the line, from 1.
        column: usize,
    },
    /// A field has another type than the specification says.
    #[error(transparent)]
    Shape(Misshapen),
    /// A field breaks its bound.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}
