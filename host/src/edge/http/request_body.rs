//! The body of a request: read whole, within its length, its time, and the bytes of its user.

use std::error::Error;
use std::pin::pin;

use bytes::BufMut;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};

use crate::clock;
use crate::edge::Edge;
use crate::edge::admission::budget::BodyBytes;
use crate::edge::response::body::Body;
use crate::edge::response::problem::{problem, problem_with};
use crate::edge::response::refusals::{Refusal, refuse};

/// The error of a request's body.
pub(in crate::edge) type BoxError = Box<dyn Error + Send + Sync>;

/// Reads the whole body, within its limits of bytes and time.
pub(in crate::edge) async fn read<B>(
    edge: &Edge,
    body: B,
    max_bytes: usize,
    bytes: &mut BodyBytes,
) -> Result<Vec<u8>, Refusal>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large().into());
    }
    let mut body = pin!(body);
    let mut whole = Vec::new();
    let all = async {
        while let Some(frame) = body.as_mut().frame().await {
            let broke_off = |_| problem(StatusCode::BAD_REQUEST, "the body broke off");
            let Ok(data) = frame.map_err(broke_off)?.into_data() else { continue };
            let more = bytes::Buf::remaining(&data);
            if whole.len() + more > max_bytes {
                return Err(too_large().into());
            }
            bytes.grow(more).map_err(|limit| refuse(&edge.metrics, limit))?;
            whole.put(data);
        }
        Ok::<_, Refusal>(())
    };
    match clock::timeout(edge.limits.body_timeout, all).await {
        Ok(read) => read.map(|()| whole),
        Err(_) => Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").into()),
    }
}

/// Refuses a body with a content coding, before any of it is read.
pub(in crate::edge) fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let coding = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let Some(coding) = coding.map(<[u8]>::escape_ascii) else { return Ok(()) };
    let detail = format!("the body has the content-encoding `{coding}`, which is not supported; send it uncompressed");
    Err(problem_with(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail, header::ACCEPT_ENCODING, "identity").into())
}

fn too_large() -> Response<Body> {
    problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
}
