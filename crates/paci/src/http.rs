//! The HTTP/1.1 binding: methods, paths and headers. No HTTP library stands behind it; both sides bring their own.

use crate::bounds;
use crate::error::{ErrorBody, ErrorCode};
use crate::invalid::{self, Invalid};
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// Each request carries this header with [`PACI_HEADER_VALUE`]. A browser, or a program that was talked into
/// fetching an address, does not send it.
pub const PACI_HEADER: &str = "paci";
/// The value of [`PACI_HEADER`]: the version of the binding.
pub const PACI_HEADER_VALUE: &str = "1";
/// With status [`NOT_APPLIED_STATUS`], from an application's guard layer and from nothing else: the request was not
/// applied, not in any part. The value is the refusing process's incarnation.
pub const NOT_APPLIED_HEADER: &str = "paci-not-applied";
/// The status of a request that a closed gate refused.
pub const NOT_APPLIED_STATUS: u16 = 421;
/// Names a request, so that it is applied once however often it is sent.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// The content type of every body.
pub const CONTENT_TYPE: &str = "application/json";

/// The paths of this version, for people.
const PATHS: &str = "hello, state, report, ask, instance, holds/{key}, announcements/{id}, upcalls/next, \
    upcalls/{operation}";

/// `GET /v1/upcalls/next?waitMs=25000`: its query, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NextRequest {
    /// How long to wait for an upcall, in milliseconds; then the answer is 204.
    pub wait_ms: u32,
}

impl Message for NextRequest {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::at_most("waitMs", self.wait_ms, bounds::WAIT_MS_MAX)
    }
}

/// A cloudcall, as method and path name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/hello`
    Hello,
    /// `PUT /v1/state`
    SetState,
    /// `PUT /v1/holds/{key}`
    Hold {
        /// Which hold.
        key: String,
    },
    /// `PUT /v1/report`
    Report,
    /// `PUT /v1/announcements/{id}`
    Announce {
        /// Which announcement.
        id: String,
    },
    /// `PUT /v1/ask`
    Ask,
    /// `GET /v1/instance`
    Describe,
    /// `GET /v1/upcalls/next?waitMs=`
    Next(NextRequest),
    /// `POST /v1/upcalls/{operation}`
    Answer {
        /// Which operation.
        operation: u32,
    },
}

impl Route {
    /// The method it is called with.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Hello | Self::Answer { .. } => "POST",
            Self::SetState | Self::Hold { .. } | Self::Report | Self::Announce { .. } | Self::Ask => "PUT",
            Self::Describe | Self::Next(_) => "GET",
        }
    }

    /// Its path and query.
    pub fn target(&self) -> String {
        match self {
            Self::Hello => "/v1/hello".to_owned(),
            Self::SetState => "/v1/state".to_owned(),
            Self::Hold { key } => format!("/v1/holds/{key}"),
            Self::Report => "/v1/report".to_owned(),
            Self::Announce { id } => format!("/v1/announcements/{id}"),
            Self::Ask => "/v1/ask".to_owned(),
            Self::Describe => "/v1/instance".to_owned(),
            Self::Next(next) => format!("/v1/upcalls/next?waitMs={}", next.wait_ms),
            Self::Answer { operation } => format!("/v1/upcalls/{operation}"),
        }
    }

    /// Longest body of a request on it, in bytes.
    pub const fn body_bytes_max(&self) -> usize {
        match self {
            Self::Hello => bounds::HELLO_BODY_BYTES_MAX,
            Self::Report => bounds::REPORT_BODY_BYTES_MAX,
            Self::SetState | Self::Hold { .. } | Self::Announce { .. } | Self::Ask | Self::Answer { .. } => {
                bounds::BODY_BYTES_MAX
            }
            Self::Describe | Self::Next(_) => 0,
        }
    }

    /// The call of a request line. Parameters of the query that are not known are ignored.
    ///
    /// ```
    /// use paci::http::Route;
    ///
    /// assert_eq!(Route::parse("POST", "/v1/upcalls/7"), Ok(Route::Answer { operation: 7 }));
    /// assert_eq!(Route::parse("GET", "/v1/hello").unwrap_err().status(), 405);
    /// ```
    ///
    /// # Errors
    /// There is no such path, it has another method, or a part of it breaks its bound.
    pub fn parse(method: &str, target: &str) -> Result<Self, ErrorBody> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let route = match path {
            "/v1/hello" => Self::Hello,
            "/v1/state" => Self::SetState,
            "/v1/report" => Self::Report,
            "/v1/ask" => Self::Ask,
            "/v1/instance" => Self::Describe,
            "/v1/upcalls/next" => Self::Next(next(query)?),
            _ => Self::with_name(path)?,
        };
        if route.method() != method {
            let wanted = format!("{path}: {}, want {}", invalid::quoted(method), route.method());
            return Err(ErrorBody::new(ErrorCode::MethodNotAllowed, &wanted));
        }
        Ok(route)
    }

    /// A path whose last part is a name.
    fn with_name(path: &str) -> Result<Self, ErrorBody> {
        if let Some(key) = path.strip_prefix("/v1/holds/") {
            invalid::name("key", key, bounds::NAME_BYTES_MAX)?;
            return Ok(Self::Hold { key: key.to_owned() });
        }
        if let Some(id) = path.strip_prefix("/v1/announcements/") {
            invalid::name("id", id, bounds::NAME_BYTES_MAX)?;
            return Ok(Self::Announce { id: id.to_owned() });
        }
        let operation = path.strip_prefix("/v1/upcalls/").and_then(number);
        operation.map(|operation| Self::Answer { operation }).ok_or_else(|| {
            ErrorBody::new(
                ErrorCode::PathUnknown,
                &format!("{} is no path; after /v1/ there are {PATHS}", invalid::quoted(path)),
            )
        })
    }
}

fn next(query: &str) -> Result<NextRequest, ErrorBody> {
    let given = query.split('&').find_map(|parameter| parameter.strip_prefix("waitMs="));
    let wrong = || {
        let came = invalid::quoted(given.unwrap_or_default());
        let want =
            format!("waitMs: {came}, want a whole number of milliseconds, at most {}", bounds::WAIT_MS_MAX);
        ErrorBody::new(ErrorCode::Malformed, &want)
    };
    let next = NextRequest { wait_ms: given.map_or(Some(0), number).ok_or_else(wrong)? };
    next.validate()?;
    Ok(next)
}

/// Digits and nothing else: no sign, no blank.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_comes_back_from_its_request_line() {
        for route in [
            Route::Hello,
            Route::SetState,
            Route::Hold { key: "payroll".into() },
            Route::Report,
            Route::Announce { id: "sale".into() },
            Route::Ask,
            Route::Describe,
            Route::Next(NextRequest { wait_ms: 25_000 }),
            Route::Answer { operation: 7 },
        ] {
            assert_eq!(Route::parse(route.method(), &route.target()), Ok(route));
        }
    }

    #[test]
    fn a_next_without_a_wait_does_not_wait() {
        assert_eq!(Route::parse("GET", "/v1/upcalls/next"), Ok(Route::Next(NextRequest::default())));
        assert_eq!(Route::parse("GET", "/v1/upcalls/next?x=1"), Ok(Route::Next(NextRequest::default())));
    }

    #[test]
    fn a_refused_request_line_says_what_came_and_what_is_wanted() {
        for (method, target, said) in [
            (
                "GET",
                "/v1/instances",
                "\"/v1/instances\" is no path; after /v1/ there are hello, state, report, ask, instance, holds/{key}, \
                 announcements/{id}, upcalls/next, upcalls/{operation}",
            ),
            ("POST", "/v1/report", "/v1/report: \"POST\", want PUT"),
            (
                "GET",
                "/v1/upcalls/next?waitMs=-1",
                "waitMs: \"-1\", want a whole number of milliseconds, at most 30000",
            ),
            ("PUT", "/v1/holds/a%20b", "key: \"a%20b\", want letters, digits and any of . _ - only"),
        ] {
            assert_eq!(Route::parse(method, target).unwrap_err().message, said);
        }
    }

    #[test]
    fn a_request_line_that_names_no_call_is_refused() {
        for (method, target, code) in [
            ("GET", "/", ErrorCode::PathUnknown),
            ("GET", "/v2/hello", ErrorCode::PathUnknown),
            ("POST", "/v1/upcalls/", ErrorCode::PathUnknown),
            ("POST", "/v1/upcalls/+7", ErrorCode::PathUnknown),
            ("POST", "/v1/upcalls/4294967296", ErrorCode::PathUnknown),
            ("POST", "/v1/hello/", ErrorCode::PathUnknown),
            ("DELETE", "/v1/state", ErrorCode::MethodNotAllowed),
            ("PUT", "/v1/holds/", ErrorCode::OutOfBounds),
            ("POST", "/v1/report", ErrorCode::MethodNotAllowed),
            ("PUT", "/v1/reports", ErrorCode::PathUnknown),
            ("PUT", "/v1/announcements", ErrorCode::PathUnknown),
            ("PUT", "/v1/announcements/", ErrorCode::OutOfBounds),
            ("PUT", "/v1/announcements/a/b", ErrorCode::OutOfBounds),
            ("POST", "/v1/ask", ErrorCode::MethodNotAllowed),
            ("PUT", "/v1/holds/a%2Fb", ErrorCode::OutOfBounds),
            ("GET", "/v1/upcalls/next?waitMs=soon", ErrorCode::Malformed),
            ("GET", "/v1/upcalls/next?waitMs=30001", ErrorCode::OutOfBounds),
        ] {
            assert_eq!(Route::parse(method, target).unwrap_err().code, code, "{method} {target}");
        }
    }
}
