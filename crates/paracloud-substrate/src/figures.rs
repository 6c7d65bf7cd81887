//! Figures as people read them.

pub use paracloud_core::counted;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Bytes in binary units, three digits of them: `1.50 GiB`.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut divisor, mut unit) = (1_u64, 0);
    while count / divisor >= 1024 && unit + 1 < units.len() {
        divisor *= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    let whole = count / divisor;
    let hundredths = u128::from(count % divisor) * 100 / u128::from(divisor);
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {}", units[unit]),
        10..100 => format!("{whole}.{} {}", hundredths / 10, units[unit]),
        _ => format!("{whole} {}", units[unit]),
    }
}

/// A length of time from microseconds: `850 µs`, `4.2 ms`, `1.30 s`, `2 m 05 s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => millis(us / 1_000),
    }
}

/// A length of time from milliseconds: `120 ms`, `1.30 s`, `2 m 05 s`.
pub fn millis(ms: u64) -> String {
    match ms {
        0..SECOND_MS => format!("{ms} ms"),
        SECOND_MS..MINUTE_MS => format!("{}.{:02} s", ms / SECOND_MS, ms % SECOND_MS / 10),
        _ => age(ms),
    }
}

/// An age, in its two largest units: `12 s`, `2 m 05 s`, `3 h 10 m`, `4 d 02 h`.
pub fn age(ms: u64) -> String {
    match ms {
        0..MINUTE_MS => format!("{} s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{} m {:02} s", ms / MINUTE_MS, ms % MINUTE_MS / SECOND_MS),
        HOUR_MS..DAY_MS => format!("{} h {:02} m", ms / HOUR_MS, ms % HOUR_MS / MINUTE_MS),
        _ => format!("{} d {:02} h", ms / DAY_MS, ms % DAY_MS / HOUR_MS),
    }
}

/// The time of day in UTC, from milliseconds since 1970: `18:04:05.120Z`.
pub fn time_of_day(unix_ms: u64) -> String {
    let day = unix_ms % DAY_MS;
    let (hour, minute) = (day / HOUR_MS, day % HOUR_MS / MINUTE_MS);
    format!("{hour:02}:{minute:02}:{:02}.{:03}Z", day % MINUTE_MS / SECOND_MS, day % SECOND_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        let shown = [0, 1023, 1024, 1 << 20, 200 << 20, (3 << 30) / 2, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "1.00 MiB", "200 MiB", "1.50 GiB", "16777215 TiB"]);
    }

    #[test]
    fn times_change_their_unit_as_they_grow() {
        assert_eq!([850, 4_250, 1_300_000].map(micros), ["850 µs", "4.2 ms", "1.30 s"]);
        assert_eq!([120, 59_999, 125_000].map(millis), ["120 ms", "59.99 s", "2 m 05 s"]);
        assert_eq!([12_000, 11_400_000, 352_800_000].map(age), ["12 s", "3 h 10 m", "4 d 02 h"]);
        assert_eq!(time_of_day(1_700_000_000_123), "22:13:20.123Z");
    }
}
