//! The demo page and the browser client that it uses.
//!
//! It knows no rooms and no credentials. `route` looks its paths up, and the pipeline serves them.

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::edge::Edge;
use crate::edge::response::body::Body;
use crate::edge::response::file::{PageFile, WEB};
use crate::edge::response::problem::problem_with;
use crate::edge::response::refusals::Refusal;

static CLIENT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../client/src");

/// The folder of the dashboard, which only the admin listener serves.
const DASHBOARD: &str = "dashboard/";

/// The Content-Security-Policy: only our own files, and sockets to our own origin.
const POLICY: &str = "default-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// A part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Asset {
    File(PageFile),
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
        Some(name) => PageFile::find(&CLIENT, name),
        None if name.starts_with(DASHBOARD) => None,
        None => PageFile::find(&WEB, name),
    };
    file.map(Asset::File)
}

/// Answers a request for a part of the page.
pub(in crate::edge) fn answer(edge: &Edge, asset: &Asset, request: &Request<()>) -> Result<Response<Body>, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(problem_with(StatusCode::METHOD_NOT_ALLOWED, "only GET here", ALLOW, "GET, HEAD").into());
    }
    Ok(match *asset {
        Asset::File(file) => file.answer(POLICY, request.headers()),
        Asset::Settings => settings(&edge.base_path, edge.verifier.is_dev()),
    })
}

fn settings(base_path: &str, dev: bool) -> Response<Body> {
    let settings = json!({ "basePath": base_path, "auth": if dev { "dev" } else { "jwt" } });
    let mut response = Response::new(Body::whole(settings.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
