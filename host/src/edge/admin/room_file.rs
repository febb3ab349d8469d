//! `/rooms/NS/NAME/export` and `/rooms/NS/NAME/import`: one room as a file of JSON lines.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use super::Admin;
use super::outcome::Outcome;
use super::request::AdminRequest;
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::limits::ADMIN_STALL_TIMEOUT;
use crate::model::{Address, StorageFailed};
use crate::store::transfer::{CheckedImport, Export, ImportError};

/// Parts of an upload that wait to be checked and kept: each has the size of a read from the connection.
const WAITING: usize = 16;

impl Admin {
    /// `GET /rooms/NS/NAME/export`: the room as it is between two turns, with everything that was acknowledged before.
    pub(super) async fn export_room(
        self: Arc<Self>,
        request: AdminRequest,
        address: Address,
    ) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let permit = self.exports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| overloaded("too many rooms are being exported"))?;
        self.audit.record(&request, "export", &format!("room {address}"), None).await?;
        let about = self.edge.rooms.about(address.namespace());
        let room = address.clone();
        let snapshot = self.edge.rooms.snapshot().map_err(unreadable)?;
        let export = tokio::task::spawn_blocking(move || Export::of(snapshot, &room, about)).await;
        let export = export.expect("reading a record does not panic").map_err(unreadable)?;
        let export = export
            .ok_or_else(|| problem(StatusCode::NOT_FOUND, &format!("there is no room {address} with stored data")))?;
        let (audit, recorded) = (self.audit.clone(), request.recorded.take());
        Ok(self.download(&request, "application/jsonl", move |send| {
            let mut is_received = true;
            let written = export.write(&mut |portion| {
                is_received = send(portion);
                is_received
            });
            drop(permit);
            let outcome = match written {
                Ok(()) if is_received => Outcome::Done,
                Ok(()) => Outcome::Failed("its receiver has gone".into()),
                Err(error) => {
                    tracing::error!(%error, "an export broke off");
                    Outcome::Failed(error.to_string())
                }
            };
            audit.finish_blocking(&recorded, &outcome);
        }))
    }

    /// `POST /rooms/NS/NAME/import`: the body is checked as a whole before anything is stored. The room is durable
    /// before the answer.
    pub(super) async fn import_room(
        self: Arc<Self>,
        mut request: AdminRequest,
        address: &Address,
    ) -> Result<Response<Body>, Refusal> {
        let force = request.parsed("force", "true or false")?.unwrap_or(false);
        request.no_more_parameters()?;
        let _permit = self.imports.try_acquire().map_err(|_| overloaded("another room is being imported"))?;
        let import = self.received(&mut request).await?;
        let here = self.edge.rooms.about(address.namespace()).component;
        if let (Some(there), Some(here), false) = (import.component(), &here, force)
            && file_name(there) != file_name(here)
        {
            let detail = format!(
                "the room was exported from {there}, and {} runs {here}, which may not understand its storage; nothing \
                 was imported. If it does, import it with `force=true` (--force)",
                address.namespace()
            );
            return Err(problem(StatusCode::CONFLICT, &detail).into());
        }
        let detail = json!({ "exported as": import.address(), "component": import.component() });
        self.audit.record(&request, "import", &format!("room {address}"), Some(detail)).await?;
        let imported = self.edge.rooms.import(address, import).await.map_err(refused)?;
        Ok(json_response(&json!({
            "namespace": address.namespace(),
            "name": address.name(),
            "entries": imported.entries,
            "timers": imported.timers,
            "posts": imported.posts,
            "bytes": imported.bytes,
        })))
    }

    /// Receives the body into a file and checks it. A thread writes and checks while the next bytes arrive.
    async fn received(&self, request: &mut AdminRequest) -> Result<CheckedImport, Refusal> {
        let mut file = self.edge.rooms.import_file().map_err(refused)?;
        let (parts, mut arrived) = mpsc::channel::<Bytes>(WAITING);
        let checking = tokio::task::spawn_blocking(move || {
            while let Some(part) = arrived.blocking_recv() {
                file.push(&part)?;
            }
            file.finish()
        });
        loop {
            match clock::timeout(ADMIN_STALL_TIMEOUT, request.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(part) = frame.into_data() else { continue };
                    // If it is refused already, the reason comes below.
                    if parts.send(part).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(problem(StatusCode::BAD_REQUEST, "the body broke off").into()),
                Err(_) => {
                    return Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").into());
                }
            }
        }
        drop(parts);
        let checked = checking.await.expect("checking lines does not panic").map_err(refused);
        if checked.is_err() {
            request.discard().await;
        }
        checked
    }
}

/// A component without its folder, which another server may have elsewhere.
fn file_name(component: &str) -> &str {
    component.rsplit('/').next().unwrap_or(component)
}

fn unreadable(error: StorageFailed) -> Refusal {
    tracing::error!(%error, "a room cannot be exported");
    problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()).into()
}

fn refused(error: ImportError) -> Refusal {
    let status = match error {
        ImportError::Exists => StatusCode::CONFLICT,
        ImportError::Line { .. } | ImportError::Newer { .. } | ImportError::Incomplete => StatusCode::BAD_REQUEST,
        ImportError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ImportError::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        ImportError::Failed(_) => {
            tracing::error!(%error, "a room cannot be imported");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    problem(status, &error.to_string()).into()
}
