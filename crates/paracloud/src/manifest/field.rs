//! Reading fields: each reader checks type and bounds and says which field of which line is wrong.

use super::Problem;
use super::node::{Node, Placed, place};
use crate::output::short;
use crate::quantity;

/// A map whose fields are all known and stand once.
pub(super) struct Fields<'a> {
    path: String,
    at: (u64, u64),
    entries: Vec<(&'a str, &'a Placed)>,
}

/// A field's value, with the name it goes by in errors.
pub(super) struct Field<'a> {
    path: String,
    value: &'a Placed,
}

impl<'a> Fields<'a> {
    /// The fields of a map, which may be these only.
    pub(super) fn of(value: &'a Placed, path: &str, known: &[&str]) -> Result<Self, Problem> {
        let at = place(value);
        let Node::Map(map) = &value.value else {
            let what = format!("wants fields ({}), got {}", known.join(", "), value.value.kind());
            return Err(Problem::new(at, path, what));
        };
        let mut entries: Vec<(&str, &Placed)> = Vec::new();
        for (name, part) in map {
            let field = joined(path, &name.value);
            if !known.contains(&name.value.as_str()) {
                let what = match nearest(&name.value, known) {
                    Some(near) => format!("there is no such field; did you mean {near:?}?"),
                    None => format!("there is no such field; there are {}", known.join(", ")),
                };
                return Err(Problem::new(place(name), &field, what));
            }
            if let Some((_, first)) = entries.iter().find(|(other, _)| *other == name.value) {
                let what = format!("stands twice; first in line {}", place(first).0);
                return Err(Problem::new(place(name), &field, what));
            }
            entries.push((&name.value, part));
        }
        Ok(Self { path: path.to_owned(), at, entries })
    }

    /// A field, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let (_, value) = self.entries.iter().find(|(other, _)| *other == name)?;
        Some(Field { path: joined(&self.path, name), value })
    }

    /// A field that must be there.
    pub(super) fn require(&self, name: &str) -> Result<Field<'a>, Problem> {
        self.get(name).ok_or_else(|| Problem::new(self.at, &joined(&self.path, name), "is missing"))
    }

    /// A field's length of time in milliseconds, or else what it is by default.
    pub(super) fn millis(&self, name: &str, default: u32, most: u32) -> Result<u32, Problem> {
        self.get(name).map_or(Ok(default), |field| field.millis(most))
    }
}

impl<'a> Field<'a> {
    /// Something is wrong with this value.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::new(place(self.value), &self.path, what)
    }

    /// Line and column.
    pub(super) fn at(&self) -> (u64, u64) {
        place(self.value)
    }

    /// What it is called.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn wants(&self, what: &str) -> Problem {
        self.problem(format!("wants {what}, got {}", self.value.value.kind()))
    }

    /// A text. A number or a truth is none: in quotes it is.
    pub(super) fn text(&self) -> Result<&'a str, Problem> {
        match &self.value.value {
            Node::Text(text) if text.contains('\0') => Err(self.problem("has a NUL byte in it")),
            Node::Text(text) => Ok(text),
            Node::Number(_) | Node::Truth(_) => Err(self.wants("a text (put it in quotes)")),
            Node::Null | Node::List(_) | Node::Map(_) => Err(self.wants("a text")),
        }
    }

    /// A text that is not empty, or a number as it would be written.
    pub(super) fn word(&self, want: &str) -> Result<&'a str, Problem> {
        match &self.value.value {
            Node::Text(text) | Node::Number(text) if !text.is_empty() => Ok(text),
            Node::Text(_) | Node::Number(_) | Node::Null | Node::Truth(_) | Node::List(_) | Node::Map(_) => {
                Err(self.wants(want))
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&self) -> Result<bool, Problem> {
        match self.value.value {
            Node::Truth(value) => Ok(value),
            Node::Null | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => {
                Err(self.wants("true or false"))
            }
        }
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Problem> {
        let found = match &self.value.value {
            Node::Text(text) => words.iter().find(|(word, _)| word == text),
            Node::Null | Node::Truth(_) | Node::Number(_) | Node::List(_) | Node::Map(_) => None,
        };
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        found.map(|(_, value)| *value).ok_or_else(|| self.wants(&names.join(" or ")))
    }

    /// A whole number within bounds.
    pub(super) fn count(&self, least: u32, most: u32) -> Result<u32, Problem> {
        let want = format!("a whole number from {least} to {most}");
        let Node::Number(number) = &self.value.value else { return Err(self.wants(&want)) };
        number.parse().ok().filter(|count| (least..=most).contains(count)).ok_or_else(|| self.wants(&want))
    }

    /// A length of time with its unit, from 1 ms up to `most` ms.
    pub(super) fn millis(&self, most: u32) -> Result<u32, Problem> {
        self.with_unit(
            quantity::TIMES,
            "a time with its unit, such as 5ms, 10s or 2m",
            (1, most),
            crate::figures::millis,
        )
    }

    /// A share, such as `70%`: in parts of a thousand, from 1 to 1,000.
    pub(super) fn permille(&self) -> Result<u32, Problem> {
        let want = "a share from 1% to 100%, such as 70%";
        let Node::Text(text) = &self.value.value else { return Err(self.wants(want)) };
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<u32>().ok());
        percent
            .filter(|percent| (1..=100).contains(percent))
            .map(|it| it * 10)
            .ok_or_else(|| self.wants(want))
    }

    /// An amount of memory with its unit, within bounds in bytes.
    pub(super) fn memory(&self, (least, most): (u64, u64)) -> Result<u64, Problem> {
        let want = "an amount of memory with its unit, such as 256MiB";
        self.with_unit(quantity::BYTES, want, (least, most), crate::figures::bytes)
    }

    /// Processor time: `500m` are thousandths of a processor, `2` are processors. In thousandths, within bounds.
    pub(super) fn cpu(&self, (least, most): (u32, u32)) -> Result<u32, Problem> {
        let want = "processors (2) or thousandths of one (500m)";
        let text = self.word(want)?;
        let milli = quantity::processors_milli(text).ok_or_else(|| self.wants(want))?;
        if (least..=most).contains(&milli) {
            return Ok(milli);
        }
        let what = format!("{} is out of bounds: from {least}m to {}", short(text, 40), most / 1_000);
        Err(self.problem(what))
    }

    /// A number of bytes with its unit, up to `most`.
    pub(super) fn bytes(&self, most: u32) -> Result<u32, Problem> {
        let want = "a size with its unit, such as 64KiB or 1MiB";
        self.with_unit(quantity::BYTES, want, (0, most), crate::figures::bytes)
    }

    fn with_unit<T>(
        &self,
        units: &[(&str, u64)],
        want: &str,
        (least, most): (T, T),
        shown: fn(u64) -> String,
    ) -> Result<T, Problem>
    where
        T: Copy + PartialOrd + Into<u64> + TryFrom<u64>,
    {
        let Node::Text(text) = &self.value.value else { return Err(self.wants(want)) };
        let value = quantity::amount(text, units).ok_or_else(|| self.wants(want))?;
        let value = T::try_from(value).ok().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| {
            let (least, most) = (shown(least.into()), shown(most.into()));
            self.problem(format!("{} is out of bounds: from {least} to {most}", short(text, 40)))
        })
    }

    /// The parts of a list.
    pub(super) fn list(&self, want: &str) -> Result<Vec<Self>, Problem> {
        let Node::List(parts) = &self.value.value else { return Err(self.wants(want)) };
        Ok(self.numbered(parts))
    }

    /// The parts of a list, or the value alone.
    pub(super) fn one_or_more(&self) -> Vec<Self> {
        match &self.value.value {
            Node::List(parts) => self.numbered(parts),
            Node::Null | Node::Truth(_) | Node::Number(_) | Node::Text(_) | Node::Map(_) => {
                vec![Self { path: self.path.clone(), value: self.value }]
            }
        }
    }

    fn numbered(&self, parts: &'a [Placed]) -> Vec<Self> {
        let named = |(index, value)| Self { path: format!("{}[{index}]", self.path), value };
        parts.iter().enumerate().map(named).collect()
    }

    /// The fields of a map, which may be these only.
    pub(super) fn fields(&self, known: &[&str]) -> Result<Fields<'a>, Problem> {
        Fields::of(self.value, &self.path, known)
    }

    /// A map whose names are the user's own.
    pub(super) fn named(&self, want: &str) -> Result<Vec<(&'a str, Self)>, Problem> {
        let Node::Map(map) = &self.value.value else { return Err(self.wants(want)) };
        let mut named: Vec<(&str, Self)> = Vec::new();
        for (name, value) in map {
            let path = joined(&self.path, &name.value);
            if let Some((_, first)) = named.iter().find(|(other, _)| *other == name.value) {
                let what = format!("stands twice; first in line {}", first.at().0);
                return Err(Problem::new(place(name), &path, what));
            }
            named.push((&name.value, Self { path, value }));
        }
        Ok(named)
    }
}

fn joined(path: &str, name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The known name that a misspelt one was most likely meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let close = known.iter().map(|other| (distance(&plain(name), &plain(other)), *other)).min();
    close.filter(|(distance, other)| *distance <= other.len().div_ceil(3)).map(|(_, other)| other)
}

/// How many letters must be changed, added or left out to make one word the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..right.len() {
            let changed = diagonal + usize::from(letter != right[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
