//! Before anything else of a request: who sent it, whether it may, and whether there is room for its body. Only then is
//! the body read, and it must be what was signed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use blindsmith_api::{
    Access, EMPTY_QUERY, MAX_HEADER, MAX_RELEASE, MAX_SMALL, ROUTES, Route, Signed, authority,
    parse_content_digest,
};
use blindsmith_identity::{MAX_SIGNED, MemberRole, PublicKey};
use blindsmith_project::Membership;
use blindsmith_protocol::{Id, ProjectSpec};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::answer::no_route;
use super::nonces::NonceError;
use super::problem::HttpRefusal;
use super::service::Service;
use crate::clock;

/// A request that passed.
#[derive(Clone)]
pub(crate) struct Caller {
    pub key: PublicKey,
    pub membership: Membership,
    /// The project that the path names.
    project: Option<(Id, Arc<ProjectSpec>)>,
    /// As it was signed. Its memory counts as taken until the last copy of it is gone, wherever that is.
    pub body: Bytes,
}

impl Caller {
    /// Whether it sees all uploads, or those of its own alone.
    pub fn sees_all(&self) -> bool {
        matches!(self.membership, Membership::Owner | Membership::Member(MemberRole::Viewer))
    }

    /// The project of a route that has one.
    pub fn project(&self) -> Result<(Id, &Arc<ProjectSpec>), HttpRefusal> {
        let none = || HttpRefusal::new(StatusCode::NOT_FOUND, "this route is about a project");
        self.project.as_ref().map(|(id, spec)| (*id, spec)).ok_or_else(none)
    }
}

/// Bytes of a refused request's body that are read and dropped, so that its sender gets to read why.
const DRAINED: usize = 256 << 10;

/// Lets a request pass, or refuses it.
pub(crate) async fn gate(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    match admit(&service, &mut request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => {
            // Who waits to be asked for its body has not sent it.
            if !request.headers().contains_key(header::EXPECT) {
                drain(std::mem::take(request.body_mut())).await;
            }
            refused.into_response()
        }
    }
}

async fn drain(mut body: Body) {
    let reading = async {
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(len) else { return };
            left = rest;
        }
    };
    _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
}

/// A body and the room that was made for it.
struct ReservedBody {
    bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for ReservedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn admit(service: &Service, request: &mut Request) -> Result<Caller, HttpRefusal> {
    let route = route_of(request)?;
    let unauthorised = |e: &dyn std::fmt::Display| HttpRefusal::new(StatusCode::UNAUTHORIZED, e.to_string());
    let headers = request.headers();
    let signed = Signed::parse(single(headers, "signature-input")?, single(headers, "signature")?)
        .map_err(|e| unauthorised(&e))?;
    let digest_header = single(headers, "content-digest")?.to_owned();
    let digest = parse_content_digest(&digest_header).map_err(|e| unauthorised(&e))?;
    let host = host_of(service, request)?;
    let length = length_of(headers, request.body())?;
    let (key, created) = (signed.parameters.key, signed.parameters.created);
    check_time(created, clock::unix(), service.http.max_clock_skew)?;
    let project = project_of(service, request.uri().path(), &key);
    // Strangers cost one look into a table, and no signature.
    let known = match &project {
        Some(Ok((_, _, membership))) => *membership != Membership::None,
        Some(Err(_)) | None => known(service, &key),
    };
    if !known {
        let detail = match &project {
            Some(Ok(_)) => "this key is not a member of this project: the owner's order makes it one",
            _ => "this key is unknown here: it may not create projects and is not a member of any",
        };
        return Err(HttpRefusal::new(StatusCode::FORBIDDEN, detail));
    }
    let query = request.uri().query().map_or_else(|| EMPTY_QUERY.to_owned(), |q| format!("?{q}"));
    let covered = blindsmith_api::Request {
        method: request.method().as_str(),
        authority: &host,
        path: request.uri().path(),
        query: &query,
        digest: &digest_header,
    };
    signed.verify(&covered).map_err(|e| unauthorised(&e))?;
    let project = project.transpose()?;
    let membership = project.as_ref().map_or(Membership::None, |(_, _, membership)| *membership);
    allowed(route, membership, service.http.may_create(&key))?;
    let most = body_limit(service, route);
    if length > most {
        let detail = format!("a body of {length} bytes, where {most} are possible here: send smaller chunks");
        return Err(HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    service.take_rate(&key, length)?;
    service.take_nonce(&key, &signed.parameters.nonce).map_err(|e| match e {
        NonceError::Replayed => {
            unauthorised(&"this request was made before: sign it anew, with a fresh nonce")
        }
        NonceError::Full => HttpRefusal::busy("too many requests of late: try again", 10),
    })?;
    let memory = if length > 0 { Some(service.reserve(length)?) } else { None };
    let bytes = read(service, std::mem::take(request.body_mut()), length as usize).await?;
    let body =
        memory.map_or_else(Bytes::new, |memory| Bytes::from_owner(ReservedBody { bytes, _memory: memory }));
    if <[u8; 32]>::from(Sha256::digest(&body)) != digest {
        let detail = "the body is not the one that was signed (Content-Digest): it was altered on the way, send it again";
        return Err(HttpRefusal::new(StatusCode::BAD_REQUEST, detail));
    }
    let project = project.map(|(id, spec, _)| (id, spec));
    Ok(Caller { key, membership, project, body })
}

fn route_of(request: &Request) -> Result<&'static Route, HttpRefusal> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // What HEAD asks for is what GET would answer.
    let method = if *request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let found = ROUTES.iter().find(|route| route.path == path && route.method.name() == method);
    found.ok_or_else(no_route)
}

fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, HttpRefusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(HttpRefusal::new(
            StatusCode::UNAUTHORIZED,
            format!("requests are signed: give one header {name}, as docs/service.md describes"),
        )),
    }
}

fn host_of(service: &Service, request: &Request) -> Result<String, HttpRefusal> {
    let given = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let given =
        given.ok_or_else(|| HttpRefusal::new(StatusCode::BAD_REQUEST, "the request names no host"))?;
    let host = authority(given, service.http.certificate.is_some());
    if !service.http.authorities.is_empty() && !service.http.authorities.contains(&host) {
        let detail =
            "this refinery does not go by the name that the request has: use one that its operator gave";
        return Err(HttpRefusal::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    Ok(host)
}

/// The length of a body, which must be told beforehand: it is what room is made for.
fn length_of(headers: &HeaderMap, body: &Body) -> Result<u64, HttpRefusal> {
    use axum::body::HttpBody;
    match body.size_hint().exact() {
        Some(length) if !headers.contains_key(header::TRANSFER_ENCODING) => Ok(length),
        _ => {
            Err(HttpRefusal::new(StatusCode::LENGTH_REQUIRED, "give the length of the body (Content-Length)"))
        }
    }
}

fn check_time(created: u64, now: u64, skew: u64) -> Result<(), HttpRefusal> {
    let off = created.abs_diff(now);
    if off <= skew {
        return Ok(());
    }
    let side = if created < now { "old" } else { "early" };
    let detail = format!(
        "the request is {off} s too {side} for the refinery's clock, which says {now} (seconds since 1970, UTC): set \
         your clock, or send the request at once after signing it; {skew} s are allowed"
    );
    Err(HttpRefusal::new(StatusCode::UNAUTHORIZED, detail).with_time(now))
}

type PathProject = (Id, Arc<ProjectSpec>, Membership);

/// The project that a path names, if it names one.
fn project_of(service: &Service, path: &str, key: &PublicKey) -> Option<Result<PathProject, HttpRefusal>> {
    let name = path.strip_prefix("/v1/projects/")?.split('/').next()?;
    let Ok(id) = name.parse::<Id>() else {
        let detail = "the path names no project: an identifier has 64 hexadecimal digits";
        return Some(Err(HttpRefusal::new(StatusCode::NOT_FOUND, detail)));
    };
    let found = service.shared.project(&id, |p| (id, p.spec().clone(), p.membership(key)));
    Some(found.map_err(HttpRefusal::from))
}

/// Whether a key may create projects, or is something to any.
fn known(service: &Service, key: &PublicKey) -> bool {
    service.http.may_create(key)
        || service.shared.lock().projects.values().any(|p| p.membership(key) != Membership::None)
}

fn allowed(route: &Route, membership: Membership, creator: bool) -> Result<(), HttpRefusal> {
    let member = |role| membership == Membership::Owner || membership == Membership::Member(role);
    let may = match route.access {
        Access::Public | Access::Known => true,
        Access::Creator => creator,
        Access::Owner => membership == Membership::Owner,
        Access::Contributor => member(MemberRole::Contributor),
        Access::Querier => member(MemberRole::Querier),
        Access::Lists => member(MemberRole::Contributor) || member(MemberRole::Viewer),
        Access::Member => membership != Membership::None,
    };
    if may {
        return Ok(());
    }
    let detail = format!("this is for {} alone", route.access.words());
    Err(HttpRefusal::new(StatusCode::FORBIDDEN, detail))
}

/// Most bytes of a route's body.
fn body_limit(service: &Service, route: &Route) -> u64 {
    use blindsmith_api::Method::{Delete, Patch, Post};
    let end = route.path.rsplit('/').next().unwrap_or_default();
    match (route.method, end) {
        (Patch, _) => service.limits.chunk_bytes,
        (Delete, _) | (Post, "orders" | "enrolments") => MAX_SIGNED as u64,
        (Post, "attest") => MAX_SMALL as u64,
        (Post, "projects") => service.limits.model_bytes + MAX_HEADER as u64,
        (Post, "release") => MAX_RELEASE as u64,
        (Post, "commit" | "ask") => MAX_HEADER as u64,
        (Post, "rounds") => MAX_SMALL as u64,
        _ => 0,
    }
}

/// Reads a body of a known length, no slower than allowed.
async fn read(service: &Service, mut body: Body, length: usize) -> Result<Vec<u8>, HttpRefusal> {
    let seconds = service.http.body_timeout + length as u64 / service.http.minimum_rate;
    let deadline = tokio::time::Instant::from_std(Instant::now() + Duration::from_secs(seconds));
    let cut = |detail: &str| HttpRefusal::new(StatusCode::BAD_REQUEST, detail);
    let reading = async {
        let mut bytes = Vec::with_capacity(length);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| cut("the body broke off: send it again"))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > length {
                    return Err(cut("the body is longer than was announced"));
                }
                bytes.extend_from_slice(data);
            }
        }
        if bytes.len() != length {
            return Err(cut("the body broke off: send it again"));
        }
        Ok(bytes)
    };
    let late =
        || HttpRefusal::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly: send smaller chunks");
    let bytes = tokio::time::timeout_at(deadline, reading).await.map_err(|_| late())??;
    service.metrics.received_bytes.fetch_add(length as u64, std::sync::atomic::Ordering::Relaxed);
    Ok(bytes)
}
