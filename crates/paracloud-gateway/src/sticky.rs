//! Clients of an app with sessions are kept with the instance that holds theirs.
//!
//! The application gives a session its id in a cookie or in a header of its response, the one that its manifest names. The
//! gateway writes the instance's number before it (`3~id`), and takes it off again when the client says it: it keeps nothing
//! of it, so that every gateway knows as much as this one.

use crate::sessions::SessionId;
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use paracloud_substrate::config::Sticky;
use std::time::SystemTime;

/// Between the instance's number and the id.
const MARK: u8 = b'~';

/// The session that a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marked {
    /// The instance that it lives in.
    pub(crate) number: u32,
    pub(crate) id: SessionId,
}

/// What an application says with a response of the session that a client is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing.
    Nothing,
    /// It is in this one.
    Session(SessionId),
    /// It is in none any more.
    End,
}

/// The session of a request, if it says one; what the application did not give is taken off.
pub(crate) fn find(sticky: &Sticky, headers: &mut HeaderMap) -> Option<Marked> {
    match sticky {
        Sticky::Header(name) => {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            let value = headers.get(&name)?;
            let (number, id) = marked(value.as_bytes())?;
            let session = Marked { number, id: SessionId::of(&id) };
            headers.insert(name, HeaderValue::from_bytes(&id).ok()?);
            Some(session)
        }
        Sticky::Cookie(name) => {
            let mut found = None;
            for value in headers.get_all(COOKIE).iter().cloned().collect::<Vec<_>>() {
                let rest = unmarked(name, value.as_bytes(), &mut found);
                if let Some(rest) = rest.and_then(|rest| HeaderValue::from_bytes(&rest).ok()) {
                    let all = headers.get_all(COOKIE).iter();
                    let all: Vec<_> =
                        all.map(|it| if *it == value { rest.clone() } else { it.clone() }).collect();
                    replace(headers, &COOKIE, all);
                }
            }
            found
        }
    }
}

/// Marks the id that the application gives in a response.
pub(crate) fn mark(sticky: &Sticky, headers: &mut HeaderMap, number: u32) -> Given {
    match sticky {
        Sticky::Header(name) => {
            let Ok(name) = HeaderName::try_from(name.as_str()) else { return Given::Nothing };
            let Some(value) = headers.get(&name) else { return Given::Nothing };
            if value.is_empty() {
                return Given::End;
            }
            let id = SessionId::of(value.as_bytes());
            if let Ok(value) = HeaderValue::from_bytes(&with_mark(number, value.as_bytes())) {
                headers.insert(name, value);
            }
            Given::Session(id)
        }
        Sticky::Cookie(name) => {
            if !headers.contains_key(SET_COOKIE) {
                return Given::Nothing;
            }
            let mut given = Given::Nothing;
            let all = headers.get_all(SET_COOKIE).iter().map(|value| {
                let said = said_by(name, value.as_bytes());
                given = said.as_ref().map_or(given, |(said, _)| *said);
                let marked = match said {
                    Some((Given::Session(_), value)) => with_mark(number, value),
                    Some((Given::Nothing | Given::End, _)) | None => return value.clone(),
                };
                let marked = [name.as_bytes(), b"=", &marked].concat();
                HeaderValue::from_bytes(&marked).unwrap_or_else(|_| value.clone())
            });
            let all = all.collect();
            replace(headers, &SET_COOKIE, all);
            given
        }
    }
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

/// What a `Set-Cookie` header says of the session, and all of it behind the name; `None` if it is another cookie.
fn said_by<'a>(name: &str, header: &'a [u8]) -> Option<(Given, &'a [u8])> {
    let value = header.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let id = parts.next().unwrap_or_default();
    let given =
        if id.is_empty() || is_taken_back(parts) { Given::End } else { Given::Session(SessionId::of(id)) };
    Some((given, value))
}

/// Whether these attributes of a cookie take it back: of a time to live and of a date the first counts (RFC 6265, 5.3).
fn is_taken_back<'a>(attributes: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut by_age, mut by_date) = (None, None);
    for attribute in attributes {
        if let Some(age) = told(attribute, b"max-age=") {
            by_age = Some(age == b"0" || age.starts_with(b"-"));
        } else if let Some(date) = told(attribute, b"expires=") {
            let ends = std::str::from_utf8(date).ok().and_then(|date| httpdate::parse_http_date(date).ok());
            by_date = ends.map(|ends| ends <= SystemTime::now());
        }
    }
    by_age.or(by_date).unwrap_or(false)
}

/// What an attribute of this name says.
fn told<'a>(attribute: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (said, value) = attribute.split_at_checked(name.len())?;
    said.eq_ignore_ascii_case(name).then_some(value)
}

fn with_mark(number: u32, value: &[u8]) -> Vec<u8> {
    let (quote, rest) = quoted(value);
    let mut bytes = quote.to_vec();
    bytes.extend(number.to_string().as_bytes());
    bytes.push(MARK);
    bytes.extend(rest);
    bytes
}

/// The number and the id of a value that has both.
fn marked(value: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (quote, rest) = quoted(value);
    let end = rest.iter().position(|byte| *byte == MARK)?;
    let number = std::str::from_utf8(&rest[..end]).ok()?;
    let number = number.parse().ok().filter(|parsed: &u32| parsed.to_string() == number)?;
    Some((number, [quote, &rest[end + 1..]].concat()))
}

fn quoted(value: &[u8]) -> (&[u8], &[u8]) {
    if value.starts_with(b"\"") { value.split_at(1) } else { (&[], value) }
}

/// A `Cookie` header without the mark of this cookie; `None` if there is none in it.
fn unmarked(name: &str, header: &[u8], found: &mut Option<Marked>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(header.len());
    let mut changed = false;
    for (place, pair) in header.split(|byte| *byte == b';').enumerate() {
        if place > 0 {
            bytes.push(b';');
        }
        let value =
            pair.trim_ascii_start().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        match value.and_then(marked) {
            Some((number, id)) => {
                found.get_or_insert_with(|| Marked { number, id: SessionId::of(id.trim_ascii()) });
                bytes.extend(&pair[..pair.len() - value.map_or(0, <[u8]>::len)]);
                bytes.extend(id);
                changed = true;
            }
            None => bytes.extend(pair),
        }
    }
    changed.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(HeaderName, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn all(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_cookie_is_marked_for_its_client_and_not_for_its_application() {
        let sticky = Sticky::Cookie("sid".into());
        let mut response = headers(&[
            (SET_COOKIE, "theme=dark"),
            (SET_COOKIE, "sid=abc~9; Path=/; HttpOnly"),
            (SET_COOKIE, "sidecar=1"),
        ]);
        let session = SessionId::of(b"abc~9");
        assert_eq!(mark(&sticky, &mut response, 3), Given::Session(session));
        assert_eq!(all(&response, SET_COOKIE), ["theme=dark", "sid=3~abc~9; Path=/; HttpOnly", "sidecar=1"]);
        let mut request = headers(&[(COOKIE, "theme=dark; sid=3~abc~9; x=1"), (COOKIE, "y=2")]);
        assert_eq!(find(&sticky, &mut request), Some(Marked { number: 3, id: session }));
        assert_eq!(all(&request, COOKIE), ["theme=dark; sid=abc~9; x=1", "y=2"]);
    }

    #[test]
    fn a_quoted_cookie_stays_quoted_and_one_that_is_taken_back_is_not_marked() {
        let sticky = Sticky::Cookie("sid".into());
        let mut response = headers(&[(SET_COOKIE, "sid=\"abc\"; Path=/")]);
        let session = SessionId::of(b"\"abc\"");
        assert_eq!(mark(&sticky, &mut response, 12), Given::Session(session));
        assert_eq!(all(&response, SET_COOKIE), ["sid=\"12~abc\"; Path=/"]);
        let mut request = headers(&[(COOKIE, "sid=\"12~abc\"")]);
        assert_eq!(find(&sticky, &mut request), Some(Marked { number: 12, id: session }));
        assert_eq!(all(&request, COOKIE), ["sid=\"abc\""]);
        let long_ago = "sid=x; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        for back in ["sid=", "sid=; Path=/", "sid=deleted; Path=/; max-age=0", "sid=x; Max-Age=-1", long_ago]
        {
            let mut response = headers(&[(SET_COOKIE, back)]);
            assert_eq!(mark(&sticky, &mut response, 12), Given::End, "{back}");
            assert_eq!(all(&response, SET_COOKIE), [back]);
        }
        let later = "sid=x; Expires=Fri, 31 Dec 9999 23:59:59 GMT";
        let age_first = "sid=x; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        for stays in [later, age_first] {
            let given = mark(&sticky, &mut headers(&[(SET_COOKIE, stays)]), 12);
            assert_eq!(given, Given::Session(SessionId::of(b"x")), "{stays}");
        }
        let mut other = headers(&[(SET_COOKIE, "sidecar=1; Max-Age=0")]);
        assert_eq!(mark(&sticky, &mut other, 12), Given::Nothing);
    }

    #[test]
    fn a_header_is_marked_and_what_has_no_mark_stays_as_it_is() {
        let (name, sticky) = (HeaderName::from_static("session-id"), Sticky::Header("session-id".into()));
        let mut response = headers(&[(name.clone(), "abc")]);
        let session = SessionId::of(b"abc");
        assert_eq!(mark(&sticky, &mut response, 7), Given::Session(session));
        assert_eq!(all(&response, name.clone()), ["7~abc"]);
        assert_eq!(find(&sticky, &mut response), Some(Marked { number: 7, id: session }));
        assert_eq!(all(&response, name.clone()), ["abc"]);
        let mut end = headers(&[(name.clone(), "")]);
        assert_eq!(mark(&sticky, &mut end, 7), Given::End);
        for strange in ["abc", "x~abc", "~abc", "07~abc", "99999999999~abc", ""] {
            let mut request = headers(&[(name.clone(), strange)]);
            assert_eq!(find(&sticky, &mut request), None, "{strange}");
            assert_eq!(all(&request, name.clone()), [strange]);
        }
        assert_eq!(find(&sticky, &mut HeaderMap::new()), None);
    }
}
