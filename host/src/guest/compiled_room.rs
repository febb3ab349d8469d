//! The component of a room, compiled and linked. It makes instances; it does not know how they run.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::InstancePre;

use super::bindings::room::ConnectedRoomComponentIndices as RoomExports;
use super::epochs::Epochs;
use super::failure::TurnFailure;
use super::instance::{Instance, new_store};
use super::log_limiter::LogLimiter;
use super::migration::{self, Migration};
use super::moment::Moment;
use super::personal_data::PersonalData;
use super::state::{StoreData, TurnResources};
use super::stopwatch::supervised;
use crate::config::Limits;
use crate::model::Declared;

/// A compiled and linked component of a room. Cheap to clone.
#[derive(Clone)]
pub struct CompiledRoom {
    pub(super) warm: LinkedRoom,
    pub(super) cold: LinkedRoom,
    pub(super) warm_slots: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) epochs: Epochs,
    /// The interfaces that it imports, for the operator.
    pub(super) imports: Arc<[String]>,
    /// As the configuration names it.
    pub(super) name: Arc<str>,
    /// The version of the contract that it was built against.
    pub(super) contract: Arc<str>,
    pub(super) connected: bool,
    pub(super) declared: Option<Arc<Declared>>,
    pub(super) hash: Arc<str>,
}

/// The component in one of the pools, with the places of its exports.
#[derive(Clone)]
pub(super) struct LinkedRoom {
    pre: InstancePre<StoreData>,
    events: RoomExports,
    /// Absent if the component does not export it.
    personal_data: Option<PersonalData>,
    /// Absent if the component does not export it.
    migration: Option<Migration>,
}

impl LinkedRoom {
    /// Finds the exports of a component.
    ///
    /// Fails: if its events are missing, and if an export is incomplete.
    pub(super) fn new(pre: InstancePre<StoreData>, engine: &Engine) -> wasmtime::Result<Self> {
        let (events, personal_data) = (RoomExports::new(&pre)?, PersonalData::of(engine, &pre)?);
        let migration = Migration::of(engine, &pre)?;
        Ok(LinkedRoom { pre, events, personal_data, migration })
    }
}

impl CompiledRoom {
    /// Makes an instance. Its first run calls `wake` before the event. Code that runs during instantiation, such as a
    /// start function, may use the CPU of one turn. `log_limiter` limits the log of the room.
    pub async fn instantiate(&self, log_limiter: &Arc<LogLimiter>) -> Result<Box<Instance>, TurnFailure> {
        let warm_slot = self.warm_slots.clone().try_acquire_owned().ok();
        let linked = if warm_slot.is_some() { &self.warm } else { &self.cold };
        let mut store = new_store(linked.pre.engine(), &self.limits, &self.epochs, log_limiter);
        let stopwatch = store.data().meter.stopwatch.clone();
        let instantiated = {
            let instantiate = pin!(linked.pre.instantiate_async(&mut store));
            supervised(stopwatch, self.limits.turn_calls_timeout, None, instantiate).await
        };
        let exports = instantiated.and_then(|exports| Ok((linked.events.load(&mut store, &exports)?, exports)));
        let (room, exports) = exports.map_err(|error| store.data().not_instantiated(&error))?;
        let optional = (linked.personal_data.clone(), linked.migration.clone());
        Ok(Instance::new(store, room, exports, optional, self.limits.clone(), warm_slot))
    }

    /// Wakes an instance on lent resources and drops it, with everything that it has done. For a trial before a deploy.
    pub async fn try_wake(
        &self,
        resources: Box<TurnResources>,
        moment: Moment,
        log_limiter: &Arc<LogLimiter>,
    ) -> Result<(), TurnFailure> {
        self.instantiate(log_limiter).await?.try_wake(resources, moment).await
    }

    /// Compares the version of a room's data with that of the component; `stored` is absent in a room without data.
    /// Returns the version of the component if both are the same, or if there is no data. Absent if
    /// [`Event::Migrate`](crate::model::Event::Migrate) must run first.
    ///
    /// Fails: if the component declares no version, and the data has one.
    pub fn check_data(&self, stored: Option<u32>) -> Result<Option<u32>, TurnFailure> {
        let (Some(warm), Some(cold)) = (&self.warm.migration, &self.cold.migration) else {
            return migration::check_undeclared(stored).map(Some);
        };
        let version = warm.data_version().or_else(|| cold.data_version());
        Ok(version.filter(|version| stored.is_none_or(|stored| stored == *version)))
    }

    /// The hash of the component, which names its version.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The interfaces that it imports: everything that it can read and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Its name or its file, as the configuration has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the contract that it was built against, such as `0.1.5`.
    pub fn contract(&self) -> &str {
        &self.contract
    }

    /// Whether it declares how the data of a user is exported and erased.
    pub fn declares_personal_data(&self) -> bool {
        self.warm.personal_data.is_some()
    }

    /// Its declarations about its configuration; absent if there are none.
    pub fn declared(&self) -> Option<&Declared> {
        self.declared.as_deref()
    }

    /// Whether it imports an outbound interface: other rooms, or servers.
    pub fn is_connected(&self) -> bool {
        self.connected
    }
}
