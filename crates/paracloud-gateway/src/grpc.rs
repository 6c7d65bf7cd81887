//! Calls of gRPC: how long their client waits for them, and how what a gateway answers by itself is said to it.
//!
//! A client of gRPC reads the end of a call in trailers, and not in the status of its reply. What became of the request is
//! said beside it, as to everybody: `paci-outcome`.

use crate::answer::Own;
use crate::body::Reply;
use crate::head::{NOT_APPLIED_OUTCOME, OUTCOME_HEADER, UNKNOWN_OUTCOME};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Version};
use std::fmt::Write;
use std::time::Duration;

/// How long the client waits, in gRPC's own form.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Most digits of a timeout.
const DIGITS_MAX: usize = 8;
/// The first number that has more.
const NUMBER_END: u128 = 100_000_000;

/// What is said of a reply that was cut.
pub(crate) const CUT: &str =
    "the reply was cut because its instance moves; the request may have been applied";
/// What is said of a reply that broke off.
pub(crate) const BROKEN: &str = "the reply broke off; the request may have been applied";
/// What is said of a call that was sent on and not answered in time.
pub(crate) const OVERDUE: &str =
    "the application did not answer this call before its deadline; it may have been applied";
/// What is said of a call that was not sent on in time.
pub(crate) const LATE: &str = "nobody could serve this call before its deadline; it was not sent on";

/// The statuses that a gateway gives (gRPC's own numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Status {
    /// It may have been applied.
    Unknown = 2,
    /// It cannot be understood.
    InvalidArgument = 3,
    /// Its time is over.
    DeadlineExceeded = 4,
    /// It has too much of something.
    ResourceExhausted = 8,
    /// It was not applied, and may be sent again.
    Unavailable = 14,
}

impl Status {
    /// Of an answer of a gateway.
    fn of(status: StatusCode, outcome: &str) -> Self {
        match status {
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::ResourceExhausted,
            status if status.is_client_error() => Self::InvalidArgument,
            _ if outcome == NOT_APPLIED_OUTCOME => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// Whether a call failed for its server's sake, by what is said at its end: with a status that stands for one of HTTP's from
/// 500 on (`google/rpc/code.proto`), or with none that there is.
pub(crate) fn has_failed(trailers: Option<&HeaderMap>) -> bool {
    let status = trailers.and_then(|trailers| trailers.get(STATUS)?.to_str().ok()?.parse::<u32>().ok());
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS; the last that there is is 16.
    matches!(status, None | Some(2 | 4 | 12..=15 | 17..))
}

/// Whether a request is a call.
pub(crate) fn is_call(version: Version, headers: &HeaderMap) -> bool {
    let after =
        |it: &HeaderValue| it.as_bytes().strip_prefix(b"application/grpc").map(|rest| rest.first().copied());
    version == Version::HTTP_2
        && matches!(headers.get(CONTENT_TYPE).and_then(after), Some(None | Some(b'+' | b';')))
}

/// How long the client waits; `None` if it does not say.
///
/// # Errors
/// It says something else.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let mut said = headers.get_all(TIMEOUT).iter();
    let Some(value) = said.next() else { return Ok(None) };
    let malformed = || {
        let got = String::from_utf8_lossy(&value.as_bytes()[..value.len().min(32)]).into_owned();
        format!("grpc-timeout wants 1 to {DIGITS_MAX} digits and one of H, M, S, m, u, n, once; got {got:?}")
    };
    let text = value.to_str().ok().filter(|_| said.next().is_none()).ok_or_else(malformed)?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(malformed)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    if !is_number || digits.len() > DIGITS_MAX {
        return Err(malformed());
    }
    let number: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(malformed()),
    }))
}

/// What is left of it, as exactly as it can be said, and not more.
pub(crate) fn left(left: Duration) -> HeaderValue {
    let units = [("n", 1), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000)];
    let counted = units.into_iter().map(|(unit, nanos)| (left.as_nanos() / nanos, unit));
    let (number, unit) = counted
        .into_iter()
        .find(|(number, _)| *number < NUMBER_END)
        .unwrap_or((left.as_nanos() / 3_600_000_000_000, "H"));
    let text = format!("{}{unit}", number.min(NUMBER_END - 1));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0n"))
}

/// The end of a call of which it is not known whether it was applied.
pub(crate) fn unknown(why: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    say(&mut trailers, Status::Unknown, UNKNOWN_OUTCOME, why);
    trailers
}

/// Makes an answer of a gateway one that a client of gRPC reads; the application's answers stay as they are.
pub(crate) fn to_call(mut response: Response<Reply>) -> Response<Reply> {
    let Some(Own { outcome, reason }) = response.extensions_mut().remove() else { return response };
    let status = Status::of(response.status(), outcome);
    let mut response = Response::new(Reply::held(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    say(headers, status, outcome, &reason);
    response
}

fn say(headers: &mut HeaderMap, status: Status, outcome: &'static str, message: &str) {
    headers.insert(STATUS, HeaderValue::from(status as u16));
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(MESSAGE, text);
    }
    headers.insert(OUTCOME_HEADER, HeaderValue::from_static(outcome));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (TIMEOUT, HeaderValue::try_from(*value).unwrap())).collect()
    }

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        for (value, nanos) in [
            ("1H", 3_600_000_000_000_u128),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("250m", 250_000_000),
            ("7u", 7_000),
            ("99999999n", 99_999_999),
            ("0S", 0),
            ("99999999H", 99_999_999 * 3_600_000_000_000),
        ] {
            assert_eq!(timeout(&said(&[value])).unwrap().unwrap().as_nanos(), nanos, "{value}");
        }
        assert_eq!(timeout(&said(&[])), Ok(None));
        for value in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", " 1S", "1 S", "123456789S", "1SS", "é"] {
            let error = timeout(&said(&[value])).unwrap_err();
            assert!(error.contains("grpc-timeout"), "{value}: {error}");
        }
        timeout(&said(&["1S", "2S"])).unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_left_is_never_more_than_there_is(nanos in any::<u64>()) {
            let there = Duration::from_nanos(nanos);
            let said = timeout(&HeaderMap::from_iter([(TIMEOUT, left(there))])).unwrap().unwrap();
            prop_assert!(said <= there && said >= there.mul_f64(0.98), "{said:?} of {there:?}");
        }

        #[test]
        fn no_timeout_is_too_odd_to_be_read(value in "\\PC{0,12}") {
            if let Ok(value) = HeaderValue::try_from(value) {
                let _ = timeout(&HeaderMap::from_iter([(TIMEOUT, value)]));
            }
        }
    }

    #[test]
    fn a_call_is_told_from_what_is_none_by_its_content_type() {
        let is = |value: &'static str, version| {
            is_call(version, &HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        for call in ["application/grpc", "application/grpc+proto", "application/grpc;x=1"] {
            assert!(is(call, Version::HTTP_2) && !is(call, Version::HTTP_11), "{call}");
        }
        for none in ["application/grpc-web", "application/json", "application/grp", ""] {
            assert!(!is(none, Version::HTTP_2), "{none}");
        }
    }

    #[test]
    fn a_call_fails_for_its_servers_sake_by_some_statuses_and_without_one() {
        let failed = |status: &str| {
            has_failed(Some(&HeaderMap::from_iter([(STATUS, HeaderValue::try_from(status).unwrap())])))
        };
        for status in ["2", "4", "12", "13", "14", "15", "17", "99999999999", "-1", "x", ""] {
            assert!(failed(status), "{status}");
        }
        for status in ["0", "1", "3", "5", "6", "7", "8", "9", "10", "11", "16"] {
            assert!(!failed(status), "{status}");
        }
        assert!(has_failed(None) && has_failed(Some(&HeaderMap::new())));
    }

    #[test]
    fn a_message_is_printable_whatever_is_in_it() {
        let mut headers = HeaderMap::new();
        say(&mut headers, Status::Unknown, UNKNOWN_OUTCOME, "50 % of ü\n");
        assert_eq!(headers[MESSAGE], "50 %25 of %C3%BC%0A");
    }
}
