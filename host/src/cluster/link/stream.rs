//! The two halves of one end of a link: messages out, messages in. It knows no connection: the end that opened it
//! watches for the cut and closes it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::queue::{Pushed, Queue};
use super::wire;
use crate::clock;
use crate::cluster::ownership::NodeId;

/// The link has ended; what was sent may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link has ended")]
pub struct Cut;

/// Why a link has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The peer has closed it, or the connection is lost.
    #[error("the connection ended")]
    Ended,
    /// The peer did not read.
    #[error("it does not read what is sent")]
    TooSlow,
    /// The peer sent something that is not a message.
    #[error("it sent something that cannot be read")]
    Malformed,
    /// This end has closed it.
    #[error("this node closed it")]
    Closed,
}

/// Sends messages of the type `M`. Cheap to clone.
pub struct Sender<M> {
    peer: NodeId,
    queue: Arc<Queue>,
    end: watch::Sender<Option<Why>>,
    /// 0 before the greeting.
    version: Arc<AtomicU32>,
    sends: PhantomData<fn(M)>,
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        let Sender { peer, queue, end, version, .. } = self;
        Sender { peer: *peer, queue: queue.clone(), end: end.clone(), version: version.clone(), sends: PhantomData }
    }
}

impl<M: Serialize> Sender<M> {
    pub(super) fn new(peer: NodeId, queue: Arc<Queue>) -> Self {
        let (end, version) = (watch::Sender::new(None), Arc::default());
        Sender { peer, queue, end, version, sends: PhantomData }
    }

    /// The greeting has found the version that both ends speak.
    pub(super) fn set_version(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// The node at the other end.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Queues a message. It does not wait. If too much waits already, the link is cut.
    ///
    /// Fails: if the link has ended.
    pub fn send(&self, message: &M) -> Result<(), Cut> {
        match self.queue.push(wire::framed(message)) {
            Pushed::Yes => Ok(()),
            Pushed::Ended => Err(Cut),
            Pushed::TooMuch => {
                self.cut(Why::TooSlow);
                Err(Cut)
            }
        }
    }
}

impl<M> Sender<M> {
    /// The version that both ends speak.
    pub fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Whether so much waits that clients should be paused.
    pub fn is_busy(&self) -> bool {
        self.queue.is_busy()
    }

    /// Waits until it is no longer busy, or the link has ended.
    pub async fn freed(&self) {
        self.queue.freed().await;
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Ends the link. The first reason stays.
    pub fn cut(&self, why: Why) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(why);
            is_first
        });
        self.queue.end();
    }

    /// Whether the link has ended, and why.
    pub fn ended(&self) -> Option<Why> {
        self.end.borrow().clone()
    }

    /// Waits until the link has ended.
    pub async fn until_ended(&self) -> Why {
        let mut end = self.end.subscribe();
        let why = end.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or(Why::Ended)
    }

    /// Cuts the link when its peer does not read. It returns when the link has ended.
    pub(super) async fn watch(&self) {
        loop {
            tokio::select! {
                _ = self.until_ended() => return,
                () = clock::sleep(self.queue.check_every()) => {
                    if self.queue.is_stuck() {
                        self.cut(Why::TooSlow);
                    }
                }
            }
        }
    }
}

/// Receives messages of the type `M`.
pub struct Receiver<M> {
    body: Incoming,
    buffer: BytesMut,
    max_bytes: usize,
    /// Cuts the other direction when this one ends.
    cut: Box<dyn Fn(Why) + Send + Sync>,
    receives: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned> Receiver<M> {
    pub(super) fn new(body: Incoming, max_bytes: usize) -> Self {
        Receiver { body, buffer: BytesMut::new(), max_bytes, cut: Box::new(|_| {}), receives: PhantomData }
    }

    /// The two directions of a link end together.
    pub(super) fn paired_with<S: Serialize + 'static>(mut self, sender: &Sender<S>) -> Self {
        let sender = sender.clone();
        self.cut = Box::new(move |why| sender.cut(why));
        self
    }

    /// The next message. While it is not called, the peer is slowed down.
    ///
    /// Fails: when the link has ended, with the reason. Then this end sends nothing more, too.
    pub async fn next(&mut self) -> Result<M, Why> {
        let next = self.next_of().await;
        if let Err(why) = &next {
            (self.cut)(why.clone());
        }
        next
    }

    /// The next message, of a type that only the first one has.
    pub(super) async fn next_of<T: DeserializeOwned>(&mut self) -> Result<T, Why> {
        loop {
            if let Some(message) = self.take()? {
                return postcard::from_bytes(&message).map_err(|_| Why::Malformed);
            }
            let frame = self.body.frame().await.ok_or(Why::Ended)?.map_err(|_| Why::Ended)?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// A message that is here as a whole.
    fn take(&mut self) -> Result<Option<Bytes>, Why> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.max_bytes {
            return Err(Why::Malformed);
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
