//! The component of a room, compiled and linked. It makes instances; it does not know how they run.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::bindings::room::ConnectedRoomComponentPre as RoomPre;
use super::failure::TurnFailure;
use super::instance::{Instance, new_store};
use super::log_limiter::LogLimiter;
use super::moment::Moment;
use super::state::{StoreData, TurnResources};
use super::stopwatch::{Epochs, supervised};
use crate::config::Limits;
use crate::model::Declared;

/// A compiled and linked component of a room. Cheap to clone.
#[derive(Clone)]
pub struct CompiledRoom {
    pub(super) warm: RoomPre<StoreData>,
    pub(super) cold: RoomPre<StoreData>,
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

impl CompiledRoom {
    /// Makes an instance. Its first run calls `wake` before the event. Code that runs during instantiation, such as a
    /// start function, may use the CPU of one turn. `log_limiter` limits the log of the room.
    pub async fn instantiate(&self, log_limiter: &Arc<LogLimiter>) -> Result<Box<Instance>, TurnFailure> {
        let warm_slot = self.warm_slots.clone().try_acquire_owned().ok();
        let pre = if warm_slot.is_some() { &self.warm } else { &self.cold };
        let mut store = new_store(pre.engine(), &self.limits, &self.epochs, log_limiter);
        let stopwatch = store.data().meter.stopwatch.clone();
        let instantiated = {
            let instantiate = pin!(pre.instantiate_async(&mut store));
            supervised(stopwatch, self.limits.turn_calls_timeout, None, instantiate).await
        };
        let room = instantiated.map_err(|error| store.data().not_instantiated(&error))?;
        Ok(Instance::new(store, room, self.limits.clone(), warm_slot))
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

    /// The version of the contract that it was built against, such as `0.1.4`.
    pub fn contract(&self) -> &str {
        &self.contract
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
