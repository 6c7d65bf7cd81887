//! Amounts as people write them, in a manifest and on the command line: a whole number and its unit.

/// Units of a length of time, in milliseconds.
pub const TIMES: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of memory and of what is sent, in bytes.
pub const BYTES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
/// The most processors that there can be, in thousandths of one.
pub const PROCESSORS_MILLI_MAX: u32 = 1_024_000;

/// So much of the smallest unit; what is more than can be counted is the most. `None`: it is no such amount.
pub fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    Some(number.parse::<u64>().ok()?.saturating_mul(*factor))
}

/// Processor time: `500m` are thousandths of a processor, `2` are processors. In thousandths; what is more than can be
/// counted is the most. `None`: it is no such number.
pub fn processors_milli(text: &str) -> Option<u32> {
    match text.strip_suffix('m') {
        Some(milli) => milli.parse().ok(),
        None => text.parse::<u32>().ok().map(|whole| whole.saturating_mul(1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_whole_number_and_its_unit() {
        let days = [amount("7d", TIMES), amount("90 s", TIMES), amount("5", TIMES), amount("1.5h", TIMES)];
        assert_eq!(days, [Some(604_800_000), Some(90_000), None, None]);
        assert_eq!([amount("1TiB", BYTES), amount("-1MiB", BYTES)], [Some(1 << 40), None]);
        assert_eq!(amount("99999999999TiB", BYTES), Some(u64::MAX), "more than there is");
    }

    #[test]
    fn processors_are_whole_or_thousandths() {
        let all = ["2", "500m", "5000000", "-1", "half"].map(processors_milli);
        assert_eq!(all, [Some(2_000), Some(500), Some(u32::MAX), None, None]);
    }
}
