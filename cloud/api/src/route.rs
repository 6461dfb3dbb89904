//! The routes: one table, from which the service's router is checked and its description made.

use crate::media::{BYTES, CBOR, COSE};

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or asks for something to be done.
    Post,
    /// Appends.
    Patch,
    /// Takes back.
    Delete,
}

impl Method {
    /// In capitals, as requests have it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, unsigned.
    Public,
    /// Keys that may create projects, and owners and members of any project.
    Known,
    /// Keys that may create projects.
    Creator,
    /// The project's owner.
    Owner,
    /// The project's owner and its contributors.
    Contributor,
    /// The project's owner and its queriers.
    Querier,
    /// The project's owner, its contributors and its viewers.
    Lists,
    /// The project's owner and all its members.
    Member,
}

impl Access {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Access::Public => "everybody; unsigned",
            Access::Known => "keys that may create projects, owners and members",
            Access::Creator => "keys that may create projects",
            Access::Owner => "the project's owner",
            Access::Contributor => "the project's owner and contributors",
            Access::Querier => "the project's owner and queriers",
            Access::Lists => "the project's owner, contributors and viewers",
            Access::Member => "the project's owner and members",
        }
    }
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it does.
    pub summary: &'static str,
    /// Media type and meaning of the body, if it takes one.
    pub body: Option<(&'static str, &'static str)>,
    /// Status, media type and meaning of the answer.
    pub answer: (u16, &'static str, &'static str),
}

const JSON: &str = "application/json";

macro_rules! routes {
    ($($method:ident $path:literal $access:ident: $summary:literal, $body:expr => $answer:expr;)*) => {
        /// All routes.
        pub const ROUTES: &[Route] = &[$(Route {
            method: Method::$method, path: $path, access: Access::$access, summary: $summary, body: $body,
            answer: $answer,
        }),*];
    };
}

routes! {
    Get "/health" Public: "Whether the process answers; its version and time.", None => (200, JSON, "Health");
    Get "/ready" Public: "Whether requests are taken, and which kind of warden is connected; 503 with the reason while it ends or its store cannot be used.",
        None => (200, JSON, "Ready");
    Get "/metrics" Public: "Counters and gauges for Prometheus.", None => (200, "text/plain", "Metrics");
    Get "/openapi.json" Public: "This description.", None => (200, JSON, "OpenAPI 3.1");
    Post "/v1/attest" Known: "The warden's evidence for who asks.",
        Some((COSE, "The signed request")) => (200, CBOR, "Evidence");
    Post "/v1/projects" Creator: "Creates a project, whose specification names the signing key as its owner.",
        Some((CBOR, "An array: specification, sealed initial model")) => (201, JSON, "Created");
    Get "/v1/projects" Known: "The projects that the key owns or is a member of.", None => (200, JSON, "Projects");
    Get "/v1/projects/{project}" Member: "Status, or the part of it that follows ?run=NUMBER&change=NUMBER&rounds=NUMBER, which are `seen` of the part before. Contributors and queriers see uploads of their own alone. CBOR if asked for.",
        None => (200, JSON, "Status; there is another part if `more`");
    Get "/v1/projects/{project}/spec" Member: "The specification.", None => (200, CBOR, "Specification");
    Post "/v1/projects/{project}/attest" Member: "The warden's evidence for who asks.",
        Some((COSE, "The signed request")) => (200, CBOR, "Evidence");
    Post "/v1/projects/{project}/release" Owner: "Hands a sealed release to the warden.",
        Some((COSE, "The signed and sealed release")) => (200, COSE, "The warden's confirmation");
    Get "/v1/projects/{project}/orders" Member: "The owner's signed orders, in sequence.",
        None => (200, CBOR, "An array of signed orders");
    Post "/v1/projects/{project}/orders" Owner: "Carries out the next signed order.",
        Some((COSE, "The signed order")) => (204, "", "Done");
    Post "/v1/projects/{project}/enrolments" Contributor: "Hands a contributor's seed to the warden.",
        Some((COSE, "The signed enrolment")) => (200, COSE, "The warden's confirmation");
    Get "/v1/projects/{project}/uploads" Lists: "The uploads: a contributor's own, or all for owner and viewers.",
        None => (200, JSON, "Uploads");
    Post "/v1/projects/{project}/uploads" Contributor: "Begins an upload.", None => (201, JSON, "Session");
    Get "/v1/projects/{project}/uploads/{session}" Contributor: "How far an upload is.", None => (200, JSON, "Offset");
    Patch "/v1/projects/{project}/uploads/{session}" Contributor:
        "Appends a chunk at ?offset=BYTES; 409 with the durable offset if it is another.",
        Some((BYTES, "Row blocks, cut anywhere")) => (200, JSON, "Offset");
    Post "/v1/projects/{project}/uploads/{session}/commit" Contributor: "Ends an upload; answers once it is durable.",
        Some((CBOR, "The upload's header")) => (200, JSON, "Accepted");
    Delete "/v1/projects/{project}/uploads/{session}" Contributor:
        "Takes an upload back, named by its identifier, with the contributor's signed withdrawal.",
        Some((COSE, "The signed withdrawal")) => (204, "", "Done");
    Post "/v1/projects/{project}/queries" Querier: "Begins a query.", None => (201, JSON, "Session");
    Get "/v1/projects/{project}/queries/{session}" Querier: "How far a query is.", None => (200, JSON, "Offset");
    Patch "/v1/projects/{project}/queries/{session}" Querier: "Appends a chunk, as to an upload.",
        Some((BYTES, "Row blocks, cut anywhere")) => (200, JSON, "Offset");
    Post "/v1/projects/{project}/queries/{session}/ask" Querier: "Ends a query; answers once the warden did.",
        Some((CBOR, "An array: header, sealed seed")) => (200, BYTES, "The sealed answer");
    Post "/v1/projects/{project}/rounds" Owner: "Asks for a round.",
        Some((JSON, "Refine")) => (202, "", "The round waits for its turn");
    Get "/v1/projects/{project}/rounds" Member: "The rounds so far from ?from=NUMBER on, as many as an answer should have.",
        None => (200, JSON, "An array of rounds; empty after the last");
    Get "/v1/projects/{project}/models/{version}" Owner: "The sealed model of a version, or `newest`.",
        None => (200, BYTES, "The sealed model");
    Get "/v1/projects/{project}/receipts" Member: "The warden's receipts from round ?from=NUMBER on, and after the last of them its reports of wrong answers after &faults=NUMBER of them, as many as a page has.",
        None => (200, CBOR, "Ledger; there is another page if `more`");
    Get "/v1/projects/{project}/events" Member: "Progress, as server-sent events, until no round runs or is due.",
        None => (200, "text/event-stream", "Events `progress`, then one `idle`");
}
