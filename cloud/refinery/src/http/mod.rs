//! The HTTP service: signed requests, bounded in number, size and time. `docs/service.md` has it in words.

mod events;
pub(crate) mod gate;
mod listen;
mod metrics;
mod nonces;
mod page;
mod problem;
mod projects;
mod rate;
mod shares;
#[cfg(feature = "tls")]
mod tls;
mod uploads;
#[cfg(not(feature = "tls"))]
mod without_tls;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use blindsmith_api::{Health, Method, Ready, StoreParts, openapi};
use blindsmith_identity::PublicKey;
use blindsmith_project::Upload;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::info;

use crate::clock;
use crate::config::{Config, HttpConfig, LimitsConfig};
use crate::state::Shared;
use crate::store::{PartialId, Standing};
pub use listen::{HttpServer, ListenError};
use metrics::{Gauges, Metrics};
use nonces::{NonceError, Nonces};
use problem::Refused;
use rate::Rates;
use shares::Shares;
#[cfg(not(feature = "tls"))]
use without_tls as tls;

type Answer = Result<Response, Refused>;

/// Memory is counted in units of so many bytes.
const UNIT: u64 = 1 << 10;
/// Longest wait for a place to write, before the client is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time in which the store must answer for the service to be ready.
const PROBE: Duration = Duration::from_secs(2);

/// What all requests share.
pub(crate) struct Service {
    shared: Arc<Shared>,
    http: HttpConfig,
    limits: LimitsConfig,
    nonces: Mutex<Nonces>,
    rates: Mutex<Rates>,
    memory: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    watching: Arc<Shares<PublicKey>>,
    /// Held by who looks whether the store answers.
    probe: Arc<Semaphore>,
    /// Sessions that somebody writes to, or ends.
    busy: Mutex<HashSet<PartialId>>,
    metrics: Metrics,
    connections: AtomicUsize,
    requests: AtomicU64,
    /// True once the service was told to end.
    ending: watch::Sender<bool>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, config: &Config) -> Self {
        let limits = config.limits.clone();
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Service {
            shared,
            http: config.http.clone(),
            nonces: Mutex::new(Nonces::new(limits.nonces, config.http.max_clock_skew)),
            rates: Mutex::new(Rates::new(&limits)),
            memory: semaphore((limits.bytes_in_flight / UNIT) as usize),
            uploads: semaphore(limits.uploads),
            queries: semaphore(limits.queries),
            watchers: semaphore(limits.watchers),
            watching: Shares::new(limits.watchers_per_key),
            probe: semaphore(1),
            busy: Mutex::default(),
            metrics: Metrics::default(),
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            ending: watch::Sender::new(false),
            limits,
        }
    }

    /// Makes room for so many bytes.
    fn reserve(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Refused> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = self.memory.clone().try_acquire_many_owned(units);
        room.map_err(|_| Refused::busy("too many bytes are on their way: try again", 2))
    }

    /// A place among those who write to the disk.
    async fn upload_slot(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let slot = tokio::time::timeout(PATIENCE, self.uploads.clone().acquire_owned()).await;
        let slot = slot.ok().and_then(Result::ok);
        slot.ok_or_else(|| Refused::busy("too many uploads at a time: try again", 2))
    }

    /// A place among those who wait for the warden.
    fn turn_at_warden(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let turn = self.queries.clone().try_acquire_owned();
        turn.map_err(|_| Refused::busy("too many wait for the warden: try again", 2))
    }

    /// Whether disk and database answer, in time. One looks at a time: those that hang do not add up.
    async fn store_answers(&self) -> bool {
        let (shared, probe) = (self.shared.clone(), self.probe.clone());
        let looked = async {
            let place = probe.acquire_owned().await;
            blocking(move || {
                let _place = place;
                Ok(shared.store.answers()?)
            })
            .await
        };
        matches!(tokio::time::timeout(PROBE, looked).await, Ok(Ok(())))
    }

    /// Nobody else writes to a session while this is held.
    fn alone(&self, session: &PartialId) -> Result<Alone<'_>, Refused> {
        let mut busy = self.busy.lock().unwrap_or_else(|e| e.into_inner());
        if !busy.insert(*session) {
            return Err(Refused::busy("another request writes to this upload: wait until it ended", 1));
        }
        Ok(Alone { service: self, session: *session })
    }

    fn take_rate(&self, key: &PublicKey, bytes: u64) -> Result<(), Refused> {
        let mut rates = self.rates.lock().unwrap_or_else(|e| e.into_inner());
        let taken = rates.take(key, bytes, Instant::now());
        taken.map_err(|wait| Refused::too_fast(wait.as_secs_f64().ceil().max(1.0) as u64))
    }

    fn take_nonce(&self, key: &PublicKey, nonce: &[u8; 16]) -> Result<(), NonceError> {
        self.nonces.lock().unwrap_or_else(|e| e.into_inner()).take(key, nonce, clock::unix())
    }

    /// Sends bytes piece by piece; their room is free again when they are gone.
    fn stream(&self, media: &'static str, bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Response {
        const PIECE: usize = 64 << 10;
        let length = bytes.len();
        self.metrics.sent_bytes.fetch_add(length as u64, Ordering::Relaxed);
        let pieces = stream::unfold((Bytes::from(bytes), room), |(mut bytes, room)| async {
            if bytes.is_empty() {
                return None;
            }
            let piece = bytes.split_to(PIECE.min(bytes.len()));
            Some((Ok::<_, std::convert::Infallible>(piece), (bytes, room)))
        });
        let mut response = Body::from_stream(pieces).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// Lets others write to the session when it is dropped.
struct Alone<'a> {
    service: &'a Service,
    session: PartialId,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.service.busy.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.session);
    }
}

/// Runs what may wait for the disk or the warden where it may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the refinery failed: its log says why");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

fn json<T: Serialize>(value: &T) -> Answer {
    let failed = |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written");
    Ok(bytes("application/json", serde_json::to_vec(value).map_err(failed)?))
}

fn bytes(media: &'static str, bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], bytes).into_response()
}

fn invalid(detail: impl Into<String>) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

fn no_route() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is no such route: GET /openapi.json lists them")
}

/// What serves each route of the table.
fn handlers() -> Vec<(Method, &'static str, MethodRouter<Arc<Service>>)> {
    use Method::{Delete, Get, Patch, Post};
    vec![
        (Get, "/health", get(health)),
        (Get, "/ready", get(ready)),
        (Get, "/metrics", get(metrics)),
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
pub(crate) fn router(service: Arc<Service>) -> Router {
    let (mut public, mut signed) = (Router::new(), Router::new());
    for (_, path, handler) in handlers() {
        match path.starts_with("/v1/") {
            true => signed = signed.route(path, handler),
            false => public = public.route(path, handler),
        }
    }
    let signed = signed.route_layer(middleware::from_fn_with_state(service.clone(), gate::gate));
    let other = || async {
        Refused::new(
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
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
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

async fn health() -> Answer {
    json(&Health { version: env!("CARGO_PKG_VERSION").into(), time: clock::unix() })
}

async fn ready(State(service): State<Arc<Service>>) -> Answer {
    let warden = service.shared.lock().warden.as_ref().map(|served| served.tee.clone());
    let reason = match *service.ending.borrow() {
        true => Some("it is ending"),
        false => None,
    };
    let answers = service.store_answers().await;
    let (database, objects) = service.shared.store.standing();
    let reason = match reason {
        None => match (&database, &objects) {
            (Standing::Unreachable(_), _) => Some("its database is not reachable: its log says why"),
            (Standing::Unlocked(_), _) => {
                Some("the lock on its database was lost, and nothing is written until it is held again")
            }
            (Standing::Taken, _) => Some("another refinery took over its database: it ends"),
            (_, Some(Standing::Unreachable(_))) => {
                Some("its object store is not reachable, or its bucket is gone: its log says why")
            }
            _ if !answers => Some("its store (disk or database) does not answer: its log may say why"),
            _ => None,
        },
        reason => reason,
    };
    let store = Some(store_parts(&database, objects.as_ref()));
    let ready = Ready { ready: reason.is_none(), warden, reason: reason.map(str::to_owned), store };
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, json(&ready)?).into_response())
}

/// How the parts of the store are, without a word on where they are: strangers may ask.
fn store_parts(database: &Standing, objects: Option<&Standing>) -> StoreParts {
    let reachable = |standing: &Standing| match standing {
        Standing::Unreachable(_) => "unreachable".to_owned(),
        Standing::Good | Standing::Unlocked(_) | Standing::Taken => "good".to_owned(),
    };
    let lock = match database {
        Standing::Good => "held",
        Standing::Unreachable(_) | Standing::Unlocked(_) => "lost",
        Standing::Taken => "taken",
    };
    StoreParts { database: reachable(database), lock: lock.into(), objects: objects.map(reachable) }
}

async fn metrics(State(service): State<Arc<Service>>) -> Answer {
    if !service.http.metrics {
        return Err(no_route());
    }
    let shared = service.shared.clone();
    let free_bytes = blocking(move || Ok(shared.store.free_bytes()?)).await.ok();
    let gauges = {
        let nonces = service.nonces.lock().unwrap_or_else(|e| e.into_inner()).len();
        let free = service.memory.available_permits() as u64 * UNIT;
        let (state, time) = (service.shared.lock(), clock::now());
        Gauges {
            connections: service.connections.load(Ordering::Relaxed),
            bytes_in_flight: service.limits.bytes_in_flight.saturating_sub(free),
            nonces,
            projects: state.projects.len(),
            jobs: state.jobs(),
            due: state.projects.values().filter(|p| p.due(time)).count(),
            unread: state.uploads(|u| u.is_unread(time)),
            waiting: state.uploads(Upload::is_new),
            warden: state.warden.is_some(),
            rounds: state.counts.clone(),
            store: service.shared.store.standing(),
            free_bytes,
        }
    };
    Ok(bytes("text/plain; version=0.0.4", service.metrics.text(&gauges).into_bytes()))
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
