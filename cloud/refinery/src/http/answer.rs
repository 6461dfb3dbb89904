//! Answers, and work that may wait.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::HttpRefusal;

/// What a handler returns.
pub(super) type Answer = Result<Response, HttpRefusal>;

/// Runs what may wait for the disk or the warden where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpRefusal> + Send + 'static,
) -> Result<T, HttpRefusal> {
    let failed =
        |_| HttpRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the refinery failed: its log says why");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

pub(super) fn json<T: Serialize>(value: &T) -> Answer {
    let failed = |_| HttpRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written");
    Ok(bytes("application/json", serde_json::to_vec(value).map_err(failed)?))
}

pub(super) fn bytes(media: &'static str, bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], bytes).into_response()
}

pub(super) fn invalid(detail: impl Into<String>) -> HttpRefusal {
    HttpRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

pub(super) fn no_route() -> HttpRefusal {
    HttpRefusal::new(StatusCode::NOT_FOUND, "there is no such route: GET /openapi.json lists them")
}

/// A response that has no body.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
