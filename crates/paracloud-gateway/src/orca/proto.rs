//! The message itself, `xds.data.orca.v3.OrcaLoadReport`: eight fields of one kind, read and written here without a generator.

use super::{Load, Refused};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// gRPC leaves the padding out, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The fields of a figure, of an entry of a map, and of what is in an entry.
const CPU: u64 = 1;
const MEMORY: u64 = 2;
const REQUEST_COST: u64 = 4;
const UTILIZATION: u64 = 5;
const RPS: u64 = 6;
const EPS: u64 = 7;
const NAMED_METRICS: u64 = 8;
const APPLICATION: u64 = 9;
const ENTRY_NAME: u64 = 1;
const ENTRY_VALUE: u64 = 2;

const CUT: Refused = Refused::Form("the message is cut off");

/// A report in base64.
pub(super) fn read(report: &str) -> Result<Load, Refused> {
    let bytes = BASE64.decode(report.trim()).map_err(|_| Refused::Form("not in base64"))?;
    let mut load = Load::default();
    let mut rest = Reader(&bytes);
    while let Some((field, value)) = rest.field()? {
        match (field, value) {
            (CPU, Value::Double(value)) => load.take("cpu_utilization", value)?,
            (MEMORY, Value::Double(value)) => load.take("mem_utilization", value)?,
            (RPS, Value::Double(value)) => load.take("rps_fractional", value)?,
            (EPS, Value::Double(value)) => load.take("eps", value)?,
            (APPLICATION, Value::Double(value)) => load.take("application_utilization", value)?,
            (REQUEST_COST, Value::Bytes(entry)) => entry_of(&mut load, "request_cost", entry)?,
            (UTILIZATION, Value::Bytes(entry)) => entry_of(&mut load, "utilization", entry)?,
            (NAMED_METRICS, Value::Bytes(entry)) => entry_of(&mut load, "named_metrics", entry)?,
            // Of a newer form, or the requests a second as they were said before 6 was.
            _ => {}
        }
    }
    Ok(load)
}

/// An entry of a map.
fn entry_of(load: &mut Load, map: &str, entry: &[u8]) -> Result<(), Refused> {
    let (mut name, mut number) = ("", 0.0);
    let mut rest = Reader(entry);
    while let Some((field, value)) = rest.field()? {
        match (field, value) {
            (ENTRY_NAME, Value::Bytes(bytes)) => {
                name = std::str::from_utf8(bytes).map_err(|_| Refused::Form("a name is no text"))?;
            }
            (ENTRY_VALUE, Value::Double(value)) => number = value,
            _ => {}
        }
    }
    load.take(&format!("{map}.{name}"), number)
}

/// A report as it is read here.
pub(super) fn write(load: &Load) -> String {
    let mut bytes = Vec::new();
    let own = [
        (CPU, load.cpu_permille),
        (MEMORY, load.memory_permille),
        (RPS, load.rps_milli),
        (EPS, load.eps_milli),
        (APPLICATION, load.application_permille),
    ];
    own.into_iter().for_each(|(field, value)| double(&mut bytes, field, value));
    for (name, value) in &load.others {
        let Some((map, name)) = name.split_once('.') else { continue };
        let map = match map {
            "request_cost" => REQUEST_COST,
            "utilization" => UTILIZATION,
            _ => NAMED_METRICS,
        };
        let mut entry = Vec::new();
        length_delimited(&mut entry, ENTRY_NAME, name.as_bytes());
        double(&mut entry, ENTRY_VALUE, Some(*value));
        length_delimited(&mut bytes, map, &entry);
    }
    BASE64.encode(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "what is too large to be exact is no figure of a load")]
fn double(to: &mut Vec<u8>, field: u64, milli: Option<u64>) {
    if let Some(milli) = milli {
        varint(to, field << 3 | 1);
        to.extend((milli as f64 / 1_000.0).to_le_bytes());
    }
}

fn length_delimited(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(to, field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

enum Value<'a> {
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field, by its number.
    fn field(&mut self) -> Result<Option<(u64, Value<'a>)>, Refused> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Other
            }
            1 => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT)?;
                self.0 = rest;
                Value::Double(f64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| CUT)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(CUT)?;
                Value::Other
            }
            _ => return Err(Refused::Form("a field is of no kind that there is")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, Refused> {
        let mut value = 0_u64;
        for place in 0..10_u32 {
            let (byte, rest) = self.0.split_first().ok_or(CUT)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Refused::Form("a number has no end"))
    }
}
