//! What all requests share: limits, counters, and the refinery itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use blindsmith_identity::PublicKey;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer::blocking;
use super::metrics::Metrics;
use super::nonces::{NonceError, Nonces};
use super::problem::HttpRefusal;
use super::rate::Rates;
use super::shares::Shares;
use crate::clock;
use crate::config::{Config, HttpConfig, LimitsConfig};
use crate::state::Shared;
use crate::store::PartialId;

/// Memory is counted in units of so many bytes.
pub(super) const UNIT: u64 = 1 << 10;
/// Longest wait for a place to write, before the client is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time in which the store must answer for the service to be ready.
const PROBE: Duration = Duration::from_secs(2);

/// What all requests share.
pub(super) struct Service {
    pub shared: Arc<Shared>,
    pub http: HttpConfig,
    pub limits: LimitsConfig,
    pub nonces: Mutex<Nonces>,
    pub rates: Mutex<Rates>,
    pub memory: Arc<Semaphore>,
    pub uploads: Arc<Semaphore>,
    pub queries: Arc<Semaphore>,
    pub watchers: Arc<Semaphore>,
    pub watching: Arc<Shares<PublicKey>>,
    /// Held by who looks whether the store answers.
    pub probe: Arc<Semaphore>,
    /// Sessions that somebody writes to, or ends.
    pub busy: Mutex<HashSet<PartialId>>,
    pub metrics: Metrics,
    pub connections: AtomicUsize,
    pub requests: AtomicU64,
    /// True once the service was told to end.
    pub ending: watch::Sender<bool>,
}

impl Service {
    pub fn new(shared: Arc<Shared>, config: &Config) -> Self {
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
    pub fn reserve(&self, bytes: u64) -> Result<OwnedSemaphorePermit, HttpRefusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = self.memory.clone().try_acquire_many_owned(units);
        room.map_err(|_| HttpRefusal::busy("too many bytes are on their way: try again", 2))
    }

    /// A place among those who write to the disk.
    pub async fn upload_slot(&self) -> Result<OwnedSemaphorePermit, HttpRefusal> {
        let slot = tokio::time::timeout(PATIENCE, self.uploads.clone().acquire_owned()).await;
        let slot = slot.ok().and_then(Result::ok);
        slot.ok_or_else(|| HttpRefusal::busy("too many uploads at a time: try again", 2))
    }

    /// A place among those who wait for the warden.
    pub fn turn_at_warden(&self) -> Result<OwnedSemaphorePermit, HttpRefusal> {
        let turn = self.queries.clone().try_acquire_owned();
        turn.map_err(|_| HttpRefusal::busy("too many wait for the warden: try again", 2))
    }

    /// Whether disk and database answer, in time. One looks at a time: those that hang do not add up.
    pub async fn store_answers(&self) -> bool {
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
    pub fn alone(&self, session: &PartialId) -> Result<Alone<'_>, HttpRefusal> {
        let mut busy = self.busy.lock().unwrap_or_else(|e| e.into_inner());
        if !busy.insert(*session) {
            return Err(HttpRefusal::busy("another request writes to this upload: wait until it ended", 1));
        }
        Ok(Alone { service: self, session: *session })
    }

    pub fn take_rate(&self, key: &PublicKey, bytes: u64) -> Result<(), HttpRefusal> {
        let mut rates = self.rates.lock().unwrap_or_else(|e| e.into_inner());
        let taken = rates.take(key, bytes, Instant::now());
        taken.map_err(|wait| HttpRefusal::too_fast(wait.as_secs_f64().ceil().max(1.0) as u64))
    }

    pub fn take_nonce(&self, key: &PublicKey, nonce: &[u8; 16]) -> Result<(), NonceError> {
        self.nonces.lock().unwrap_or_else(|e| e.into_inner()).take(key, nonce, clock::unix())
    }

    /// Sends bytes piece by piece; their room is free again when they are gone.
    pub fn stream(&self, media: &'static str, bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Response {
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
pub(super) struct Alone<'a> {
    service: &'a Service,
    session: PartialId,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.service.busy.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.session);
    }
}
