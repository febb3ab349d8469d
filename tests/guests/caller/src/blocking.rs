//! Ways in which a room can block itself, or the host's memory, through `wasi:http`.

use serde_json::{Value, json};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::OutputStream;

fn request() -> (OutgoingRequest, OutgoingBody) {
    let request = OutgoingRequest::new(Fields::new());
    let body = request.body().expect("it is asked for once");
    (request, body)
}

/// Writes until the body accepts no more.
fn fill(stream: &OutputStream) -> u64 {
    let mut written = 0;
    while let Ok(space @ 1..) = stream.check_write() {
        let bytes = space.min(1 << 20);
        stream.write(&vec![0; usize::try_from(bytes).expect("it is small")]).expect("there is space");
        written += bytes;
    }
    written
}

pub(crate) fn wait_forever() -> Value {
    let (_request, body) = request();
    let stream = body.write().expect("it is asked for once");
    fill(&stream);
    stream.subscribe().block();
    json!("it took more")
}

fn request_to(authority: &str) -> (OutgoingRequest, OutgoingBody) {
    let (request, body) = request();
    request.set_method(&Method::Post).expect("a good method");
    request.set_scheme(Some(&Scheme::Http)).expect("a good scheme");
    request.set_authority(Some(authority)).expect("a good authority");
    request.set_path_with_query(Some("/")).expect("a good path");
    (request, body)
}

/// Sends requests until one fails, and reads no body of an answer.
pub(crate) fn hold_answers(authority: &str) -> Value {
    let mut held = Vec::new();
    loop {
        let (request, body) = request_to(authority);
        let answer = outgoing_handler::handle(request, None).expect("it may be asked");
        OutgoingBody::finish(body, None).expect("it is empty");
        answer.subscribe().block();
        match answer.get().expect("it is ready").expect("it is taken once") {
            Ok(response) => held.push(response),
            Err(error) => return json!({ "held": held.len(), "error": format!("{error:?}") }),
        }
    }
}

pub(crate) fn never_finish(authority: &str) -> Value {
    let (request, body) = request_to(authority);
    let answer = outgoing_handler::handle(request, None).expect("it may be asked");
    answer.subscribe().block();
    let answered = answer.get().expect("it is ready").expect("it is taken once");
    drop(body);
    json!({ "error": format!("{answered:?}") })
}

pub(crate) fn fill_bodies() -> Value {
    let mut held = Vec::new();
    loop {
        let (request, body) = request();
        let stream = body.write().expect("it is asked for once");
        fill(&stream);
        held.push((request, body, stream));
    }
}
