//! The description of the service for programs, made from the table of routes.

use serde_json::{Map, Value, json};

use crate::route::{Access, Method, ROUTES, Route};

/// The names of the numbers that a route's query may have.
fn queries(route: &Route) -> &'static [&'static str] {
    match (route.method, route.path) {
        (Method::Patch, _) => &["offset"],
        (Method::Get, "/v1/projects/{project}") => &["run", "change", "rounds"],
        (Method::Get, "/v1/projects/{project}/rounds") => &["from"],
        (Method::Get, "/v1/projects/{project}/receipts") => &["from", "faults"],
        _ => &[],
    }
}

/// The OpenAPI 3.1 description.
pub fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let mut parameters: Vec<Value> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        for name in queries(route) {
            parameters.push(json!({"name": name, "in": "query", "required": route.method == Method::Patch,
                "schema": {"type": "integer", "minimum": 0}}));
        }
        let (status, media, meaning) = route.answer;
        let mut answer = json!({"description": meaning});
        if !media.is_empty() {
            answer["content"] = json!({media: {}});
        }
        let mut responses = json!({"default": {"$ref": "#/components/responses/Problem"}});
        responses[status.to_string()] = answer;
        let mut operation = json!({
            "summary": route.summary,
            "description": format!("For {}.", route.access.words()),
            "parameters": parameters,
            "responses": responses,
        });
        if let Some((media, meaning)) = route.body {
            operation["requestBody"] =
                json!({"required": true, "description": meaning, "content": {media: {}}});
        }
        if route.access != Access::Public {
            operation["security"] = json!([{"signature": []}]);
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.name().to_ascii_lowercase()] = operation;
    }
    let text = |what: &str| json!({"type": "string", "description": what});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Blindsmith refinery",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Stores ciphertexts and multiplies them. Requests are signed: see docs/service.md.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"signature": {
                "type": "apiKey", "in": "header", "name": "Signature",
                "description": "HTTP message signature (RFC 9421), Ed25519, tag blindsmith-v1, with Signature-Input \
                                and Content-Digest (sha-256, RFC 9530; also of an empty body).",
            }},
            "responses": {"Problem": {
                "description": "Refused or failed; `detail` says what to do. 429 and 503 have Retry-After.",
                "content": {"application/problem+json": {"schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": text("about:blank"),
                        "title": text("the status in words"),
                        "status": {"type": "integer"},
                        "detail": text("what is wrong, and what to do"),
                        "request": text("what the refinery's log calls the request"),
                        "offset": {"type": "integer", "description": "bytes of an upload that are durable"},
                        "server_time": {"type": "integer", "description": "seconds since 1970"},
                    },
                }}},
            }},
        },
    })
}
