//! The data behind the imports of a guest during a turn: the resources that the room has lent, and the changes of the
//! turn.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::{Trap, bail};
use wasmtime_wasi_http::WasiHttpCtx;

use super::bindings::room::dormouse::room::context::WakeReason;
use super::epochs::Epochs;
use super::failure::TurnFailure;
use super::grants::RouterGrants;
use super::log_context::{LogContext, LogUser};
use super::log_limiter::{LogLimiter, one_line};
use super::meter::{Exceeded, Meter};
use super::moment::Moment;
use super::outbound::{CallBudget, CallsMade, Outbound};
use super::stopwatch::CpuStopwatch;
use super::wasi::Wasi;
use crate::config::Limits;
use crate::limits;
use crate::model::{Address, Response, Socket, SocketKey, Sockets, Storage, Timers, Turn, UserAccess};

/// The resources that a room lends to its instance for one turn.
pub struct TurnResources {
    /// The address of the room.
    pub address: Address,
    /// A random number for this history of its storage.
    pub incarnation: u64,
    /// Configuration values of its namespace.
    pub config: Arc<BTreeMap<String, String>>,
    /// Its sockets.
    pub sockets: Sockets,
    /// Its timers.
    pub timers: Timers,
    /// Its storage, including the writes of all earlier turns.
    pub storage: Arc<dyn Storage>,
    /// The longest message it may send, in bytes.
    pub message_out_bytes: usize,
    /// Its outbound interface; absent if it has none.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// The position of the commit or proof that confirms all earlier turns. Nothing leaves the room before that.
    pub confirmed_by: u64,
    /// How many of its posts are not accepted yet.
    pub posts_waiting: usize,
    /// The number of the turn in this room, for the log.
    pub turn: u64,
    /// The id of the user whose request the turn answers, for the log. The table of sockets has that of a socket.
    pub requested_by: Option<Arc<str>>,
}

impl fmt::Debug for TurnResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnResources({})", self.address)
    }
}

/// The data of the wasmtime store of an instance.
pub(super) struct StoreData {
    pub(super) limits: Arc<Limits>,
    pub(super) meter: Meter,
    pub(super) moment: Moment,
    /// Present during a turn of a room. A router never has it.
    pub(super) resources: Option<Box<TurnResources>>,
    /// Configuration values of a router, which gets no lent resources.
    pub(super) config: Arc<BTreeMap<String, String>>,
    /// The effects of the turn so far.
    pub(super) turn: Turn,
    pub(super) usage: Usage,
    pub(super) woken_by: WakeReason,
    pub(super) turn_user: TurnUser,
    /// The guest may change nothing now: it is asked for the data of a user.
    read_only: bool,
    /// A client asks to connect, so the guest may answer its request.
    pub(super) is_connecting: bool,
    /// The answer to that client in place of a socket.
    pub(super) connect_answer: Option<Response>,
    rng: Option<StdRng>,
    /// The log limit of the room, over all turns.
    pub(super) log_limiter: Arc<LogLimiter>,
    log_lines: u32,
    pub(super) wasi: Option<Box<Wasi>>,
    /// Present once the room has used `wasi:http`.
    pub(super) http: Option<WasiHttpCtx>,
    pub(super) call_budget: CallBudget,
}

/// The user whom the event of the turn is about.
pub(super) enum TurnUser {
    /// A timer's turn.
    Nobody,
    /// The user of a socket, which the table of the room knows.
    OfSocket(SocketKey),
    /// The user of a request, or the room that sent it.
    OfRequest(UserAccess),
    /// The user of a request that has no room yet. Only the claims count.
    OfRouted(UserAccess, Option<Arc<dyn RouterGrants>>),
}

/// Sums over the turn so far, for its limits.
#[derive(Default)]
pub(super) struct Usage {
    /// Bytes of writes, removals and posts.
    pub(super) write_bytes: usize,
    /// Bytes of outputs, and of old tags and attachments.
    pub(super) output_bytes: usize,
    /// The change of the number of timers.
    pub(super) timers_more: isize,
}

impl StoreData {
    pub(super) fn new(limits: Arc<Limits>, epochs: &Epochs, log_limiter: Arc<LogLimiter>) -> Self {
        StoreData {
            meter: Meter::new(&limits, CpuStopwatch::new(epochs.clone())),
            call_budget: CallBudget::new(limits.clone(), log_limiter.clone()),
            limits,
            moment: Moment::default(),
            resources: None,
            config: Arc::default(),
            turn: Turn::default(),
            usage: Usage::default(),
            woken_by: WakeReason::Request,
            turn_user: TurnUser::Nobody,
            read_only: false,
            is_connecting: false,
            connect_answer: None,
            rng: None,
            log_limiter,
            log_lines: 0,
            wasi: None,
            http: None,
        }
    }

    /// The current turn, for the log. It costs a look into the table of sockets.
    pub(super) fn log_context(&self) -> LogContext {
        let Some(resources) = &self.resources else { return LogContext::default() };
        let user = match &self.turn_user {
            TurnUser::OfSocket(key) => resources.sockets.get(*key).map(|socket| LogUser::OfSocket(socket.user.clone())),
            TurnUser::OfRequest(_) => resources.requested_by.clone().map(LogUser::OfRequest),
            TurnUser::Nobody | TurnUser::OfRouted(..) => None,
        };
        LogContext::new(resources.turn, user)
    }

    /// Begins a turn. `turn_user` is set.
    pub(super) fn begin(&mut self, moment: Moment, resources: Option<Box<TurnResources>>) {
        self.meter.restart();
        self.moment = moment;
        self.call_budget.calls = CallsMade::default();
        self.call_budget.outbound = resources.as_ref().and_then(|resources| resources.outbound.clone());
        self.call_budget.after = resources.as_ref().map_or(0, |resources| resources.confirmed_by);
        self.read_only = false;
        self.is_connecting = false;
        self.connect_answer = None;
        self.resources = resources;
        self.rng = None;
        self.log_lines = 0;
        let log_context = self.wasi.is_some().then(|| self.log_context());
        if let (Some(wasi), Some(log_context)) = (&mut self.wasi, log_context) {
            wasi.begin(&self.moment, log_context);
        }
    }

    /// Ends a turn: returns the lent resources, and the turn without its answer.
    pub(super) fn end(&mut self) -> (Option<Box<TurnResources>>, Turn) {
        self.log_limiter.report_dropped();
        // Gives back resources of the turn, such as its permit to wait.
        self.call_budget.outbound = None;
        self.usage = Usage::default();
        self.turn_user = TurnUser::Nobody;
        (self.resources.take(), std::mem::take(&mut self.turn))
    }

    /// Like [`end`](Self::end), but for a failed turn: restores the lent resources.
    pub(super) fn undo(&mut self) -> Option<Box<TurnResources>> {
        let (mut resources, turn) = self.end();
        if let Some(resources) = &mut resources {
            turn.undo(&mut resources.sockets);
        }
        resources
    }

    /// The lent resources. Traps in a component that is not a room.
    pub(super) fn resources(&mut self) -> wasmtime::Result<&mut TurnResources> {
        match &mut self.resources {
            Some(resources) => Ok(resources),
            None => bail!("sockets, storage and timers exist only in a room, during an event"),
        }
    }

    /// The socket of a handle. Traps if its `close` event is over.
    pub(super) fn socket(&mut self, key: SocketKey) -> wasmtime::Result<&Socket> {
        match self.resources()?.sockets.get(key) {
            Some(socket) => Ok(socket),
            None => bail!("a handle of a socket was used after its client had left"),
        }
    }

    /// Allows the guest to write and to send, as it may unless this forbids it. Without it, calls and posts are denied
    /// to the end of the turn.
    pub(super) fn allow_changes(&mut self, allowed: bool) {
        self.read_only = !allowed;
        if !allowed {
            self.deny_outbound();
        }
    }

    /// Denies calls and posts to the end of the turn.
    pub(super) fn deny_outbound(&mut self) {
        self.call_budget.outbound = None;
    }

    /// Traps if the guest may change nothing now.
    pub(super) fn check_may_change(&self) -> wasmtime::Result<()> {
        if self.read_only {
            bail!("export-user may only read, and it tried to write or to send");
        }
        Ok(())
    }

    /// Counts an output. Traps above the limit, which protects host memory.
    pub(super) fn count_output(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.check_may_change()?;
        self.usage.output_bytes += bytes + limits::OUTPUT_BYTES;
        if self.usage.output_bytes > self.limits.turn_output_bytes {
            bail!("the turn sent more than {} B", self.limits.turn_output_bytes);
        }
        Ok(())
    }

    /// The random numbers of the turn: the same seed gives the same numbers.
    pub(super) fn rng(&mut self) -> &mut StdRng {
        self.rng.get_or_insert_with(|| StdRng::from_seed(self.moment.seed))
    }

    pub(super) fn wasi(&mut self) -> &mut Wasi {
        if self.wasi.is_none() {
            let (max_lines, context) = (self.limits.turn_log_lines, self.log_context());
            self.wasi = Some(Box::new(Wasi::new(&self.moment, max_lines, self.log_limiter.clone(), context)));
        }
        self.wasi.as_mut().expect("made above if it was missing")
    }

    /// The last output of the guest to standard error.
    pub(super) fn last_output(&self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.last_output()).unwrap_or_default()
    }

    /// Whether this turn may log one more line.
    pub(super) fn may_log(&mut self) -> bool {
        self.log_lines = self.log_lines.saturating_add(1);
        self.log_limiter.take_of_turn(self.log_lines, self.limits.turn_log_lines)
    }
}

impl StoreData {
    /// The failure of a turn whose guest trapped.
    pub(super) fn trapped(&self, error: &wasmtime::Error) -> TurnFailure {
        match self.meter.exceeded {
            Some(Exceeded::Cpu) => TurnFailure::Cpu { limit: self.limits.turn_cpu },
            Some(Exceeded::Memory) => TurnFailure::Memory { limit_bytes: self.limits.memory_bytes },
            Some(Exceeded::Table) => TurnFailure::Tables { limit: self.limits.table_elements },
            None => TurnFailure::Trap { cause: one_line(&error.root_cause().to_string()), output: self.last_output() },
        }
    }

    /// The failure to make an instance: because of the code of the component, or because the host had no resources.
    pub(super) fn not_instantiated(&self, error: &wasmtime::Error) -> TurnFailure {
        if self.meter.exceeded.is_some() || error.is::<Trap>() {
            self.trapped(error)
        } else {
            TurnFailure::Instantiate(format!("{error:#}"))
        }
    }
}
