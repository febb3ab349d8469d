//! The demo page and the browser client that it uses, embedded in the binary: they need no files beside it and no build
//! step.
//!
//! It knows no rooms and no credentials. `route` looks its paths up, and the pipeline serves them.

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::edge::Edge;
use crate::edge::response::body::Body;
use crate::edge::response::problem::problem_with;
use crate::edge::response::refusals::Refusal;

static PAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");
static CLIENT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../client/src");

/// The Content-Security-Policy: only our own files, and sockets to our own origin.
const POLICY: &str = "default-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// A part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Asset {
    File {
        content_type: &'static str,
        contents: &'static [u8],
    },
    /// The settings of this server that the page needs.
    Settings,
}

/// The part of the page at a path.
pub(in crate::edge) fn find(path: &str) -> Option<Asset> {
    if path == "/config.json" {
        return Some(Asset::Settings);
    }
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/')? };
    let file = match name.strip_prefix("client/") {
        Some(name) => CLIENT.get_file(name),
        None => PAGE.get_file(name),
    };
    Some(Asset::File { content_type: content_type(name), contents: file?.contents() })
}

/// Answers a request for a part of the page.
pub(in crate::edge) fn answer(edge: &Edge, asset: &Asset, request: &Request<()>) -> Result<Response<Body>, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(problem_with(StatusCode::METHOD_NOT_ALLOWED, "only GET here", ALLOW, "GET, HEAD").into());
    }
    Ok(match *asset {
        Asset::File { content_type, contents } => file(content_type, contents, request.headers()),
        Asset::Settings => settings(&edge.base_path, edge.verifier.is_dev()),
    })
}

fn file(content_type: &'static str, contents: &'static [u8], headers: &HeaderMap) -> Response<Body> {
    // The version is a part of the tag, because a new binary may have other files.
    let tag = format!("\"{}-{}\"", env!("CARGO_PKG_VERSION"), fingerprint(contents));
    let mut response = Response::new(Body::whole(contents));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        *response.body_mut() = Body::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, HeaderValue::try_from(tag).expect("a version and a number are a header's text"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    response
}

fn settings(base_path: &str, dev: bool) -> Response<Body> {
    let settings = json!({ "basePath": base_path, "auth": if dev { "dev" } else { "jwt" } });
    let mut response = Response::new(Body::whole(settings.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

/// FNV-1a: enough to distinguish the files of two builds.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
