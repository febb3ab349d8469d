//! wasmtime: components, instances, and one event run through one of them. The only place that names wasmtime.
//!
//! `room` lends an instance what its room owns ([`Lent`]) together with an event, and gets back the same and a
//! [`Turn`](crate::model::Turn), or the reason why there is none. Calls run on fibers: a guest that computes for long
//! yields its thread at an epoch tick and is finished elsewhere (`lane`), so nobody waits for it but its own room.
//!
//! What a guest can reach is in `imports/`, one file a WIT interface. Nothing there waits, sleeps or opens anything.

mod bindings;
mod convert;
mod failure;
mod imports;
mod instance;
mod lane;
mod limits;
mod router;
mod state;
mod wasi;

use std::sync::Arc;
use std::thread;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::Limits;

pub use failure::{LoadError, TurnFailure};
pub use instance::{Instance, Moment};
pub use lane::Lane;
pub use router::{Decision, RouterKind};
pub use state::Lent;

use bindings::room::RoomComponentPre;
use limits::TICK;
use state::Host;

/// Compiles components and makes instances of them. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Arc<Linker<Host>>,
    limits: Arc<Limits>,
}

/// A component that can be a room, compiled and linked. Cheap to clone.
#[derive(Clone)]
pub struct RoomKind {
    pre: RoomComponentPre<Host>,
    limits: Arc<Limits>,
    /// Interfaces it imports, for the operator to see what it can do.
    imports: Arc<[String]>,
}

impl Engine {
    /// An engine that holds `limits`.
    ///
    /// Fails: where this machine cannot give what the limits ask for, such as address space for `awake_rooms`.
    pub fn new(limits: Arc<Limits>) -> Result<Self, LoadError> {
        let engine = wasmtime::Engine::new(&config(&limits)).map_err(LoadError::engine)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(LoadError::engine)?;
        tick(&engine).map_err(|error| LoadError::engine(error.into()))?;
        Ok(Engine { engine, linker: Arc::new(linker), limits })
    }

    /// Compile a room's component. `name` is for messages.
    pub fn room(&self, name: &str, wasm: &[u8]) -> Result<RoomKind, LoadError> {
        let pre = self.load(name, wasm)?;
        let imports = self.imports(pre.component());
        let pre = RoomComponentPre::new(pre).map_err(|error| LoadError::contract(name, error))?;
        Ok(RoomKind { pre, limits: self.limits.clone(), imports })
    }

    /// Compile a router's component. `name` is for messages.
    pub fn router(&self, name: &str, wasm: &[u8]) -> Result<RouterKind, LoadError> {
        let pre = self.load(name, wasm)?;
        let imports = self.imports(pre.component());
        RouterKind::new(pre, self.limits.clone(), imports).map_err(|error| LoadError::contract(name, error))
    }

    fn load(&self, name: &str, wasm: &[u8]) -> Result<InstancePre<Host>, LoadError> {
        let component = Component::new(&self.engine, wasm).map_err(|error| LoadError::compile(name, error))?;
        self.linker.instantiate_pre(&component).map_err(|error| LoadError::contract(name, error))
    }

    fn imports(&self, component: &Component) -> Arc<[String]> {
        component.component_type().imports(&self.engine).map(|(name, _)| name.to_owned()).collect()
    }
}

impl RoomKind {
    /// The interfaces it imports: all that it can learn and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
}

fn config(limits: &Limits) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // A room and, while it is served, a router; a component of wasi-libc is one core module and up to three shims.
    let components = limits.awake_rooms + limits.requests;
    pool.total_component_instances(components)
        .total_core_instances(components.saturating_mul(4))
        .max_core_instances_per_component(8)
        .total_memories(components)
        .max_memories_per_component(1)
        .total_tables(components.saturating_mul(2))
        .max_tables_per_component(4)
        .table_elements(limits.table_elements)
        .total_stacks(components)
        .max_memory_size(limits.memory_bytes)
        // What a room usually touches stays mapped, so that waking costs no page faults.
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        // One event at a time: neither needs component-model async, which triples the price of a call.
        .concurrency_support(false)
        .epoch_interruption(true)
        // The reservation is the limit: 100,000 of these fit an address space, 4 GiB ones do not.
        .memory_reservation(limits.memory_bytes as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(64 << 10)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    config
}

fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    use bindings::room::dormouse::room::{context, sockets, storage, timers, types};
    types::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    context::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    sockets::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    storage::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    timers::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    wasi::link(linker)
}

/// Advance the epoch, so that long computations yield. The thread ends with the engine.
fn tick(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new().name("dormouse-epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(())
}
