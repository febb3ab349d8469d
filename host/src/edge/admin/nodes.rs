//! `/nodes`: the nodes of the cluster, as this one sees them, with what each says of itself.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, Response};
use serde_json::{Value, json};

use super::Admin;
use super::elsewhere::OfNode;
use super::request::AdminRequest;
use crate::clock;
use crate::cluster::members::Seen;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::refusals::Refusal;

impl Admin {
    /// `GET /nodes`: none without a cluster.
    pub(super) async fn nodes(self: &Arc<Self>, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let Some(node) = self.edge.node.get() else { return Ok(json_response(&json!({ "nodes": [] }))) };
        let me = self.about_itself();
        if request.via.is_some() {
            return Ok(json_response(&json!({ "nodes": [me] })));
        }
        let answers = self.ask_all(node, &request, &Method::GET, "/nodes", &Bytes::new()).await;
        let reading = node.reading();
        let read_ago = reading.read_at.map_or(0, |at| u64::try_from(clock::since(at).as_millis()).unwrap_or(u64::MAX));
        let row = |seen: &Seen| {
            let number = seen.row.node.0;
            let answer = answers.iter().find(|of| of.row.node == seen.row.node).map(|OfNode { answer, .. }| answer);
            let (itself, problem) = match answer {
                _ if number == node.number() => (Some(&me), None),
                Some(Ok(answer)) => (answer["nodes"].get(0), None),
                Some(Err(problem)) => (None, Some(problem)),
                None => (None, None),
            };
            let state = match (seen.lives, seen.row.is_leaving, problem) {
                (false, ..) => "dead",
                (true, true, _) => "leaving",
                (true, false, Some(_)) => "unreachable",
                (true, false, None) => "lives",
            };
            let of = |name: &str| itself.map(|itself| itself[name].clone()).unwrap_or_default();
            json!({
                "node": number,
                "address": seen.row.address,
                "here": number == node.number(),
                "state": state,
                "problem": problem,
                "beatAgoMs": reading.at.saturating_sub(seen.beat_at).saturating_add(read_ago),
                "since": of("since"),
                "rooms": of("rooms"),
                "awakeRooms": of("awakeRooms"),
                "sockets": of("sockets"),
                "version": of("version"),
            })
        };
        Ok(json_response(&json!({ "nodes": reading.nodes.iter().map(row).collect::<Vec<_>>() })))
    }

    /// The numbers of this node.
    fn about_itself(&self) -> Value {
        let now = self.sample();
        let running = u64::try_from(clock::since(self.began).as_millis()).unwrap_or(u64::MAX);
        json!({
            "since": clock::unix_millis().saturating_sub(running),
            "rooms": now.rooms,
            "awakeRooms": now.awake,
            "sockets": now.sockets,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}
