//! The tails of all nodes in one: each other node that lives is followed over its link, and its lines get its number. It
//! knows no room and no line but its form.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::elsewhere::asking;
use super::request::AdminRequest;
use crate::clock;
use crate::cluster::Node;
use crate::cluster::link::AnyBody;
use crate::cluster::members::Row;
use crate::cluster::ownership::NodeId;

/// Pieces of other nodes that wait for the reader. While they do, those nodes keep their lines, and drop them in the end.
const WAITING: usize = 16;

/// The longest line of another node, in bytes. A log line has some kilobytes.
const LINE_BYTES: usize = 1 << 20;

/// The pause before a node whose tail has ended is followed again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A line that only shows that a server is there.
const ALIVE: &[u8] = b"{\"type\":\"alive\"}";

/// Follows the other nodes of the cluster, also those that start later, until the receiver is dropped. The pieces are
/// whole lines.
pub(super) fn follow_others(node: Arc<Node>, request: &AdminRequest) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let ask = {
        let (head, uri) =
            (asking(request, &Method::GET, &request.uri, Bytes::new()).into_parts().0, request.uri.clone());
        move || {
            let mut again = hyper::Request::new(Box::pin(http_body_util::Empty::new()) as AnyBody);
            *again.uri_mut() = uri.parse().unwrap_or_default();
            *again.headers_mut() = head.headers.clone();
            again
        }
    };
    tokio::spawn(async move {
        let mut changes = node.changes();
        let (mut readers, mut followed) = (JoinSet::new(), HashMap::new());
        loop {
            changes.borrow_and_update();
            let living = node.others();
            followed.retain(|id, _| living.iter().any(|row| row.node == *id));
            for row in living {
                followed.entry(row.node).or_insert_with(|| {
                    readers.spawn(follow(node.clone(), row.clone(), ask.clone(), sender.clone()));
                });
            }
            tokio::select! {
                // Dropping the readers ends their requests.
                () = sender.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    });
    receiver
}

/// Follows one node as long as it lives.
async fn follow(node: Arc<Node>, row: Row, ask: impl Fn() -> hyper::Request<AnyBody>, sender: mpsc::Sender<Bytes>) {
    let lives = |id: NodeId| node.others().iter().any(|row| row.node == id);
    while lives(row.node) {
        let why = match node.operate(row.node, ask()).await {
            Ok(answer) if answer.status().is_success() => pass(row.node, answer.into_body(), &sender).await,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else { return };
        let line = json!({ "type": "node", "node": row.node.0, "address": row.address, "notFollowed": why });
        if sender.send(format!("{line}\n").into()).await.is_err() {
            return;
        }
        clock::sleep(AGAIN_AFTER).await;
    }
}

/// Passes lines until they end, and says why. Absent if the receiver has gone.
async fn pass(node: NodeId, mut body: hyper::body::Incoming, sender: &mpsc::Sender<Bytes>) -> Option<String> {
    let mut read = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else {
            if read.len() > LINE_BYTES {
                return Some("a line is too long".into());
            }
            continue;
        };
        let piece = with_node(node.0, &read.split_to(end + 1));
        if !piece.is_empty() && sender.send(piece).await.is_err() {
            return None;
        }
    }
    Some("its tail has ended".into())
}

/// Lines with the number of their node as the first member.
pub(super) fn with_node(node: u64, lines: &[u8]) -> Bytes {
    let mut named = BytesMut::with_capacity(lines.len() + 64);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != ALIVE) {
        if let Some(rest) = line.strip_prefix(b"{") {
            named.put_slice(format!("{{\"node\":{node},").as_bytes());
            named.put_slice(rest);
            named.put_u8(b'\n');
        }
    }
    named.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_and_signs_of_life_are_left_out() {
        let lines = b"{\"type\":\"turn\"}\n{\"type\":\"alive\"}\n{\"type\":\"lost\",\"lines\":2}\n";
        let expected = "{\"node\":7,\"type\":\"turn\"}\n{\"node\":7,\"type\":\"lost\",\"lines\":2}\n";
        assert_eq!(with_node(7, lines), expected);
        assert!(with_node(7, b"{\"type\":\"alive\"}\n").is_empty());
    }
}
