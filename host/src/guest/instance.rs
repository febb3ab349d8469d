//! One instance of a room, and one event run through it. It does not know where the room's data comes from: `room`
//! lends it for each turn.

use std::future::Future;
use std::ops::Add;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::{self, Resource};

use super::bindings::room::ConnectedRoomComponent;
use super::bindings::room::dormouse::room::context::WakeReason;
use super::convert;
use super::epochs::Epochs;
use super::failure::TurnFailure;
use super::log_limiter::LogLimiter;
use super::migration::{self, Migration};
use super::moment::Moment;
use super::personal_data::{self, PersonalData};
use super::state::{StoreData, TurnResources, TurnUser};
use super::stopwatch::supervised;
use crate::config::Limits;
use crate::model::{Answer, Event, Turn};
use crate::panics::catch_panic;

/// Most handles of one guest: three times the sockets of the largest room.
const HANDLES: usize = 100_000;

/// Most bytes that a guest passes to the host in one call, beside the limits of the interfaces. It protects host
/// memory. The largest call that the interfaces allow, the writes of a turn with their keys, fits.
const HOSTCALL_BYTES: usize = 24 << 20;

/// An instance. Its memory is a cache of the state of its room, valid until a turn fails.
pub struct Instance {
    store: Store<StoreData>,
    room: ConnectedRoomComponent,
    /// All its exports, for those that not every room has.
    exports: component::Instance,
    personal_data: Option<PersonalData>,
    migration: Option<Migration>,
    awake: bool,
    limits: Arc<Limits>,
    /// Its place in the warm pool, if it has one. It must be dropped after the store, which returns the memory.
    _warm_slot: Option<OwnedSemaphorePermit>,
}

/// The result of a run.
pub struct RunResult {
    /// The lent resources. If the turn failed, they are unchanged.
    pub resources: Box<TurnResources>,
    /// The turn, or the reason why it failed.
    pub turn: Result<Turn, TurnFailure>,
    /// The cost of the turn, also if it failed.
    pub cost: TurnCost,
    /// Usable for the next event; absent if its memory may be ahead of the storage of the room.
    pub instance: Option<Box<Instance>>,
    /// Bytes of memory of the instance at the end of the turn.
    pub memory_bytes: usize,
}

/// The cost of a turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct TurnCost {
    /// Its CPU time. The first 10 ms count as they pass on the clock, so a busy machine counts more of them.
    pub cpu: Duration,
    /// Calls to other rooms and servers.
    pub calls: u32,
}

impl Add for TurnCost {
    type Output = TurnCost;

    fn add(self, other: TurnCost) -> TurnCost {
        TurnCost { cpu: self.cpu + other.cpu, calls: self.calls + other.calls }
    }
}

/// A running turn. Dropping it does not undo the turn, so it must be polled to its end.
pub(super) type Run = Pin<Box<dyn Future<Output = RunResult> + Send>>;

pub(super) fn new_store(
    engine: &wasmtime::Engine,
    limits: &Arc<Limits>,
    epochs: &Epochs,
    log_limiter: &Arc<LogLimiter>,
) -> Store<StoreData> {
    let mut store = Store::new(engine, StoreData::new(limits.clone(), epochs, log_limiter.clone()));
    store.limiter(|data| &mut data.meter);
    store.epoch_deadline_callback(|mut store| store.data_mut().meter.on_tick());
    store.set_epoch_deadline(2);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(HANDLES);
    store
}

impl Instance {
    pub(super) fn new(
        store: Store<StoreData>,
        room: ConnectedRoomComponent,
        exports: component::Instance,
        (personal_data, migration): (Option<PersonalData>, Option<Migration>),
        limits: Arc<Limits>,
        warm_slot: Option<OwnedSemaphorePermit>,
    ) -> Box<Self> {
        let awake = false;
        Box::new(Instance { store, room, exports, personal_data, migration, awake, limits, _warm_slot: warm_slot })
    }

    /// Runs one event.
    pub fn run(mut self: Box<Self>, resources: Box<TurnResources>, mut event: Event, moment: Moment) -> Run {
        Box::pin(async move {
            let outbound = resources.outbound.clone();
            let migrated_from = match &event {
                Event::Migrate(from) => *from,
                _ => None,
            };
            let data = self.store.data_mut();
            data.turn_user = turn_user(&mut event);
            data.begin(moment, Some(resources));
            // Two ticks: the next one may be near, and a turn of a few microseconds must not yield for it.
            self.store.set_epoch_deadline(2);
            let stopwatch = self.store.data().meter.stopwatch.clone();
            let max_call = self.limits.turn_calls_timeout;
            // The lent resources must come back in any case, because they include the sockets of the room.
            let outcome = {
                let call = pin!(self.call(event));
                catch_panic(pin!(supervised(stopwatch, max_call, outbound.as_deref(), call))).await
            };
            let data = self.store.data_mut();
            let memory_bytes = data.meter.memory_now();
            let cpu = data.meter.cpu();
            let cost = TurnCost { cpu: data.meter.stopwatch.used(), calls: data.call_budget.calls.made };
            if cpu >= self.limits.turn_cpu_slow && data.log_limiter.take() {
                let context = data.log_context();
                let (turn, user) = (context.turn, context.user());
                tracing::warn!(target: "room", turn, user, ?cpu, "a turn used much CPU");
            }
            let turn = match outcome {
                // Only the answer of a refused connect is kept.
                Ok(Ok(Ok(answer @ Answer::Refuse(..)))) => Ok(Turn { answer, ..Turn::default() }),
                Ok(Ok(Ok(answer))) => {
                    let (resources, turn) = data.end();
                    let resources = resources.expect("a room's turn gives back what was lent");
                    let turn = Ok(Turn { answer, ..turn });
                    return RunResult { resources, turn, cost, instance: Some(self), memory_bytes };
                }
                Ok(Ok(Err(error))) if self.awake || migrated_from.is_some() => Err(TurnFailure::Guest(error)),
                Ok(Ok(Err(error))) => Err(TurnFailure::Wake(error)),
                Ok(Err(error)) => Err(data.trapped(&error)),
                Err(panic) => Err(TurnFailure::Host(panic.to_string())),
            };
            let turn = turn.map_err(|cause| match migrated_from {
                Some(from) => TurnFailure::Migration { from, cause: Box::new(cause) },
                None => cause,
            });
            let resources = data.undo().expect("a room's turn gives back what was lent");
            RunResult { resources, turn, cost, instance: None, memory_bytes }
        })
    }

    /// Calls `wake` alone, and drops everything that it has done.
    pub(super) async fn try_wake(
        mut self: Box<Self>,
        resources: Box<TurnResources>,
        moment: Moment,
    ) -> Result<(), TurnFailure> {
        let outbound = resources.outbound.clone();
        self.store.data_mut().begin(moment, Some(resources));
        self.store.set_epoch_deadline(2);
        let stopwatch = self.store.data().meter.stopwatch.clone();
        let max_call = self.limits.turn_calls_timeout;
        let outcome = {
            let wake = pin!(self.room.dormouse_room_room().call_wake(&mut self.store));
            catch_panic(pin!(supervised(stopwatch, max_call, outbound.as_deref(), wake))).await
        };
        match outcome {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(TurnFailure::Wake(error)),
            Ok(Err(error)) => Err(self.store.data().trapped(&error)),
            Err(panic) => Err(TurnFailure::Host(panic.to_string())),
        }
    }

    async fn call(&mut self, event: Event) -> wasmtime::Result<Result<Answer, String>> {
        let guest = self.room.dormouse_room_room();
        let store = &mut self.store;
        // It changes the data before `wake` reads that.
        if let Event::Migrate(from) = event {
            return migration::migrate(self.migration.as_ref(), &self.exports, store, from).await;
        }
        if !self.awake {
            store.data_mut().woken_by = wake_reason(&event);
            if let Err(error) = guest.call_wake(&mut *store).await? {
                return Ok(Err(error));
            }
            self.awake = true;
        }
        let none = |error: Result<(), String>| error.map(|()| Answer::None);
        Ok(match event {
            Event::Connect(socket, request) => {
                let request = convert::request(request);
                store.data_mut().is_connecting = true;
                match guest.call_on_connect(&mut *store, &request, Resource::new_borrow(socket)).await? {
                    Ok(()) => Ok(store.data_mut().connect_answer.take().map_or(Answer::Accept, Answer::Response)),
                    Err(refusal) => Ok(Answer::Refuse(refusal.status, refusal.reason)),
                }
            }
            Event::Message(socket, message) => {
                let message = convert::message(message);
                none(guest.call_on_message(store, Resource::new_borrow(socket), &message).await?)
            }
            Event::Close(socket, close) => {
                let socket = Resource::new_borrow(socket);
                none(guest.call_on_close(store, socket, close.code, &close.reason, close.clean).await?)
            }
            Event::Timer(timer) => none(guest.call_on_timer(store, &convert::timer(&timer)).await?),
            Event::Request(request) => {
                let response = guest.call_on_request(store, &convert::request(request)).await?;
                response.map(|response| Answer::Response(convert::response(response)))
            }
            Event::ExportUser(of) => {
                personal_data::export_user(self.personal_data.as_ref(), &self.exports, store, of).await?
            }
            Event::EraseUser(of) => {
                personal_data::erase_user(self.personal_data.as_ref(), &self.exports, store, of).await?
            }
            Event::Migrate(_) => unreachable!("done above"),
        })
    }
}

/// The user whom an event is about. A request gives up its permissions: the guest asks the host for them.
fn turn_user(event: &mut Event) -> TurnUser {
    match event {
        Event::Connect(socket, _) | Event::Message(socket, _) | Event::Close(socket, _) => TurnUser::OfSocket(*socket),
        Event::Request(request) => TurnUser::OfRequest(std::mem::take(&mut request.access)),
        Event::Timer(_) | Event::ExportUser(_) | Event::EraseUser(_) | Event::Migrate(_) => TurnUser::Nobody,
    }
}

fn wake_reason(event: &Event) -> WakeReason {
    match event {
        Event::Connect(..) => WakeReason::Connect,
        Event::Message(..) => WakeReason::Message,
        Event::Close(..) => WakeReason::Close,
        Event::Timer(_) => WakeReason::Timer,
        Event::Request(_) | Event::ExportUser(_) | Event::EraseUser(_) | Event::Migrate(_) => WakeReason::Request,
    }
}
