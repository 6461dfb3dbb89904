//! Uploads and queries: begun, sent in chunks, ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::{MatchedPath, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use blindsmith_api::open_withdrawal;
use blindsmith_api::{Accepted, BYTES, ContributorUploads, Offset, Session, UploadEntry, Uploads};
use blindsmith_identity::PublicKey;
use blindsmith_project::Membership;
use blindsmith_protocol::{Blob, Id, Role, UploadError, UploadHeader, from_cbor};

use super::answer::{Answer, blocking, done, invalid, json};
use super::gate::Caller;
use super::problem::HttpRefusal;
use super::query::numbers;
use super::service::Service;
use crate::clock;
use crate::refusal::{Refusal, RefusalKind};
use crate::requests::queries::check_asked;
use crate::requests::uploads::check_stored;
use crate::state::Shared;
use crate::store::{Extent, Incoming, Partial, PartialId, StoreError, most_bytes};

type CallerExtension = Extension<Caller>;
type SessionPath = Path<(String, String)>;

/// Seconds after which an upload or query that nothing is sent to makes room for another one of its sender.
const QUIET: u64 = 600;

/// The uploads that the caller may see.
pub(super) async fn list(State(service): State<Arc<Service>>, Extension(caller): CallerExtension) -> Answer {
    let (project, spec) = caller.project()?;
    let _memory = service.reserve(4 << 20)?;
    let listed = service.shared.project(&project, |p| {
        let mut sums: BTreeMap<Id, ContributorUploads> = BTreeMap::new();
        let mut uploads = Vec::new();
        for upload in p.uploads() {
            let contributor = upload.header().contributor;
            if !caller.sees_all() && !is(&caller.key, &contributor) {
                continue;
            }
            let bytes = upload.header().body_bytes(spec);
            if !upload.withdrawn() {
                let sum = sums.entry(contributor).or_default();
                sum.uploads += 1;
                sum.rows += u64::from(upload.header().rows);
                sum.bytes += bytes;
            }
            uploads.push(UploadEntry {
                upload: upload.id().to_string(),
                contributor: contributor.to_string(),
                role: if upload.header().role == Role::Validation { "validation" } else { "training" }.into(),
                rows: upload.header().rows,
                bytes,
                state: upload.state(),
                reason: upload.reason(),
            });
        }
        let named = |(id, sum): (Id, _)| ContributorUploads { contributor: id.to_string(), ..sum };
        Uploads { uploads, contributors: sums.into_iter().map(named).collect() }
    })?;
    json(&listed)
}

/// Begins an upload or a query.
pub(super) async fn begin(State(service): State<Arc<Service>>, Extension(caller): CallerExtension) -> Answer {
    let (project, _) = caller.project()?;
    let sender = Id::from(caller.key);
    let locks = service.clone();
    let session = blocking(move || {
        let shared = &locks.shared;
        let _one_by_one = shared.commits.lock().unwrap_or_else(|e| e.into_inner());
        make_room(&locks, &project, &sender)?;
        Ok(shared.store.begin_partial(&project, &sender)?)
    })
    .await?;
    let session = Session { session: session.to_string(), chunk_bytes: service.limits.chunk_bytes };
    Ok((StatusCode::CREATED, json(&session)?).into_response())
}

/// Forgets what of a sender's nobody goes on with, those first that were quiet for longest, until it may begin another.
fn make_room(service: &Service, project: &Id, sender: &Id) -> Result<(), HttpRefusal> {
    let (store, most) = (&service.shared.store, service.limits.sessions);
    if store.partial_totals(project, sender)?.0 < most as u64 {
        return Ok(());
    }
    let mut own: Vec<Partial> = store.partials()?;
    own.retain(|partial| partial.project == *project && partial.sender == *sender);
    let mut excess = (own.len() + 1).saturating_sub(most);
    let quiet = |partial: &Partial| clock::unix().saturating_sub(partial.updated / 1000);
    for partial in own.iter().filter(|partial| quiet(partial) >= QUIET) {
        if excess == 0 {
            break;
        }
        // Somebody may be ending it.
        let Ok(_alone) = service.alone(&partial.id) else { continue };
        store.abandon_partial(&partial.id)?;
        excess -= 1;
    }
    if excess == 0 {
        return Ok(());
    }
    let detail = format!(
        "{most} uploads or queries of yours are under way, which is all that may be: end one, or try again later; one \
         to which nothing was sent for {} minutes makes room for another",
        QUIET / 60
    );
    Err(HttpRefusal::new(StatusCode::CONFLICT, detail))
}

/// Whether a contributor's key is the caller's own.
fn is(key: &PublicKey, contributor: &Id) -> bool {
    Id::from(*key) == *contributor
}

fn no_session() -> HttpRefusal {
    let detail = "you have no such open upload or query: begin a new one; the refinery forgets those that are left alone";
    HttpRefusal::new(StatusCode::NOT_FOUND, detail)
}

/// What is under way by this name, if it is the caller's.
fn own(service: &Shared, caller: &Caller, session: &str) -> Result<(PartialId, Partial), HttpRefusal> {
    let (project, _) = caller.project()?;
    let id: PartialId = session.parse().map_err(|_| no_session())?;
    let partial = match service.store.partial(&id) {
        Err(StoreError::Missing(_)) => return Err(no_session()),
        found => found?,
    };
    if partial.project != project || !is(&caller.key, &partial.sender) {
        return Err(no_session());
    }
    Ok((id, partial))
}

pub(super) async fn offset(
    State(service): State<Arc<Service>>,
    Extension(caller): CallerExtension,
    Path((_, session)): SessionPath,
) -> Answer {
    let shared = service.shared.clone();
    let (_, partial) = blocking(move || own(&shared, &caller, &session)).await?;
    json(&Offset { offset: partial.bytes })
}

/// The value of `offset=BYTES`, which is all that the query may be.
fn wanted_offset(query: Option<&str>) -> Result<u64, HttpRefusal> {
    let found = numbers(query, ["offset"]).and_then(|[offset]| offset);
    found
        .ok_or_else(|| HttpRefusal::new(StatusCode::BAD_REQUEST, "say where the chunk begins: ?offset=BYTES"))
}

/// Appends a chunk.
pub(super) async fn append(
    State(service): State<Arc<Service>>,
    Extension(caller): CallerExtension,
    Path((_, session)): SessionPath,
    route: MatchedPath,
    RawQuery(query): RawQuery,
) -> Answer {
    let offset = wanted_offset(query.as_deref())?;
    let asks = route.as_str().contains("/queries/");
    let slot = service.upload_slot().await?;
    let (shared, locks) = (service.shared.clone(), service.clone());
    let appended = blocking(move || {
        // Held as long as the disk is waited for, even if whoever sent the chunk is gone.
        let _slot = slot;
        let (id, _) = own(&shared, &caller, &session)?;
        let _alone = locks.alone(&id)?;
        // As it is now that nobody else writes to it.
        let (_, partial) = own(&shared, &caller, &session)?;
        let most = match asks {
            true => most_of_query(&shared, &caller, &partial, locks.limits.query_bytes)?,
            false => most_of_upload(&shared, &caller, &partial)?,
        };
        let whole = offset.saturating_add(caller.body.len() as u64);
        if whole > most {
            let advice = match asks {
                true => "ask about fewer rows at once",
                false => "withdraw uploads, end others first, ask the owner for more, or send fewer rows at once",
            };
            let detail = format!(
                "with this chunk {whole} bytes would be here, and {most} are left to you beside what else of yours is \
                 stored or under way: {advice}"
            );
            return Err(HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        match shared.store.append_partial(&id, offset, &caller.body) {
            Err(StoreError::Offset { durable }) => Err(at_another_offset(durable)),
            appended => Ok(appended?),
        }
    })
    .await?;
    json(&Offset { offset: appended })
}

fn at_another_offset(durable: u64) -> HttpRefusal {
    let detail = format!("{durable} bytes are here for good: go on with the byte at that offset");
    HttpRefusal::new(StatusCode::CONFLICT, detail).with_offset(durable)
}

/// Bytes of what else the caller has under way in the project.
fn others(shared: &Shared, partial: &Partial) -> Result<u64, HttpRefusal> {
    let (_, bytes) = shared.store.partial_totals(&partial.project, &partial.sender)?;
    Ok(bytes.saturating_sub(partial.bytes))
}

/// Bytes that an upload of the caller may have: what its quota leaves beside what is stored and under way.
fn most_of_upload(shared: &Shared, caller: &Caller, partial: &Partial) -> Result<u64, HttpRefusal> {
    let (project, spec) = caller.project()?;
    let rows = most_bytes(spec);
    let left = shared.project(&project, |p| {
        let quota = p.roster().contributor(&caller.key).map(|member| member.quota.bytes);
        quota.map(|bytes| bytes.saturating_sub(p.stock(&Id::from(caller.key)).bytes))
    })?;
    match left {
        // Owners have no quota.
        None => Ok(rows),
        Some(left) => Ok(left.saturating_sub(others(shared, partial)?).min(rows)),
    }
}

/// Bytes that a query of the caller may have. An owner's uploads do not count against its queries.
fn most_of_query(
    shared: &Shared,
    caller: &Caller,
    partial: &Partial,
    limit: u64,
) -> Result<u64, HttpRefusal> {
    match caller.membership {
        Membership::Owner => Ok(limit),
        _ => Ok(limit.saturating_sub(others(shared, partial)?)),
    }
}

/// Ends an upload.
pub(super) async fn commit(
    State(service): State<Arc<Service>>,
    Extension(caller): CallerExtension,
    Path((_, session)): SessionPath,
) -> Answer {
    let (project, _) = caller.project()?;
    let header: UploadHeader =
        from_cbor(&caller.body).map_err(|e| invalid(format!("not the header of an upload: {e}")))?;
    if header.project != project {
        return Err(invalid("the header names another project"));
    }
    if !is(&caller.key, &header.contributor) {
        let detail = "the header names another contributor than the key that signed the request";
        return Err(HttpRefusal::new(StatusCode::FORBIDDEN, detail));
    }
    let slot = service.upload_slot().await?;
    let (shared, locks) = (service.shared.clone(), service.clone());
    let (upload, new) = blocking(move || {
        let _slot = slot;
        let upload = header.id();
        let there = shared.project(&project, |p| p.upload(&upload).is_some_and(|u| !u.withdrawn()))?;
        let found = own(&shared, &caller, &session);
        if there {
            // Whoever did not hear that it was stored asks again.
            if let Ok((id, _)) = found {
                shared.store.abandon_partial(&id)?;
            }
            return Ok((upload, false));
        }
        let (id, partial) = found?;
        let _alone = locks.alone(&id)?;
        // Before its blocks are read: how they are cut depends on it.
        check_stored(&header)?;
        let incoming = whole(&shared, &caller, partial, &header)?;
        Ok(shared.commit(incoming, header)?)
    })
    .await?;
    if new {
        service.metrics.uploads.fetch_add(1, Ordering::Relaxed);
    }
    json(&Accepted { upload: upload.to_string(), new })
}

/// What came, once it is all: what is missing can still be sent.
fn whole<'a>(
    shared: &'a Shared,
    caller: &Caller,
    partial: Partial,
    header: &UploadHeader,
) -> Result<Incoming<'a>, HttpRefusal> {
    let (project, spec) = caller.project()?;
    header.validate(&project).map_err(|e| HttpRefusal::from(StoreError::from(e)))?;
    let (got, expected) = (partial.bytes, header.body_bytes(spec));
    if got < expected {
        let e = UploadError::Length { got, expected, rows: header.rows };
        return Err(HttpRefusal::new(StatusCode::CONFLICT, e.to_string()).with_offset(got));
    }
    Ok(shared.store.open_partial(&partial.id, spec, Extent::from(header))?)
}

/// Ends a query, and waits for the answer.
pub(super) async fn ask(
    State(service): State<Arc<Service>>,
    Extension(caller): CallerExtension,
    Path((_, session)): SessionPath,
) -> Answer {
    let (project, _) = caller.project()?;
    let parsed = from_cbor::<(UploadHeader, Blob)>(&caller.body);
    let (header, seed) =
        parsed.map_err(|e| invalid(format!("not an array of header and sealed seed: {e}")))?;
    if header.project != project || seed.0.len() > 1 << 16 {
        return Err(invalid("the header names another project, or the seed has more than 64 KiB"));
    }
    if !is(&caller.key, &header.contributor) {
        let detail = "the header names another querier than the key that signed the request";
        return Err(HttpRefusal::new(StatusCode::FORBIDDEN, detail));
    }
    let turn = service.turn_at_warden()?;
    let (shared, locks) = (service.shared.clone(), service.clone());
    let memory = service.reserve(answer_bytes(&caller, &header)?)?;
    let (answer, memory) = blocking(move || {
        // Held as long as the warden's answer is waited for, even if whoever asked is gone, as is the answer's memory.
        let _turn = turn;
        if shared.lock().warden.is_none() {
            let none = "no warden is connected: try again later";
            return Err(Refusal::new(RefusalKind::Unavailable, none).into());
        }
        let (id, partial) = own(&shared, &caller, &session)?;
        let _alone = locks.alone(&id)?;
        check_asked(&header)?;
        let most = locks.limits.query_bytes;
        if header.body_bytes(caller.project()?.1) > most {
            let detail = format!("a query has at most {most} bytes here: ask about fewer rows at once");
            return Err(HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        let incoming = whole(&shared, &caller, partial, &header)?;
        let query = shared.query(incoming, &header)?;
        // Its rows are a file of their own from here on.
        shared.store.abandon_partial(&id)?;
        Ok((shared.ask(query, header, seed.0)?, memory))
    })
    .await?;
    service.metrics.queries.fetch_add(1, Ordering::Relaxed);
    Ok(service.stream(BYTES, answer, memory))
}

fn answer_bytes(caller: &Caller, header: &UploadHeader) -> Result<u64, HttpRefusal> {
    let (_, spec) = caller.project()?;
    let outputs = spec.layers.last().map_or(0, |l| u64::from(l.outputs));
    Ok((u64::from(header.rows) * outputs * 4 + 4096).min(512 << 20))
}

/// Takes an upload back.
pub(super) async fn withdraw(
    State(service): State<Arc<Service>>,
    Extension(caller): CallerExtension,
    Path((_, upload)): SessionPath,
) -> Answer {
    let (project, _) = caller.project()?;
    let named = upload.parse::<Id>().map_err(|e| HttpRefusal::new(StatusCode::NOT_FOUND, e.to_string()))?;
    let shared = service.shared.clone();
    let contributor = Id::from(caller.key);
    blocking(move || {
        let named_too = open_withdrawal(&caller.body, &caller.key).is_ok_and(|w| w.upload == named);
        if !named_too {
            return Err(invalid("the body is not this key's signed withdrawal of the upload in the path"));
        }
        Ok(shared.withdraw(&project, &contributor, &caller.body)?)
    })
    .await?;
    Ok(done())
}
