//! Whether the service works, for operators and load balancers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use blindsmith_api::{Health, Ready, StoreParts};
use blindsmith_project::Upload;

use super::answer::{Answer, blocking, bytes, json, no_route};
use super::metrics::Gauges;
use super::service::{Service, UNIT};
use crate::clock;
use crate::store::Standing;

pub(super) async fn health() -> Answer {
    json(&Health { version: env!("CARGO_PKG_VERSION").into(), time: clock::unix() })
}

pub(super) async fn ready(State(service): State<Arc<Service>>) -> Answer {
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

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Answer {
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
