//! What stands behind a guest's imports during a turn: what its room lent it, and what the turn has changed so far.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::bail;
use wasmtime_wasi_http::WasiHttpCtx;

use super::bindings::room::dormouse::room::context::WakeReason;
use super::instance::Moment;
use super::limits::{Meter, OUTPUT_BYTES};
use super::lines::Lines;
use super::outside::{Calls, Outside, Reach};
use super::wasi::Wasi;
use super::watch::{Epochs, Watch};
use crate::config::Limits;
use crate::model::{
    Address, Answer, Destination, Output, Request, Socket, SocketChange, SocketKey, Sockets, Storage, Timer, Timers,
    Turn, Writes,
};

/// A guest's handle holds its socket's key and nothing else.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum SocketHandle {}

/// What a room lends its instance for the time of one turn.
pub struct Lent {
    /// The room.
    pub address: Address,
    /// A random number for this history of its storage.
    pub incarnation: u64,
    /// Configuration values of its namespace.
    pub config: Arc<BTreeMap<String, String>>,
    /// Its sockets.
    pub sockets: Sockets,
    /// Its timers.
    pub timers: Timers,
    /// Its storage, with all earlier turns' writes.
    pub storage: Arc<dyn Storage>,
    /// The longest message it may send, in bytes.
    pub message_out_bytes: usize,
    /// Its way out; absent for a room that has none.
    pub outside: Option<Arc<dyn Outside>>,
    /// The number of the commit that all earlier turns are durable with: before it is, nothing leaves the room.
    pub commits_before: u64,
    /// How many of its posts wait to be taken.
    pub posts_waiting: usize,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({})", self.address)
    }
}

/// The data of one instance's store.
pub(super) struct Host {
    pub(super) limits: Arc<Limits>,
    pub(super) meter: Meter,
    pub(super) moment: Moment,
    /// Present while a turn of a room runs; a router has none.
    pub(super) lent: Option<Box<Lent>>,
    /// Configuration values of a router, to which nothing is lent.
    pub(super) config: Arc<BTreeMap<String, String>>,
    pub(super) changes: Changes,
    pub(super) woken_by: WakeReason,
    rng: Option<StdRng>,
    /// How much it may log, of whatever turn.
    pub(super) lines: Arc<Lines>,
    log_lines: u32,
    pub(super) wasi: Option<Box<Wasi>>,
    /// Present once the room has used `wasi:http`.
    pub(super) http: Option<WasiHttpCtx>,
    pub(super) reach: Reach,
}

/// What a turn has changed so far.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) writes: Writes,
    pub(super) write_bytes: usize,
    pub(super) timers: BTreeMap<String, Option<Timer>>,
    /// How many more of them are set than before.
    pub(super) timers_more: isize,
    /// How the sockets it changed were before, in the order of the changes.
    pub(super) sockets_before: Vec<(SocketKey, SocketChange)>,
    pub(super) posts: Vec<(Destination, Request)>,
    pub(super) outputs: Vec<Output>,
    pub(super) output_bytes: usize,
}

impl Host {
    pub(super) fn new(limits: Arc<Limits>, epochs: &Epochs, lines: Arc<Lines>) -> Self {
        Host {
            meter: Meter::new(&limits, Watch::new(epochs.clone())),
            reach: Reach::nowhere(limits.clone(), lines.clone()),
            limits,
            moment: Moment::default(),
            lent: None,
            config: Arc::default(),
            changes: Changes::default(),
            woken_by: WakeReason::Request,
            rng: None,
            lines,
            log_lines: 0,
            wasi: None,
            http: None,
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, moment: Moment, lent: Option<Box<Lent>>) {
        self.meter.restart();
        self.moment = moment;
        self.reach.calls = Calls::default();
        self.reach.outside = lent.as_ref().and_then(|lent| lent.outside.clone());
        self.reach.after = lent.as_ref().map_or(0, |lent| lent.commits_before);
        self.lent = lent;
        self.rng = None;
        self.log_lines = 0;
        if let Some(wasi) = &mut self.wasi {
            wasi.begin(&self.moment);
        }
    }

    /// A turn is over: what was lent, and what has changed.
    pub(super) fn end(&mut self) -> (Option<Box<Lent>>, Changes) {
        self.lines.report_dropped();
        // What it holds for the turn, such as the permission to wait, is given back.
        self.reach.outside = None;
        (self.lent.take(), std::mem::take(&mut self.changes))
    }

    /// As [`end`](Self::end), for a turn that failed: what was lent is as it was.
    pub(super) fn undo(&mut self) -> Option<Box<Lent>> {
        let (mut lent, changes) = self.end();
        if let Some(lent) = &mut lent {
            restore(&mut lent.sockets, changes.sockets_before);
        }
        lent
    }

    /// What the room lent; a trap in a component that is no room.
    pub(super) fn lent(&mut self) -> wasmtime::Result<&mut Lent> {
        match &mut self.lent {
            Some(lent) => Ok(lent),
            None => bail!("only a room, during an event, has sockets, storage and timers"),
        }
    }

    /// A socket that the guest has a handle to; a trap for one whose `close` event is over.
    pub(super) fn socket(&mut self, key: SocketKey) -> wasmtime::Result<&Socket> {
        match self.lent()?.sockets.get(key) {
            Some(socket) => Ok(socket),
            None => bail!("a socket was asked about after its client had gone"),
        }
    }

    /// Count what a turn says; a trap above the limit, which protects the host's memory.
    pub(super) fn count_output(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.changes.output_bytes += bytes + OUTPUT_BYTES;
        if self.changes.output_bytes > self.limits.turn_output_bytes {
            bail!("the turn said more than {} B", self.limits.turn_output_bytes);
        }
        Ok(())
    }

    /// The turn's randomness: the same seed gives the same numbers.
    pub(super) fn rng(&mut self) -> &mut StdRng {
        self.rng.get_or_insert_with(|| StdRng::from_seed(self.moment.seed))
    }

    pub(super) fn wasi(&mut self) -> &mut Wasi {
        self.wasi
            .get_or_insert_with(|| Box::new(Wasi::new(&self.moment, self.limits.turn_log_lines, self.lines.clone())))
    }

    /// What the guest last wrote to its standard error.
    pub(super) fn last_words(&self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.last_words()).unwrap_or_default()
    }

    /// Whether this turn may log one more line.
    pub(super) fn may_log(&mut self) -> bool {
        self.log_lines = self.log_lines.saturating_add(1);
        self.lines.take_of_turn(self.log_lines, self.limits.turn_log_lines)
    }
}

/// Undo a turn's changes to tags and attachments, the last one first.
fn restore(sockets: &mut Sockets, before: Vec<(SocketKey, SocketChange)>) {
    for (key, change) in before.into_iter().rev() {
        match change {
            SocketChange::Tags(tags) => sockets.set_tags(key, tags),
            SocketChange::Attachment(attachment) => sockets.set_attachment(key, attachment),
        }
    }
}

impl Changes {
    pub(super) fn into_turn(self, answer: Answer) -> Turn {
        Turn {
            writes: self.writes,
            timers: self.timers,
            posts: self.posts,
            sockets_before: self.sockets_before,
            outputs: self.outputs,
            answer,
        }
    }
}

impl Turn {
    /// A turn of which nothing is kept but the answer.
    pub(super) fn refused(answer: Answer) -> Self {
        Changes::default().into_turn(answer)
    }

    /// The turn succeeded but cannot be committed: its changes to tags and attachments are undone.
    pub fn undo(self, sockets: &mut Sockets) {
        restore(sockets, self.sockets_before);
    }
}
