//! Files of a page, embedded in the binary: they need no files beside it and no build step.
//!
//! It does not know which page a file belongs to. The demo page and the dashboard answer with it.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Response, StatusCode};
use include_dir::{Dir, include_dir};

use super::body::Body;

/// The files of the demo page, and those of the dashboard in a folder of their own.
pub(in crate::edge) static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// An embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct PageFile {
    content_type: &'static str,
    contents: &'static [u8],
}

impl PageFile {
    /// The file of a folder. Its name tells its type.
    pub(in crate::edge) fn find(folder: &'static Dir<'static>, name: &str) -> Option<Self> {
        let contents = folder.get_file(name)?.contents();
        Some(PageFile { content_type: content_type(name), contents })
    }

    /// The answer to a GET with these headers. `policy` is the Content-Security-Policy of the page.
    pub(in crate::edge) fn answer(self, policy: &'static str, headers: &HeaderMap) -> Response<Body> {
        let mut response = answer_with(self.content_type, Bytes::from_static(self.contents), headers);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The answer to a GET of a file with these headers.
pub(in crate::edge) fn answer_with(content_type: &'static str, contents: Bytes, headers: &HeaderMap) -> Response<Body> {
    // The version is a part of the tag, because a new binary may have other files.
    let tag = format!("\"{}-{}\"", env!("CARGO_PKG_VERSION"), fingerprint(&contents));
    let mut response = Response::new(Body::whole(contents));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        *response.body_mut() = Body::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, HeaderValue::try_from(tag).expect("a version and a number are a header's text"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The type of a file by its name.
pub(in crate::edge) fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "txt" | "LICENSE" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// FNV-1a: enough to distinguish the files of two builds.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
