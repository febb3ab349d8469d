//! Requests of an operator that other nodes of a cluster answer: those about a room that runs elsewhere go to its owner,
//! and those about everything go to all nodes. A node takes such a request over a link, and answers it for itself alone.
//!
//! It knows no room and no answer. `routes` asks it first, and `rooms_everywhere`, `users`, `nodes` and `tail` put the
//! answers of all nodes together.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::Admin;
use super::outcome::Outcome;
use super::request::{AdminRequest, OPERATOR};
use crate::clock;
use crate::cluster::Node;
use crate::cluster::link::AnyBody;
use crate::cluster::members::Row;
use crate::cluster::ownership::NodeId;
use crate::edge::response::body::Body;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::limits::{ADMIN_NODE_ANSWER, ADMIN_NODE_ANSWER_BYTES};
use crate::model::Address;

/// The header that names the address of the operator to the node that answers.
const FROM: HeaderName = HeaderName::from_static("dormouse-operator-from");

/// The paths about one room that its owner answers, and the action that the audit log of both nodes names.
const OF_ONE_ROOM: &[(&str, &str, Option<&str>)] = &[
    ("/rooms/{namespace}/{name}", "GET", None),
    ("/rooms/{namespace}/{name}", "DELETE", Some("delete a room")),
    ("/rooms/{namespace}/{name}/broadcast", "POST", Some("broadcast to a room")),
    ("/rooms/{namespace}/{name}/close", "POST", Some("close a room")),
    (IMPORT, "POST", Some("import")),
    ("/rooms/{namespace}/{name}/sleep", "POST", Some("put a room to sleep")),
];

/// Its body may take as long as its sender needs.
const IMPORT: &str = "/rooms/{namespace}/{name}/import";

/// The way of a request.
pub(super) enum Passed {
    /// Another node has answered it.
    Answered(Response<Body>),
    /// It is answered here.
    Here(Box<AdminRequest>),
}

/// The answer of a node to a question for all of them.
pub(super) struct OfNode {
    pub(super) row: Row,
    /// The error is for the operator.
    pub(super) answer: Result<Value, String>,
}

impl Admin {
    /// The cluster, if this request is to be answered for all of its nodes.
    pub(super) fn cluster(&self, request: &AdminRequest) -> Option<&Arc<Node>> {
        self.edge.node.get().filter(|_| request.via.is_none())
    }

    /// The number of this node; absent without a cluster.
    pub(super) fn number(&self) -> Option<u64> {
        self.edge.node.get().map(|node| node.number())
    }

    /// Passes a request about a room that another node runs to that node.
    pub(super) async fn pass_on(
        &self,
        path: &str,
        method: &str,
        parameters: &[String],
        request: AdminRequest,
    ) -> Result<Passed, Refusal> {
        let route = OF_ONE_ROOM.iter().find(|(of, with, _)| (*of, *with) == (path, method));
        let (Some(node), Some((.., action)), [namespace, name]) = (self.edge.node.get(), route, parameters) else {
            return Ok(Passed::Here(request.into()));
        };
        let room = self.room(namespace, name)?;
        let owner = match node.owner_of(&room).await {
            Ok(owner) => owner.filter(|owner| owner.node.0 != node.number()),
            // A room that is in memory here most likely runs here.
            Err(_) if self.edge.rooms.is_in_memory(&room) => None,
            Err(error) => {
                let detail = format!("it is not known now which node runs the room, so nothing was done: {error}");
                return Err(overloaded(&detail).into());
            }
        };
        let Some(owner) = owner else { return Ok(Passed::Here(request.into())) };
        if request.via.is_some() {
            let detail =
                format!("{room} is at {} now, and was not a moment ago; nothing was done, try again", named(&owner));
            return Err(overloaded(&detail).into());
        }
        if let Some(action) = action {
            let detail = json!({ "node": owner.node.0, "address": owner.address });
            self.audit.record(&request, action, &format!("room {room}"), Some(detail)).await?;
        }
        let asked = self.ask_owner(node, &owner, &room, request);
        if path == IMPORT {
            return asked.await.map(Passed::Answered);
        }
        let most = self.edge.limits.answer_timeout.saturating_add(ADMIN_NODE_ANSWER);
        match clock::timeout(most, asked).await {
            Ok(answered) => answered.map(Passed::Answered),
            Err(_) => Err(no_answer(&owner, &room, "it did not answer in time; look before you try again")),
        }
    }

    async fn ask_owner(
        &self,
        node: &Node,
        owner: &Row,
        room: &Address,
        request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        let passed = node.operate(owner.node, passed(request)).await;
        let (parts, body) = passed.map_err(|error| no_answer(owner, room, &error.to_string()))?.into_parts();
        if !parts.headers.contains_key(header::CONTENT_TYPE) && !parts.status.is_success() {
            return Err(no_answer(owner, room, "it cannot answer for another node now; ask it itself"));
        }
        let body = Limited::new(body, ADMIN_NODE_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| no_answer(owner, room, "its answer broke off; look before you try again"))?;
        let mut response = Response::new(Body::whole(body.to_bytes()));
        *response.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, header::RETRY_AFTER, header::ALLOW] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok(response)
    }

    /// Asks all other nodes that live the same, and returns their answers in JSON.
    pub(super) async fn ask_all(
        &self,
        node: &Node,
        request: &AdminRequest,
        method: &Method,
        uri: &str,
        body: &Bytes,
    ) -> Vec<OfNode> {
        let ask = |row: Row| async {
            let asked = async {
                let asking = asking(request, method, uri, body.clone());
                let answer = node.operate(row.node, asking).await.map_err(|error| error.to_string())?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), ADMIN_NODE_ANSWER_BYTES).collect().await;
                let body = body.map_err(|_| "its answer broke off".to_owned())?.to_bytes();
                let json = serde_json::from_slice::<Value>(&body).unwrap_or_default();
                match (status.is_success(), json["detail"].as_str()) {
                    (true, _) => Ok(json),
                    (false, Some(detail)) => Err(detail.to_owned()),
                    (false, None) => Err(format!("it answered {status}")),
                }
            };
            let answer = clock::timeout(ADMIN_NODE_ANSWER, asked).await;
            OfNode { row, answer: answer.unwrap_or_else(|_| Err("it did not answer in time".into())) }
        };
        join_all(node.others().into_iter().map(ask)).await
    }

    /// Answers what other nodes pass on, as long as the host lives.
    pub(crate) fn serve_nodes(self: &Arc<Self>, node: &Node) {
        let admin = Arc::downgrade(self);
        node.set_operator(move |from, request| {
            let admin = admin.upgrade();
            Box::pin(async move {
                match admin {
                    Some(admin) => admin.answer_node(from, request).await,
                    None => overloaded("the server ends").map(|body| Box::pin(body) as AnyBody),
                }
            })
        });
    }

    /// Answers a request that another node has passed on, for this node alone. The link has shown who asks.
    async fn answer_node(self: Arc<Self>, from: NodeId, request: Request<Incoming>) -> Response<AnyBody> {
        let address = request.headers().get(FROM).and_then(|from| from.to_str().ok()?.parse().ok());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let answer = match AdminRequest::new(request, address, self.edge.limits.body_timeout) {
            Ok(mut request) => {
                request.via = Some(from.0);
                let (audit, recorded) = (self.audit.clone(), request.recorded.clone());
                let answer = self.route(request).await.unwrap_or_else(Refusal::into_response);
                audit.finish(&recorded, Outcome::of(answer.status())).await;
                answer
            }
            Err(refusal) => refusal.into_response(),
        };
        answer.map(|body| Box::pin(body) as AnyBody)
    }
}

/// A node as the operator knows it.
pub(super) fn named(row: &Row) -> String {
    format!("node {} ({})", row.node.0, row.address)
}

/// The addresses of nodes that did not answer, which are logged.
pub(super) fn missing(answers: &[OfNode]) -> Vec<String> {
    let missing = answers.iter().filter_map(|OfNode { row, answer }| Some((row, answer.as_ref().err()?)));
    missing
        .map(|(row, problem)| {
            tracing::warn!(node = row.node.0, address = row.address, problem, "a node did not answer the operator");
            row.address.clone()
        })
        .collect()
}

fn no_answer(owner: &Row, room: &Address, problem: &str) -> Refusal {
    overloaded(&format!("{room} is at {}: {problem}", named(owner))).into()
}

/// A request as it is passed on, with its body.
fn passed(request: AdminRequest) -> Request<AnyBody> {
    let mut passed = asking(&request, &request.method, &request.uri, Bytes::new());
    *passed.body_mut() = Box::pin(PassedBody(request.body));
    passed
}

/// A question to a node in the name of the sender of a request.
pub(super) fn asking(request: &AdminRequest, method: &Method, uri: &str, body: Bytes) -> Request<AnyBody> {
    let mut asking = Request::new(Box::pin(Full::new(body)) as AnyBody);
    *asking.method_mut() = method.clone();
    *asking.uri_mut() = uri.parse().unwrap_or_default();
    let headers = asking.headers_mut();
    if let Some(operator) = request.operator().and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()) {
        headers.insert(OPERATOR, operator);
    }
    if let Ok(from) = HeaderValue::try_from(request.from.to_string()) {
        headers.insert(FROM, from);
    }
    asking
}

/// A path with a query, of parameters that are present.
pub(super) fn uri(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("{path}?{}", query.finish())
}

/// The body of an operator's request on its way to another node. One that breaks off ends early: formats of bodies have an
/// end of their own.
struct PassedBody(Incoming);

impl HttpBody for PassedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(context).map(|frame| frame?.ok().map(Ok))
    }
}
