//! The message itself, `xds.data.orca.v3.OrcaLoadReport`: eight fields of one kind, read here without a generator.

use super::{Load, Refused};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// gRPC leaves the padding out, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const CUT: Refused = Refused::Form("the message is cut off");

/// A report in base64.
pub(super) fn read(report: &str) -> Result<Load, Refused> {
    let bytes = BASE64.decode(report.trim()).map_err(|_| Refused::Form("not in base64"))?;
    let mut load = Load::default();
    let mut rest = Reader(&bytes);
    while let Some((field, value)) = rest.field()? {
        match (field, value) {
            (1, Value::Double(value)) => load.take("cpu_utilization", value)?,
            (2, Value::Double(value)) => load.take("mem_utilization", value)?,
            (6, Value::Double(value)) => load.take("rps_fractional", value)?,
            (7, Value::Double(value)) => load.take("eps", value)?,
            (9, Value::Double(value)) => load.take("application_utilization", value)?,
            (4, Value::Bytes(entry)) => entry_of(&mut load, "request_cost", entry)?,
            (5, Value::Bytes(entry)) => entry_of(&mut load, "utilization", entry)?,
            (8, Value::Bytes(entry)) => entry_of(&mut load, "named_metrics", entry)?,
            // Of a newer form, or the requests a second as they were said before 6 was.
            _ => {}
        }
    }
    Ok(load)
}

/// An entry of a map: 1 is its name, 2 its number.
fn entry_of(load: &mut Load, map: &str, entry: &[u8]) -> Result<(), Refused> {
    let (mut name, mut number) = ("", 0.0);
    let mut rest = Reader(entry);
    while let Some((field, value)) = rest.field()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                name = std::str::from_utf8(bytes).map_err(|_| Refused::Form("a name is no text"))?;
            }
            (2, Value::Double(value)) => number = value,
            _ => {}
        }
    }
    load.take(&format!("{map}.{name}"), number)
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
