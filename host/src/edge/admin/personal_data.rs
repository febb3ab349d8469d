//! `/users/{user}/export`, `/users/{user}/erase` and `/erasures`: the data of one user over all rooms, and what the host
//! itself keeps about the user. Which rooms are asked, and how, is in `personal_data`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Admin;
use super::audit::ActionsOfUser;
use super::outcome::Outcome;
use super::request::AdminRequest;
use super::usage::user_row;
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::limits::LISTED_ERASURES;
use crate::personal_data::{Erasure, ExportLine, Exporting, PersonalData, PersonalDataError};
use crate::revocations::Entry;

/// The version of the export's format.
const VERSION: u32 = 1;
/// A portion is sent when it has this many bytes.
const PORTION_BYTES: usize = 64 << 10;

impl Admin {
    /// `GET /users/{user}/export`: JSON lines, the last of them with a checksum.
    pub(super) async fn export_user(
        self: &Arc<Self>,
        user: &str,
        request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        PersonalData::prepare(user).map_err(refused)?;
        let permit = self.user_exports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| overloaded("another user is being exported"))?;
        self.audit.record(&request, "export a user", &format!("user {user}"), None).await?;
        let of_host = self.of_host(user).await?;
        let exporting = self.personal_data.export(user).await.map_err(refused)?;
        let first = json!({ "kind": "user", "version": VERSION, "user": user, "exported": clock::unix_millis() });
        let (audit, recorded) = (self.audit.clone(), request.recorded.take());
        Ok(self.download(&request, "application/jsonl", move |send| {
            let outcome = match write(&first, &of_host, exporting, send) {
                true => Outcome::Done,
                false => Outcome::Failed("it broke off".into()),
            };
            drop(permit);
            audit.finish_blocking(&recorded, &outcome);
        }))
    }

    /// The things that the host itself keeps about a user.
    async fn of_host(&self, user: &str) -> Result<OfHost, Refusal> {
        let (sockets, _) = self.edge.sockets_of(user);
        let sockets = sockets.iter().map(|socket| {
            json!({ "kind": "socket", "room": socket.room.to_string(), "userName": socket.user_name, "since": socket.since })
        });
        let mut lines = sockets.collect::<Vec<_>>();
        let usage = user_row(&self.edge.rooms, user).await?;
        lines.extend(usage.map(|usage| json!({ "kind": "usage", "usage": usage })));
        let is_of_user = |entry: &Entry| match entry {
            Entry::User { user: other, .. } | Entry::Member { user: other, .. } => other == user,
            Entry::Token { .. } => false,
        };
        let revocations = self.edge.revocations().into_iter().filter(is_of_user);
        lines.extend(revocations.map(|entry| json!({ "kind": "revocation", "revocation": entry })));
        Ok(OfHost { lines, actions: self.audit.about_user(user).await? })
    }

    /// `POST /users/{user}/erase`: begins an erasure. The audit log names it by its number, so that it does not keep the
    /// id of a user who is erased.
    pub(super) async fn erase_user(&self, user: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let erasure = self.personal_data.waiting_or_new(user).map_err(refused)?;
        self.audit.record(&request, "erase a user", &format!("erasure {}", erasure.id), None).await?;
        let erasure = self.personal_data.begin(erasure).await.map_err(refused)?;
        let (_, sockets) = self.edge.sockets_of(user);
        let mut shown = shown(&erasure);
        shown["sockets"] = sockets.into();
        let mut response = json_response(&shown);
        *response.status_mut() = StatusCode::ACCEPTED;
        let location = HeaderValue::try_from(format!("/erasures/{}", erasure.id)).expect("an id has only digits");
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }

    /// `GET /erasures`: the newest first. With the parameter `user`, those of this user, also if the id is forgotten.
    pub(super) fn list_erasures(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let user = request.parameter("user")?;
        let limit = request.limit(LISTED_ERASURES.0, LISTED_ERASURES.1)?;
        request.no_more_parameters()?;
        let erasures = self.personal_data.erasures();
        let is_meant = |erasure: &&Erasure| user.as_ref().is_none_or(|user| erasure.mark.is_of(user));
        let erasures = erasures.iter().rev().filter(is_meant).take(limit).map(shown).collect::<Vec<_>>();
        Ok(json_response(&json!({ "erasures": erasures })))
    }

    /// `GET /erasures/{id}`
    pub(super) fn show_erasure(&self, id: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let erasure = self.personal_data.erasure(id).ok_or_else(no_such)?;
        Ok(json_response(&shown(&erasure)))
    }

    /// `DELETE /erasures/{id}`: ends it. What was erased stays so.
    pub(super) async fn cancel_erasure(&self, id: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let erasure = self.personal_data.erasure(id).ok_or_else(no_such)?;
        self.audit.record(&request, "cancel an erasure", &format!("erasure {}", erasure.id), None).await?;
        let cancelled = self.personal_data.cancel(id).await.map_err(PersonalDataError::from).map_err(refused)?;
        Ok(json_response(&shown(&cancelled.ok_or_else(no_such)?)))
    }
}

fn no_such() -> Refusal {
    problem(StatusCode::NOT_FOUND, "there is no such erasure").into()
}

fn refused(error: PersonalDataError) -> Refusal {
    match error {
        PersonalDataError::User => problem(StatusCode::BAD_REQUEST, &error.to_string()).into(),
        PersonalDataError::TooMany => overloaded(&error.to_string()).into(),
        PersonalDataError::NotKept(_) | PersonalDataError::Storage(_) => {
            tracing::error!(%error, "the data of a user cannot be exported or erased");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()).into()
        }
    }
}

/// An erasure, as the operator sees it.
fn shown(erasure: &Erasure) -> Value {
    let failed = erasure.failed.iter().map(|failed| json!({ "room": failed.room, "error": failed.error }));
    let undeclared = erasure.undeclared.iter();
    let undeclared = undeclared.map(|it| json!({ "namespace": it.namespace, "because": it.because }));
    json!({
        "erasure": erasure.id,
        "state": erasure.state,
        "user": erasure.user,
        "started": erasure.started,
        "ended": erasure.ended,
        "rooms": erasure.rooms,
        "items": erasure.items,
        "namespaces": erasure.namespaces,
        "undeclared": undeclared.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
        "moreFailed": erasure.more_failed,
    })
}

/// The things that the host itself keeps about a user.
struct OfHost {
    /// A line for each but the actions.
    lines: Vec<Value>,
    /// The actions of operators. They may be many, and are read while they are sent.
    actions: ActionsOfUser,
}

/// The lines of an export on their way, with their sum.
struct Lines<'a> {
    send: &'a mut dyn FnMut(Bytes) -> bool,
    portion: BytesMut,
    sum: Sha256,
    lines: u64,
}

impl Lines<'_> {
    /// Adds a line. False if the client has gone.
    fn add(&mut self, line: &str) -> bool {
        self.sum.update(line);
        self.sum.update("\n");
        self.lines += 1;
        self.portion.extend_from_slice(line.as_bytes());
        self.portion.extend_from_slice(b"\n");
        self.portion.len() < PORTION_BYTES || self.flush()
    }

    fn flush(&mut self) -> bool {
        (self.send)(self.portion.split().freeze())
    }
}

/// Sends all lines. Without the last one, the export broke off.
fn write(first: &Value, of_host: &OfHost, mut exporting: Exporting, send: &mut dyn FnMut(Bytes) -> bool) -> bool {
    let mut out = Lines { send, portion: BytesMut::new(), sum: Sha256::new(), lines: 0 };
    if ![first].into_iter().chain(&of_host.lines).all(|line| out.add(&line.to_string())) {
        return false;
    }
    let mut add = |entry: Value| out.add(&json!({ "kind": "audit", "entry": entry }).to_string());
    match of_host.actions.read(&mut add) {
        Ok(true) if out.flush() => {}
        Ok(_) => return false,
        Err(error) => {
            tracing::error!(%error, "an export of a user broke off: the audit log cannot be read");
            out.flush();
            return false;
        }
    }
    let (mut items, mut failed) = (0_u64, 0_u64);
    let asked = loop {
        let went = match exporting.blocking_next() {
            Some(ExportLine::Undeclared(it)) => {
                out.add(&json!({ "kind": "undeclared", "namespace": it.namespace, "because": it.because }).to_string())
            }
            Some(ExportLine::Item { room, item }) => {
                items += 1;
                let room = Value::from(room.to_string());
                out.add(&format!(r#"{{"kind":"item","room":{room},"item":{item}}}"#))
            }
            Some(ExportLine::Failed(it)) => {
                failed += 1;
                out.add(&json!({ "kind": "failed", "room": it.room, "error": it.error }).to_string())
            }
            Some(ExportLine::Progress { rooms }) => {
                out.add(&json!({ "kind": "progress", "rooms": rooms }).to_string()) && out.flush()
            }
            Some(ExportLine::End { rooms }) => break rooms,
            // The rooms cannot be read, or the host ends.
            None => {
                out.flush();
                return false;
            }
        };
        if !went {
            return false;
        }
    };
    let sum = out.sum.clone().finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let end = json!({ "rooms": asked, "items": items, "failed": failed, "lines": out.lines, "sha256": sum });
    // `kind` comes first, so that the line is recognised by its beginning.
    out.portion.extend_from_slice(format!("{{\"kind\":\"end\",{}\n", &end.to_string()[1..]).as_bytes());
    out.flush()
}
