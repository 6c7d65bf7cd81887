//! Clients of an app with sessions are kept with the instance that holds theirs.
//!
//! The application gives a session its id in a cookie or in a header of its response, the one that its manifest names. The
//! gateway writes the instance's number before it (`3~id`), and takes it off again when the client says it: it keeps nothing
//! of it, so that every gateway knows as much as this one.

use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use paracloud_substrate::config::Sticky;

/// Between the instance's number and the id.
const MARK: u8 = b'~';

/// The instance that the session of a request lives in, if it says one; what the application did not give is taken off.
pub(crate) fn find(sticky: &Sticky, headers: &mut HeaderMap) -> Option<u32> {
    match sticky {
        Sticky::Header(name) => {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            let value = headers.get(&name)?;
            let (number, id) = marked(value.as_bytes())?;
            let id = HeaderValue::from_bytes(&id).ok()?;
            headers.insert(name, id);
            Some(number)
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
pub(crate) fn mark(sticky: &Sticky, headers: &mut HeaderMap, number: u32) {
    match sticky {
        Sticky::Header(name) => {
            let Ok(name) = HeaderName::try_from(name.as_str()) else { return };
            if let Some(value) = headers.get(&name).filter(|value| !value.is_empty())
                && let Ok(value) = HeaderValue::from_bytes(&with_mark(number, value.as_bytes()))
            {
                headers.insert(name, value);
            }
        }
        Sticky::Cookie(name) => {
            if !headers.contains_key(SET_COOKIE) {
                return;
            }
            let all = headers.get_all(SET_COOKIE).iter();
            let all = all
                .map(|value| marked_cookie(name, value, number).unwrap_or_else(|| value.clone()))
                .collect();
            replace(headers, &SET_COOKIE, all);
        }
    }
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

fn marked_cookie(name: &str, value: &HeaderValue, number: u32) -> Option<HeaderValue> {
    let rest = value.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    // One that is taken back names no session.
    if rest.is_empty() || rest.starts_with(b";") {
        return None;
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'=');
    bytes.extend(with_mark(number, rest));
    HeaderValue::from_bytes(&bytes).ok()
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
fn unmarked(name: &str, header: &[u8], found: &mut Option<u32>) -> Option<Vec<u8>> {
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
                found.get_or_insert(number);
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
        mark(&sticky, &mut response, 3);
        assert_eq!(all(&response, SET_COOKIE), ["theme=dark", "sid=3~abc~9; Path=/; HttpOnly", "sidecar=1"]);
        let mut request = headers(&[(COOKIE, "theme=dark; sid=3~abc~9; x=1"), (COOKIE, "y=2")]);
        assert_eq!(find(&sticky, &mut request), Some(3));
        assert_eq!(all(&request, COOKIE), ["theme=dark; sid=abc~9; x=1", "y=2"]);
    }

    #[test]
    fn a_quoted_cookie_stays_quoted_and_one_that_is_taken_back_is_not_marked() {
        let sticky = Sticky::Cookie("sid".into());
        let mut response = headers(&[(SET_COOKIE, "sid=\"abc\"; Path=/"), (SET_COOKIE, "sid=; Max-Age=0")]);
        mark(&sticky, &mut response, 12);
        assert_eq!(all(&response, SET_COOKIE), ["sid=\"12~abc\"; Path=/", "sid=; Max-Age=0"]);
        let mut request = headers(&[(COOKIE, "sid=\"12~abc\"")]);
        assert_eq!(find(&sticky, &mut request), Some(12));
        assert_eq!(all(&request, COOKIE), ["sid=\"abc\""]);
    }

    #[test]
    fn a_header_is_marked_and_what_has_no_mark_stays_as_it_is() {
        let (name, sticky) = (HeaderName::from_static("session-id"), Sticky::Header("session-id".into()));
        let mut response = headers(&[(name.clone(), "abc")]);
        mark(&sticky, &mut response, 7);
        assert_eq!(all(&response, name.clone()), ["7~abc"]);
        assert_eq!(find(&sticky, &mut response), Some(7));
        assert_eq!(all(&response, name.clone()), ["abc"]);
        for strange in ["abc", "x~abc", "~abc", "07~abc", "99999999999~abc", ""] {
            let mut request = headers(&[(name.clone(), strange)]);
            assert_eq!(find(&sticky, &mut request), None, "{strange}");
            assert_eq!(all(&request, name.clone()), [strange]);
        }
        assert_eq!(find(&sticky, &mut HeaderMap::new()), None);
    }
}
