//! A log of decisions, made again.

use super::{Done, Line, Opened};
use crate::trace::ReplayError;
use paracloud_core::{balancing, ordered, scaling, wishes};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Decisions that were made again and came out the same, by their kind.
pub type Replayed = BTreeMap<&'static str, usize>;

/// Makes every decision of a file again; what became of them is only read. A torn last line is passed over.
///
/// # Errors
/// It cannot be read, a line is none of such a log, or the core decides otherwise.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    let read = |source| ReplayError::Read { path: path.into(), source };
    let mut replayed = Replayed::new();
    let mut lines = BufReader::new(File::open(path).map_err(read)?).split(b'\n').enumerate().peekable();
    while let Some((index, text)) = lines.next() {
        let number = index + 1;
        let form = |source| ReplayError::Form { path: path.into(), line: number, source };
        let text = text.map_err(read)?;
        let line: Line<'_> = match serde_json::from_slice(&text) {
            Ok(line) => line,
            Err(error) if error.is_eof() && lines.peek().is_none() => break,
            Err(error) => return Err(form(error)),
        };
        let logged = line.record.get();
        let (kind, now) = match line.kind.as_str() {
            "scaling" => {
                let record: scaling::Record = serde_json::from_str(logged).map_err(form)?;
                ("scaling", serde_json::to_string(&record.replay()).map_err(form)?)
            }
            "balancing" => {
                let record: balancing::Record = serde_json::from_str(logged).map_err(form)?;
                ("balancing", serde_json::to_string(&record.replay()).map_err(form)?)
            }
            "wish" => {
                let record: wishes::Record = serde_json::from_str(logged).map_err(form)?;
                ("wish", serde_json::to_string(&record.replay()).map_err(form)?)
            }
            "ordered" => {
                let record: ordered::Record = serde_json::from_str(logged).map_err(form)?;
                ("ordered", serde_json::to_string(&record.replay()).map_err(form)?)
            }
            // Nothing is decided by these: each is as it was written, or it is not.
            "done" => {
                let done: Done = serde_json::from_str(logged).map_err(form)?;
                ("done", serde_json::to_string(&done).map_err(form)?)
            }
            "opened" => {
                let opened: Opened = serde_json::from_str(logged).map_err(form)?;
                ("opened", serde_json::to_string(&opened).map_err(form)?)
            }
            name => return Err(ReplayError::Unknown { path: path.into(), name: name.to_owned() }),
        };
        if now != logged {
            return Err(ReplayError::Differs {
                path: path.into(),
                line: number,
                logged: logged.to_owned(),
                now,
            });
        }
        *replayed.entry(kind).or_default() += 1;
    }
    Ok(replayed)
}
