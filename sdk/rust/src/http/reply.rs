//! A stored result, and its form as a record's value.

use super::{GuardedBody, answer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;

/// What is remembered of a request with a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// Of the request: the same key with another one is refused.
    pub(crate) fingerprint: [u8; 16],
    /// Grows from entry to entry: the oldest are forgotten first.
    pub(crate) number: u64,
    pub(crate) said: Said,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// What the client was told, or would have been.
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// It changed something, and then it failed; or it ended, and its answer was none that can be kept. It must not be
    /// applied again, and what it said or would have said is not known.
    Lost,
}

const WHOLE: u8 = 1;
const LOST: u8 = 2;

impl Reply {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.fingerprint.to_vec();
        out.extend_from_slice(&self.number.to_be_bytes());
        let Said::Whole { status, headers, body } = &self.said else {
            out.push(LOST);
            return out;
        };
        out.push(WHOLE);
        out.extend_from_slice(&status.as_u16().to_be_bytes());
        let count = u32::try_from(headers.len()).expect("http bounds the number of headers at 32768");
        out.extend_from_slice(&count.to_be_bytes());
        let mut piece = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).expect("a header was read from a bounded head");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        };
        for (name, value) in headers {
            piece(name.as_str().as_bytes());
            piece(value.as_bytes());
        }
        out.extend_from_slice(body);
        out
    }

    /// The number of a stored result, without reading the rest.
    pub(crate) fn number(value: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(*value.get(16..)?.first_chunk()?))
    }

    /// `None`: the bytes are none of [`Reply::encode`]'s.
    pub(crate) fn decode(value: &Bytes) -> Option<Self> {
        let mut rest = &value[..];
        let mut take = |bytes: usize| rest.split_off(..bytes);
        let fingerprint = take(16)?.try_into().ok()?;
        let number = u64::from_be_bytes(take(8)?.try_into().ok()?);
        if take(1)? == [LOST] {
            return Some(Self { fingerprint, number, said: Said::Lost });
        }
        let status = StatusCode::from_u16(u16::from_be_bytes(take(2)?.try_into().ok()?)).ok()?;
        let count = u32::from_be_bytes(take(4)?.try_into().ok()?);
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            let mut piece = || {
                let length = u32::from_be_bytes(take(4)?.try_into().ok()?);
                take(usize::try_from(length).ok()?)
            };
            let name = HeaderName::from_bytes(piece()?).ok()?;
            headers.append(name, HeaderValue::from_bytes(piece()?).ok()?);
        }
        let body = value.slice(value.len() - rest.len()..);
        Some(Self { fingerprint, number, said: Said::Whole { status, headers, body } })
    }
}

impl Said {
    pub(super) fn into_response<B: Body>(self) -> Response<GuardedBody<B>> {
        let Self::Whole { status, headers, body } = self else {
            let lost = r#"{"outcome":"unknown","message":"the request was begun before and is not applied again; its result was not kept"}"#;
            let response = answer(StatusCode::INTERNAL_SERVER_ERROR, lost);
            let (parts, _) = response.into_parts();
            return Response::from_parts(parts, GuardedBody::own(Bytes::from_static(lost.as_bytes())));
        };
        let mut response = Response::new(GuardedBody::own(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_with_its_headers_in_order() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        let said = Said::Whole { status: StatusCode::CREATED, headers, body: Bytes::from_static(b"made") };
        for said in [said, Said::Lost] {
            let reply = Reply { fingerprint: [7; 16], number: 3, said };
            assert_eq!(Reply::decode(&reply.encode().into()), Some(reply));
        }
    }

    #[test]
    fn bytes_that_are_no_result_are_none() {
        let said = Said::Whole { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() };
        let whole = Reply { fingerprint: [7; 16], number: 3, said }.encode();
        for cut in 0..whole.len() {
            assert_eq!(Reply::decode(&Bytes::copy_from_slice(&whole[..cut])), None, "cut at {cut}");
        }
    }
}
