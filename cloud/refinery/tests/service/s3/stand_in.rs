//! A small server of S3's interface, as far as the store uses it: objects in memory, reached by paths, over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// In this bucket the third part of an object is refused.
pub const REFUSING: &str = "refusing";
/// In this bucket everything is answered only when it is asked for the third time.
pub const BUSY: &str = "busy";
/// This bucket is not there.
pub const MISSING: &str = "missing";
/// Objects of a page of a list.
const PAGE: usize = 3;
/// When every object was written.
const WRITTEN: [&str; 2] = ["Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01T00:00:00.000Z"];

#[derive(Default)]
struct Objects {
    /// By bucket and key.
    stored: BTreeMap<String, Bytes>,
    /// Parts of objects under way, by their identifiers.
    parts: HashMap<String, BTreeMap<u32, Bytes>>,
    /// How often something was asked for in a bucket that is busy.
    asked: HashMap<String, u32>,
    /// Objects that were made of parts, by bucket.
    joined: HashMap<String, u32>,
    begun: u32,
    /// Buckets that are not there any more.
    gone: Vec<String>,
    /// Whether connections are taken and never answered.
    hangs: bool,
}

type Shared = Arc<Mutex<Objects>>;

/// The server; it ends with the test.
pub struct StandIn {
    runtime: Option<tokio::runtime::Runtime>,
    pub endpoint: String,
    objects: Shared,
}

impl StandIn {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let objects = Shared::default();
        objects.lock().unwrap().gone.push(MISSING.into());
        let router = Router::new().fallback(answer).with_state(objects.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        StandIn { runtime: Some(runtime), endpoint, objects }
    }

    /// From now on takes connections and answers nothing, or answers again.
    pub fn hang(&self, hangs: bool) {
        self.objects.lock().unwrap().hangs = hangs;
    }

    /// Removes a bucket with all that is in it.
    pub fn remove_bucket(&self, bucket: &str) {
        let mut objects = self.objects.lock().unwrap();
        objects.gone.push(bucket.into());
        objects.stored.retain(|name, _| !name.starts_with(&format!("{bucket}/")));
    }

    /// Makes an empty bucket of that name.
    pub fn make_bucket(&self, bucket: &str) {
        self.objects.lock().unwrap().gone.retain(|gone| gone != bucket);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn query(request: &Request) -> HashMap<String, String> {
    let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn tag(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>")).into_response()
}

/// Signed by the test's key, and with the body that was signed.
fn signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let digest = Sha256::digest(body).iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    });
    header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=test/")
        && header("x-amz-content-sha256") == digest
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (method, query) = (request.method().clone(), query(&request));
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let (headers, whole) = (request.headers().clone(), request.uri().to_string());
    let Ok(body) = to_bytes(request.into_body(), 64 << 20).await else {
        return refused(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    if shared.lock().unwrap().hangs {
        return std::future::pending().await;
    }
    let mut objects = shared.lock().unwrap();
    if let Some(bucket) = path.strip_prefix("under-way/") {
        // For the tests alone: objects whose parts nobody joined or dropped, and those that were joined.
        let open = objects.parts.keys().filter(|id| id.starts_with(bucket)).count();
        return format!("{open} {}", objects.joined.get(bucket).unwrap_or(&0)).into_response();
    }
    if !signed(&headers, &body) {
        return refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    if objects.gone.iter().any(|bucket| path.split('/').next() == Some(bucket)) {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    if path.starts_with(BUSY) {
        let asked = objects.asked.entry(format!("{method} {whole}")).or_default();
        *asked += 1;
        match *asked % 3 {
            1 => return refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            2 => return refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            _ => {}
        }
    }
    match path.split_once('/') {
        Some((_, key)) if !key.is_empty() => objects.one(&method, &path, &query, &headers, body),
        _ => objects.bucket(&method, path.trim_end_matches('/'), &query, &body),
    }
}

impl Objects {
    /// What is asked of a bucket: a list, or to delete many.
    fn bucket(
        &mut self,
        method: &Method,
        bucket: &str,
        query: &HashMap<String, String>,
        body: &[u8],
    ) -> Response {
        if *method == Method::POST && query.contains_key("delete") {
            let text = String::from_utf8_lossy(body);
            let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
            let mut answer = String::from("<DeleteResult>");
            for (key, _) in keys {
                self.stored.remove(&format!("{bucket}/{key}"));
                _ = write!(answer, "<Deleted><Key>{key}</Key></Deleted>");
            }
            return (answer + "</DeleteResult>").into_response();
        }
        if *method != Method::GET {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
        }
        let prefix = format!("{bucket}/{}", query.get("prefix").map_or("", String::as_str));
        let after = query.get("continuation-token").map_or("", String::as_str);
        let mut found =
            self.stored.iter().filter(|(name, _)| name.starts_with(&prefix) && name.as_str() > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let mut answer = String::from("<ListBucketResult>");
        for (name, bytes) in &page {
            let key = &name[bucket.len() + 1..];
            let (written, size, tag) = (WRITTEN[1], bytes.len(), tag(bytes));
            _ = write!(
                answer,
                "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{written}</LastModified>\
                 <ETag>&quot;{tag}&quot;</ETag></Contents>"
            );
        }
        if let (Some(_), Some((last, _))) = (found.next(), page.last()) {
            _ = write!(answer, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        (answer + "</ListBucketResult>").into_response()
    }

    /// What is asked of an object.
    fn one(
        &mut self,
        method: &Method,
        name: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response {
        match (method.as_str(), query.get("uploadId")) {
            ("PUT", Some(id)) => {
                let number: u32 = query["partNumber"].parse().unwrap();
                if name.starts_with(REFUSING) && number == 3 {
                    return refused(StatusCode::FORBIDDEN, "AccessDenied");
                }
                let Some(parts) = self.parts.get_mut(id) else {
                    return refused(StatusCode::NOT_FOUND, "NoSuchUpload");
                };
                let tag = tag(&body);
                parts.insert(number, body);
                [("etag", format!("\"{tag}\""))].into_response()
            }
            ("PUT", None) => {
                if headers.contains_key("if-none-match") && self.stored.contains_key(name) {
                    return refused(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                let tag = tag(&body);
                self.stored.insert(name.to_owned(), body);
                [("etag", format!("\"{tag}\""))].into_response()
            }
            ("POST", None) if query.contains_key("uploads") => {
                self.begun += 1;
                let bucket = name.split('/').next().unwrap_or_default();
                let id = format!("{bucket}-{}", self.begun);
                self.parts.insert(id.clone(), BTreeMap::new());
                let answer = "InitiateMultipartUploadResult";
                format!("<{answer}><UploadId>{id}</UploadId></{answer}>").into_response()
            }
            ("POST", Some(id)) => self.join(name, id, &String::from_utf8_lossy(&body)),
            ("DELETE", Some(id)) => {
                self.parts.remove(id);
                StatusCode::NO_CONTENT.into_response()
            }
            ("DELETE", None) => {
                self.stored.remove(name);
                StatusCode::NO_CONTENT.into_response()
            }
            ("GET" | "HEAD", None) => match self.stored.get(name) {
                None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
                Some(bytes) => {
                    let head = [
                        ("etag", format!("\"{}\"", tag(bytes))),
                        ("last-modified", WRITTEN[0].to_owned()),
                        ("content-length", bytes.len().to_string()),
                    ];
                    let body = if *method == Method::GET { bytes.clone() } else { Bytes::new() };
                    (head, Body::from(body)).into_response()
                }
            },
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    /// Makes an object of parts, which must be those that the client names.
    fn join(&mut self, name: &str, id: &str, named: &str) -> Response {
        let Some(parts) = self.parts.get(id) else {
            return refused(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let all = parts.iter().all(|(number, bytes)| {
            named.contains(&format!("<PartNumber>{number}</PartNumber>")) && named.contains(&tag(bytes))
        });
        if !all || parts.len() != named.matches("<PartNumber>").count() {
            return refused(StatusCode::BAD_REQUEST, "InvalidPart");
        }
        let whole: Vec<u8> = parts.values().flat_map(|part| part.iter().copied()).collect();
        self.parts.remove(id);
        let bucket = name.split('/').next().unwrap_or_default();
        *self.joined.entry(bucket.to_owned()).or_default() += 1;
        let (tag, answer) = (tag(&whole), "CompleteMultipartUploadResult");
        self.stored.insert(name.to_owned(), whole.into());
        format!("<{answer}><ETag>\"{tag}\"</ETag></{answer}>").into_response()
    }
}
