//! Heads of messages: what a gateway takes off, and what it adds.

use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::request;
use hyper::{Method, StatusCode, Uri, Version};
use paci::http::{NOT_APPLIED_HEADER, NOT_APPLIED_STATUS};
use paracloud_core::ids::Incarnation;

/// How a gateway's own answer says what became of the request: `not_applied` or `unknown`.
pub const OUTCOME_HEADER: &str = "paci-outcome";
/// It was not applied.
pub(crate) const NOT_APPLIED_OUTCOME: &str = "not_applied";
/// It may have been.
pub(crate) const UNKNOWN_OUTCOME: &str = "unknown";
const NOT_APPLIED: HeaderName = HeaderName::from_static(NOT_APPLIED_HEADER);
const OUTCOME: HeaderName = HeaderName::from_static(OUTCOME_HEADER);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// Whether this is a WebSocket's handshake.
pub(crate) fn is_handshake(request: &request::Parts) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && request.headers.contains_key(&WEBSOCKET_KEY)
        && request.headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && tokens(&request.headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .map(str::trim)
}

/// Takes off what holds for one connection only.
fn strip(headers: &mut HeaderMap) {
    let of_one = [&CONNECTION, &KEEP_ALIVE, &PROXY_CONNECTION, &TE, &TRAILER, &TRANSFER_ENCODING, &UPGRADE];
    // Most heads have none of them, and one look at each name is cheaper than a search for each.
    if !headers.keys().any(|name| of_one.contains(&name)) {
        return;
    }
    let named: Vec<HeaderName> =
        tokens(headers).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()).collect();
    // A client must not have a body's length taken off, or a header that the application trusts.
    for name in named.iter().filter(|name| **name != CONTENT_LENGTH && **name != HOST) {
        headers.remove(name);
    }
    for name in of_one {
        headers.remove(name);
    }
}

/// How a message came, for those who read on which way it went.
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(if version == Version::HTTP_2 { "2.0 paracloud" } else { "1.1 paracloud" })
}

/// What HTTP/2 says in its own way, as HTTP/1.1 has it: the host that was asked wins over a `Host`, and cookies stand in one
/// line (RFC 9113, 8.2.3 and 8.3.1).
fn from_http2(request: &mut request::Parts) {
    let headers = &mut request.headers;
    if let Some(host) = request.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok()) {
        headers.insert(HOST, host);
    }
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(all) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, all);
        }
    }
}

/// The same request as HTTP/2 has it: the host stands in its target. `false` if it has none.
pub(crate) fn to_http2(request: &mut request::Parts) -> bool {
    let Some(host) = request.headers.remove(HOST) else { return false };
    let path = request.uri.path_and_query().map_or("/", |it| it.as_str());
    let uri = Uri::builder().scheme("http").authority(host.as_bytes()).path_and_query(path).build();
    let Ok(uri) = uri else { return false };
    request.uri = uri;
    request.version = Version::HTTP_2;
    true
}

/// Whether a client takes trailers.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let said = headers.get_all(TE).iter().filter_map(|it| it.to_str().ok());
    said.flat_map(|it| it.split(',')).any(|it| it.trim().eq_ignore_ascii_case("trailers"))
}

/// Says to an application that its trailers are taken.
pub(crate) fn take_trailers(headers: &mut HeaderMap) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Makes a reply's trailers into those that the client gets: what a gateway alone says is not the application's to say.
pub(crate) fn trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    trailers.remove(NOT_APPLIED);
    trailers.remove(OUTCOME);
}

fn switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Makes a request's head into the one that the application gets. `length` is that of its body, if known.
pub(crate) fn to_application(
    request: &mut request::Parts,
    peer: &HeaderValue,
    length: Option<u64>,
    handshake: bool,
) {
    let came_as = request.version;
    if came_as == Version::HTTP_2 {
        from_http2(request);
    }
    let headers = &mut request.headers;
    strip(headers);
    // It is answered here, when the body is asked for.
    headers.remove(EXPECT);
    match length {
        Some(length) if length > 0 => _ = headers.insert(CONTENT_LENGTH, length.into()),
        Some(_) => {}
        None => _ = headers.remove(CONTENT_LENGTH),
    }
    if handshake {
        switch(headers);
    }
    let before = headers.get(FORWARDED_FOR).filter(|before| before.to_str().is_ok());
    let path = before.map(|before| [before.as_bytes(), b", ", peer.as_bytes()].concat());
    let path = path.and_then(|path| HeaderValue::from_maybe_shared(Bytes::from(path)).ok());
    headers.insert(FORWARDED_FOR, path.unwrap_or_else(|| peer.clone()));
    if !headers.contains_key(HOST)
        && let Some(host) = request.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok())
    {
        headers.insert(HOST, host);
    }
    if let Some(host) = headers.get(HOST).filter(|_| !headers.contains_key(FORWARDED_HOST)).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    headers.append(VIA, via(came_as));
    if request.uri.authority().is_some() {
        let path = request.uri.path_and_query().map_or("/", |it| it.as_str());
        request.uri = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    }
    request.version = Version::HTTP_11;
}

/// Makes a reply's head into the one that the client gets.
pub(crate) fn to_client(status: StatusCode, version: Version, headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(NOT_APPLIED);
    headers.remove(OUTCOME);
    headers.append(VIA, via(version));
    if status == StatusCode::SWITCHING_PROTOCOLS {
        switch(headers);
    }
}

/// Whether the closed gate of the process that is sent to as this incarnation refused: the one proof that nothing was
/// applied.
///
/// A gate says the incarnation it was told last. That is 0 before it was told any; the one before after a move that was
/// called off, until its process has heard of that; and the next after one of which this gateway has not heard. Any other
/// number is none of its, and what comes with it an answer.
pub(crate) fn is_not_applied(status: StatusCode, headers: &HeaderMap, sent_to: Incarnation) -> bool {
    let mut said = headers.get_all(NOT_APPLIED).iter();
    let (Some(said), None) = (said.next(), said.next()) else { return false };
    let said = said.to_str().ok().filter(|said| said.bytes().all(|it| it.is_ascii_digit()));
    let Some(said) = said.and_then(|said| said.parse::<u32>().ok()) else { return false };
    let may_be_said = [0, sent_to.0.saturating_sub(1), sent_to.0, sent_to.0.saturating_add(1)];
    status.as_u16() == NOT_APPLIED_STATUS && may_be_said.contains(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&'static str, &'static str)], uri: &str) -> request::Parts {
        let mut request = hyper::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_holds_for_one_connection_is_not_passed_on() {
        let mut request = parts(
            &[
                ("host", "shop.example"),
                ("connection", "keep-alive, x-private"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("expect", "100-continue"),
                ("x-forwarded-for", "192.0.2.1"),
                ("content-length", "3"),
            ],
            "/a?b=c",
        );
        to_application(&mut request, &"127.0.0.1".parse().unwrap(), Some(3), false);
        for gone in ["connection", "x-private", "keep-alive", "expect"] {
            assert!(!request.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(request.headers["x-forwarded-for"], "192.0.2.1, 127.0.0.1");
        assert_eq!(request.headers["x-forwarded-host"], "shop.example");
        assert_eq!(request.headers["x-forwarded-proto"], "http");
        assert_eq!(request.headers["via"], "1.1 paracloud");
        assert_eq!(request.headers["content-length"], "3");
    }

    #[test]
    fn a_client_cannot_have_the_length_of_its_body_taken_off() {
        let mut request =
            parts(&[("connection", "content-length, host"), ("host", "a"), ("content-length", "3")], "/");
        to_application(&mut request, &"127.0.0.1".parse().unwrap(), Some(3), false);
        assert_eq!(
            (&request.headers["content-length"], &request.headers["host"]),
            (&"3".parse().unwrap(), &"a".parse().unwrap())
        );
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_its_host() {
        let mut request = parts(&[], "http://shop.example/a?b=c");
        to_application(&mut request, &"127.0.0.1".parse().unwrap(), Some(0), false);
        assert_eq!(request.uri, "/a?b=c");
        assert_eq!(request.headers["host"], "shop.example");
    }

    #[test]
    fn only_the_status_and_the_number_of_the_gate_together_prove_that_nothing_was_applied() {
        let refused = StatusCode::from_u16(421).unwrap();
        let proves = |status: StatusCode, said: &[&'static str]| {
            let said: Vec<_> = said.iter().map(|said| ("paci-not-applied", *said)).collect();
            is_not_applied(status, &parts(&said, "/").headers, Incarnation(7))
        };
        for said in ["7", "6", "8", "0"] {
            assert!(proves(refused, &[said]), "{said}");
            assert!(!proves(StatusCode::SERVICE_UNAVAILABLE, &[said]), "{said}");
        }
        for said in ["1", "5", "9", "", "+7", "-7", "7.0", "7 ", "seven", "4294967303"] {
            assert!(!proves(refused, &[said]), "{said}");
        }
        assert!(!proves(refused, &[]));
        assert!(!proves(refused, &["7", "7"]), "a gate says it once");
    }
}
