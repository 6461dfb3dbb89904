//! The routes: which handler serves each route of the table, and what every request passes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, patch, post};
use blindsmith_api::{Method, openapi};
use tracing::info;

use super::answer::{json, no_route};
use super::problem::HttpRefusal;
use super::service::Service;
use super::{events, gate, health, page, projects, uploads};

/// What serves each route of the table.
fn handlers() -> Vec<(Method, &'static str, MethodRouter<Arc<Service>>)> {
    use Method::{Delete, Get, Patch, Post};
    vec![
        (Get, "/health", get(health::health)),
        (Get, "/ready", get(health::ready)),
        (Get, "/metrics", get(health::metrics)),
        (Get, "/openapi.json", get(|| async { json(&openapi()) })),
        (Post, "/v1/attest", post(projects::attest)),
        (Post, "/v1/projects", post(projects::create)),
        (Get, "/v1/projects", get(projects::list)),
        (Get, "/v1/projects/{project}", get(projects::status)),
        (Get, "/v1/projects/{project}/spec", get(projects::spec)),
        (Post, "/v1/projects/{project}/attest", post(projects::attest)),
        (Post, "/v1/projects/{project}/release", post(projects::release)),
        (Get, "/v1/projects/{project}/orders", get(projects::orders)),
        (Post, "/v1/projects/{project}/orders", post(projects::order)),
        (Post, "/v1/projects/{project}/enrolments", post(projects::enrol)),
        (Get, "/v1/projects/{project}/uploads", get(uploads::list)),
        (Post, "/v1/projects/{project}/uploads", post(uploads::begin)),
        (Get, "/v1/projects/{project}/uploads/{session}", get(uploads::offset)),
        (Patch, "/v1/projects/{project}/uploads/{session}", patch(uploads::append)),
        (Post, "/v1/projects/{project}/uploads/{session}/commit", post(uploads::commit)),
        (Delete, "/v1/projects/{project}/uploads/{session}", delete(uploads::withdraw)),
        (Post, "/v1/projects/{project}/queries", post(uploads::begin)),
        (Get, "/v1/projects/{project}/queries/{session}", get(uploads::offset)),
        (Patch, "/v1/projects/{project}/queries/{session}", patch(uploads::append)),
        (Post, "/v1/projects/{project}/queries/{session}/ask", post(uploads::ask)),
        (Post, "/v1/projects/{project}/rounds", post(projects::refine)),
        (Get, "/v1/projects/{project}/rounds", get(projects::rounds)),
        (Get, "/v1/projects/{project}/models/{version}", get(projects::model)),
        (Get, "/v1/projects/{project}/receipts", get(projects::receipts)),
        (Get, "/v1/projects/{project}/events", get(events::events)),
    ]
}

/// The whole service, without its connections.
pub(super) fn router(service: Arc<Service>) -> Router {
    let (mut public, mut signed) = (Router::new(), Router::new());
    for (_, path, handler) in handlers() {
        match path.starts_with("/v1/") {
            true => signed = signed.route(path, handler),
            false => public = public.route(path, handler),
        }
    }
    let signed = signed.route_layer(middleware::from_fn_with_state(service.clone(), gate::gate));
    let other = || async {
        HttpRefusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this route has other methods: GET /openapi.json lists them",
        )
    };
    public
        .merge(page::routes())
        .merge(signed)
        .method_not_allowed_fallback(other)
        .fallback(|| async { no_route() })
        .layer(middleware::from_fn_with_state(service.clone(), finish))
        .with_state(service)
}

/// Names the request, counts it, logs it, and writes out what refuses it.
async fn finish(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let number = service.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let id = format!("{:x}-{number:x}", std::process::id());
    let method = match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    };
    // Routes, not paths: what strangers ask for must not fill the counters.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    if let Some(refused) = response.extensions_mut().remove::<HttpRefusal>() {
        response = refused.render(&id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let status = response.status().as_u16();
    service.metrics.count(method, &route, status);
    info!(request = id, method, route, status, seconds = start.elapsed().as_secs_f64(), "answered");
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use blindsmith_api::{ROUTES, openapi};

    use super::*;

    #[test]
    fn every_served_route_is_described_and_every_described_route_is_served() {
        let served: BTreeSet<(Method, &str)> = handlers().iter().map(|(m, path, _)| (*m, *path)).collect();
        assert_eq!(served.len(), handlers().len(), "a route twice");
        let listed: BTreeSet<(Method, &str)> = ROUTES.iter().map(|r| (r.method, r.path)).collect();
        assert_eq!(served, listed);
        let described = openapi();
        let paths = described["paths"].as_object().unwrap();
        let described: BTreeSet<(String, &str)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|m| (m.to_ascii_uppercase(), path.as_str()))
            })
            .collect();
        let served: BTreeSet<_> = served.into_iter().map(|(m, path)| (m.name().to_owned(), path)).collect();
        assert_eq!(served, described);
    }

    #[test]
    fn only_routes_below_v1_are_signed() {
        use blindsmith_api::Access;
        for route in ROUTES {
            assert_eq!(route.access == Access::Public, !route.path.starts_with("/v1/"), "{}", route.path);
        }
    }
}
