//! What a client is told when nothing was done: problems (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use blindsmith_api::Problem;

use crate::refusal::{Refusal, RefusalKind};
use crate::store::StoreError;

/// A refusal on its way out; the request's identifier is added on the way.
#[derive(Debug, Clone)]
pub(crate) struct HttpRefusal {
    status: StatusCode,
    detail: String,
    retry_after: Option<u64>,
    offset: Option<u64>,
    server_time: Option<u64>,
}

impl HttpRefusal {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        HttpRefusal { status, detail: detail.into(), retry_after: None, offset: None, server_time: None }
    }

    /// Too much is going on: worth another try after so many seconds.
    pub fn busy(detail: impl Into<String>, seconds: u64) -> Self {
        HttpRefusal {
            retry_after: Some(seconds),
            ..HttpRefusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// The key asked for more than it may.
    pub fn too_fast(seconds: u64) -> Self {
        let detail =
            format!("this key asks for more than the refinery allows it: wait {seconds} s, then go on");
        HttpRefusal { retry_after: Some(seconds), ..HttpRefusal::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub fn with_offset(self, offset: u64) -> Self {
        HttpRefusal { offset: Some(offset), ..self }
    }

    pub fn with_time(self, now: u64) -> Self {
        HttpRefusal { server_time: Some(now), ..self }
    }

    /// As the client gets it.
    pub fn render(self, request: &str) -> Response {
        let problem = Problem {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or("Refused").into(),
            status: self.status.as_u16(),
            detail: self.detail,
            request: request.to_owned(),
            offset: self.offset,
            server_time: self.server_time,
        };
        // Unwrap safety: a structure of strings and numbers.
        let body = serde_json::to_vec(&problem).expect("plain data");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for HttpRefusal {
    fn from(Refusal { kind, message }: Refusal) -> Self {
        let status = match kind {
            RefusalKind::Unknown => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Gone => StatusCode::GONE,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Quota => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalKind::Unavailable => return HttpRefusal::busy(message, 5),
            RefusalKind::Store => {
                tracing::error!("{message}");
                let detail =
                    "the refinery's store is full or does not answer, its log says more: try again later";
                return HttpRefusal::busy(detail, 5);
            }
            RefusalKind::Away => {
                tracing::warn!("{message}");
                return HttpRefusal::busy("the refinery's store is not reachable: try again", 5);
            }
            RefusalKind::Failed => {
                // Paths and the operating system's words are for the operator.
                tracing::error!("{message}");
                let detail = "the refinery could not do it: its log says why";
                return HttpRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
            }
        };
        HttpRefusal::new(status, message)
    }
}

impl From<StoreError> for HttpRefusal {
    fn from(e: StoreError) -> Self {
        Refusal::from(e).into()
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_trouble_is_worth_another_try_and_its_places_stay_here() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = HttpRefusal::from(StoreError::Io { path: "/secret/place".into(), source });
        assert_eq!((full.status, full.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
        let (what, place, why) = ("database", "/secret/place".into(), "secret".into());
        let away = HttpRefusal::from(StoreError::Unreachable { what, place, why });
        assert_eq!((away.status, away.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
        assert!(away.detail.contains("not reachable: try again"));
        let damaged = StoreError::Damaged { path: "/secret/place".into(), why: "a bit".into() };
        let damaged = HttpRefusal::from(damaged);
        assert_eq!((damaged.status, damaged.retry_after), (StatusCode::INTERNAL_SERVER_ERROR, None));
        assert!([full, away, damaged].iter().all(|refused| !refused.detail.contains("secret")));
    }
}
