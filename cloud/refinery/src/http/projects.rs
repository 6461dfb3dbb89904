//! Projects, orders, rounds, models, receipts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use blindsmith_api::message::{PAGE, Seen};
use blindsmith_api::{BYTES, CBOR, COSE, Created, Refine, VERSION_HEADER, json_of};
use blindsmith_protocol::{Blob, Id, ProjectSpec, from_cbor, to_cbor};

use super::answer::{Answer, blocking, bytes, done, invalid, json};
use super::gate::Caller;
use super::problem::HttpRefusal;
use super::query::numbers_or_zero;
use super::service::Service;

/// Bytes that a project's lists may take in an answer, reserved while it is made.
const LISTS: u64 = 4 << 20;
/// Bytes that a page of receipts takes while it is made: as it is read, and as it is sent, each with one receipt, as
/// long as receipts can be, beyond what a page has.
const LEDGER: u64 = 2 * (PAGE as u64 + (2 << 20));

pub(super) async fn attest(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let turn = service.turn_at_warden()?;
    let shared = service.shared.clone();
    let evidence = blocking(move || {
        let _turn = turn;
        Ok(shared.attest(Id::from(caller.key), caller.body.to_vec())?)
    })
    .await?;
    Ok(bytes(CBOR, to_cbor(&evidence)))
}

pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let shared = service.shared.clone();
    let project = blocking(move || {
        // The body counts as in memory until the model that is read from it is stored.
        let parsed = from_cbor::<(ProjectSpec, Blob)>(&caller.body);
        let (spec, model) =
            parsed.map_err(|e| invalid(format!("not an array of specification and model: {e}")))?;
        if spec.owner != Id::from(caller.key) {
            let detail = "the specification names another owner than the key that signed the request";
            return Err(HttpRefusal::new(StatusCode::FORBIDDEN, detail));
        }
        let id = spec.id();
        shared.create(spec, &model.0)?;
        Ok(id)
    })
    .await?;
    let created = Created { project: project.to_string() };
    Ok((StatusCode::CREATED, json(&created)?).into_response())
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    json(&service.shared.projects(Some(&caller.key)))
}

/// A part of the status, as this caller may see it.
pub(super) async fn status(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let memory = service.reserve(LISTS)?;
    let (project, _) = caller.project()?;
    let [run, change, rounds] = numbers_or_zero(query.as_deref(), ["run", "change", "rounds"])?;
    let own = (!caller.sees_all()).then_some(Id::from(caller.key));
    let shared = service.shared.clone();
    let cbor = headers.get(header::ACCEPT).is_some_and(|accept| accept == CBOR);
    blocking(move || {
        let _memory = memory;
        let status = shared.status(&project, Seen { run, change, rounds }, own.as_ref())?;
        if cbor { Ok(bytes(CBOR, to_cbor(&status))) } else { json(&json_of(&status)) }
    })
    .await
}

pub(super) async fn rounds(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Answer {
    let memory = service.reserve(LISTS)?;
    let (project, _) = caller.project()?;
    let [from] = numbers_or_zero(query.as_deref(), ["from"])?;
    let shared = service.shared.clone();
    blocking(move || {
        let _memory = memory;
        json(&json_of(&shared.rounds(&project, from)?))
    })
    .await
}

pub(super) async fn spec(Extension(caller): Extension<Caller>) -> Answer {
    let (_, spec) = caller.project()?;
    Ok(bytes(CBOR, to_cbor(&**spec)))
}

pub(super) async fn release(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let turn = service.turn_at_warden()?;
    let shared = service.shared.clone();
    let confirmation = blocking(move || {
        let _turn = turn;
        Ok(shared.release(project, caller.body.to_vec())?)
    })
    .await?;
    Ok(bytes(COSE, confirmation.0))
}

pub(super) async fn orders(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let _memory = service.reserve(LISTS)?;
    Ok(bytes(CBOR, to_cbor(&service.shared.orders(&project)?)))
}

pub(super) async fn order(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let shared = service.shared.clone();
    blocking(move || Ok(shared.order(project, caller.body.to_vec())?)).await?;
    Ok(done())
}

pub(super) async fn enrol(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let turn = service.turn_at_warden()?;
    let shared = service.shared.clone();
    let confirmation = blocking(move || {
        let _turn = turn;
        Ok(shared.enrol(project, Id::from(caller.key), caller.body.to_vec())?)
    })
    .await?;
    Ok(bytes(COSE, confirmation.0))
}

pub(super) async fn refine(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let (project, _) = caller.project()?;
    let asked = serde_json::from_slice::<Refine>(&caller.body);
    let asked = asked.map_err(|e| invalid(format!("give a JSON object, such as {{\"epochs\": 3}}: {e}")))?;
    let shared = service.shared.clone();
    blocking(move || Ok(shared.refine(project, asked.epochs)?)).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Bytes of a round's record, about: model, weights and moments, each twice while it is decoded.
fn record_bytes(spec: &ProjectSpec) -> u64 {
    let parameters =
        spec.layers.iter().map(|l| u64::from(l.outputs) * (u64::from(l.inputs) + 1)).sum::<u64>();
    (parameters * 32).clamp(64 << 10, 512 << 20)
}

pub(super) async fn model(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path((_, version)): Path<(String, String)>,
) -> Answer {
    let (project, spec) = caller.project()?;
    let version = match version.as_str() {
        "newest" => None,
        number => {
            let parsed = number.parse::<u64>();
            let detail = "a version is a number, or newest";
            Some(parsed.map_err(|_| HttpRefusal::new(StatusCode::NOT_FOUND, detail))?)
        }
    };
    let memory = service.reserve(record_bytes(spec))?;
    let shared = service.shared.clone();
    let (version, model, memory) = blocking(move || {
        let (version, model) = shared.pull(&project, version)?;
        Ok((version, model, memory))
    })
    .await?;
    let mut response = service.stream(BYTES, model, memory);
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from(version));
    Ok(response)
}

pub(super) async fn receipts(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Answer {
    let memory = service.reserve(LEDGER)?;
    let (project, _) = caller.project()?;
    let [from, faults] = numbers_or_zero(query.as_deref(), ["from", "faults"])?;
    let shared = service.shared.clone();
    let (page, memory) =
        blocking(move || Ok((to_cbor(&shared.receipts(&project, from, faults)?), memory))).await?;
    Ok(service.stream(CBOR, page, memory))
}
