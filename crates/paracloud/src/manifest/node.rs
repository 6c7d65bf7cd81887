//! The YAML of a manifest as a tree that knows where each of its parts stands, so that every error can say so.

use crate::output::short;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};
use std::fmt;

/// The most parts of a manifest: values and names, each alias counting as what it stands for.
pub(super) const PARTS_MAX: usize = 250_000;
/// The deepest nesting, of which a manifest needs four levels: each takes its part of the stack.
pub(super) const DEPTH_MAX: usize = 16;
/// The most letters of what was found in the place of something else that an error shows.
const FOUND_LETTERS_MAX: usize = 40;

/// What was found in the place of something else, as an error shows it: in quotes, and not without end.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", short(text, FOUND_LETTERS_MAX))
}

/// A part of the manifest, with its place.
pub(super) type Placed = Spanned<Node>;

/// A part of the manifest.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Truth(bool),
    Number(String),
    Text(String),
    List(Vec<Placed>),
    /// In the order of the file; a field that stands twice is here twice.
    Map(Vec<(Spanned<String>, Placed)>),
}

impl Node {
    /// What it is, for an error.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Truth(value) => value.to_string(),
            Self::Number(number) => format!("the number {}", short(number, FOUND_LETTERS_MAX)),
            Self::Text(text) => quoted(text),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// Where a part stands: line and column from 1.
pub(super) fn place<T>(part: &Spanned<T>) -> (u64, u64) {
    (part.referenced.line(), part.referenced.column())
}

/// All documents of a manifest.
pub(super) fn documents(text: &str) -> Result<Vec<Placed>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: PARTS_MAX, max_depth: DEPTH_MAX },
    };
    serde_saphyr::from_multiple_with_options(text, options)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Truth(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(part) = parts.next_element()? {
            list.push(part);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(part) = parts.next_entry()? {
            map.push(part);
        }
        Ok(Node::Map(map))
    }
}
