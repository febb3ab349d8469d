//! Whether the address that this node tells the others leads to it: it dials it, over TLS and with the greeting of links,
//! before it joins. Another process that answers there has another certificate authority, another store or another
//! number. The store runs the check when it knows the number of this node.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use std::{io, net};

use tokio::net::TcpListener;

use super::link::wire::{self, Down, Up};
use super::link::{
    Answers, Bounds, DialError, Greeting, Handler, Receiver, Refusal, Refusals, Sender, Tls, Why, dial, listen,
};
use super::ownership::NodeId;
use crate::clock;

/// How often an address is dialled that does not answer, and the pause between. A relay may start beside the node.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// The check of one address.
pub struct AddressCheck {
    /// Another handle to the listener of the node, which accepts nothing yet.
    listener: net::TcpListener,
    tls: Tls,
    address: String,
}

/// The reason why others would not reach this node. The operator must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongAddress {
    /// Nothing answers, or something else.
    #[error(
        "the other nodes would not reach this one: {0}. Give `--node-address` (`cluster.address`) an address that leads \
         to this server from every node, and from itself; to listen on another one, as behind a NAT, set `cluster.listen`"
    )]
    Unreachable(String),
    /// Another node has it.
    #[error("the address {address} belongs to {whose}; give each node an address of its own")]
    OfOther {
        /// The address.
        address: String,
        /// The other node.
        whose: String,
    },
}

impl AddressCheck {
    /// The check of `address`, which should lead to `listener`.
    pub fn new(listener: &TcpListener, tls: &Tls, address: String) -> io::Result<Self> {
        let listener = net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        Ok(AddressCheck { listener, tls: tls.clone(), address })
    }

    /// Dials the address, as the node with this number. Call it before the node accepts links.
    pub async fn run(&self, node: NodeId, store: &str) -> Result<(), WrongAddress> {
        let me = Greeting::new(store, node);
        let unusable = |error: io::Error| WrongAddress::Unreachable(error.to_string());
        let listener = TcpListener::from_std(self.listener.try_clone().map_err(unusable)?).map_err(unusable)?;
        let answers = Arc::new(NoLinks);
        let listening = listen(listener, self.tls.clone(), Bounds::default(), me.clone(), answers.clone(), answers);
        tokio::select! {
            checked = self.dial(&me, node) => checked,
            () = listening => Err(WrongAddress::Unreachable("it does not listen".into())),
        }
    }

    async fn dial(&self, me: &Greeting, node: NodeId) -> Result<(), WrongAddress> {
        let mut tried = 1;
        loop {
            let error = match dial(&self.tls, Bounds::default(), me, Some(node), &self.address).await {
                Ok((link, _)) => {
                    link.up.cut(Why::Closed);
                    return Ok(());
                }
                Err(error) => error,
            };
            let whose = match &error {
                DialError::Refused { refusal: Refusal::OtherNode(other), .. } => {
                    Some(format!("node {other}, which lives"))
                }
                DialError::Refused { refusal: Refusal::OtherStore(_), .. } => Some("a node of another database".into()),
                _ => None,
            };
            if let Some(whose) = whose {
                return Err(WrongAddress::OfOther { address: self.address.clone(), whose });
            }
            if tried == TRIES {
                return Err(WrongAddress::Unreachable(error.to_string()));
            }
            tried += 1;
            clock::sleep(PAUSE).await;
        }
    }
}

/// Greets, and does nothing else: no other node knows this one yet.
struct NoLinks;

impl Handler for NoLinks {
    fn linked(&self, _: Sender<Down>, _: Receiver<Up>) {}

    fn request(&self, _: NodeId, _: wire::Asked) -> Answers<wire::Answered> {
        Box::pin(async { Err(wire::NoAnswer::Elsewhere(None)) })
    }

    fn told(&self, _: NodeId, _: wire::Told) -> Answers<wire::Taken> {
        Box::pin(async { Err("it is starting".into()) })
    }
}

impl Refusals for NoLinks {
    fn refused(&self, from: String, reason: String) {
        tracing::debug!(from, reason, "a connection was refused while the address of this node was checked");
    }
}
