//! The wasmtime layer: components, instances, and one event run through an instance. No other module names wasmtime.
//!
//! `room` lends an instance the resources of the room ([`TurnResources`]) together with an event. It gets them back
//! with a [`Turn`](crate::model::Turn), or with the reason why the turn failed. Calls run on fibers: a guest that
//! computes for long yields its thread at an epoch tick and continues on other threads (`long_turns`), so it delays
//! only its own room.
//!
//! The imports of a guest are in `imports/`, one file for each WIT interface. They do not wait, sleep or open anything,
//! except for the calls of connected rooms, whose component imports `rooms`, `outbox` or `wasi:http`. `room` implements
//! those calls behind the trait in `outbound`.

mod bindings;
mod code_cache;
mod compiled_room;
mod contract;
mod convert;
mod declared;
mod epochs;
mod failure;
mod function_cache;
mod grants;
mod imports;
mod instance;
mod linker;
mod log_context;
mod log_limiter;
mod long_turns;
mod meter;
mod migration;
mod moment;
mod outbound;
mod personal_data;
mod router;
mod state;
mod stopwatch;
mod wasi;

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Enabled, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use crate::config::Limits;
use crate::limits::{COMPONENT_BYTES, IDLE_ROUTERS};

pub use code_cache::{CodeCache, component_hash};
pub use compiled_room::CompiledRoom;
pub use contract::CONTRACT;
pub use failure::{LoadError, TurnFailure};
pub use function_cache::FunctionCache;
pub use grants::RouterGrants;
pub use instance::{Instance, TurnCost};
pub use log_limiter::{LogLimiter, LogTap};
pub use long_turns::LongTurns;
pub use moment::Moment;
pub use outbound::{CallError, Outbound, PostError, Waited};
pub use router::{CompiledRouter, Decision};
pub use state::TurnResources;

use code_cache::CodeKey;
use compiled_room::LinkedRoom;
use epochs::Epochs;
use linker::{is_outbound, link, link_connected, link_connected_router, link_router};
use state::StoreData;

/// Compiles components and makes instances of them. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    warm: Pool,
    cold: Pool,
    warm_slots: Arc<Semaphore>,
    /// Places for instances of routers that wait for their next request.
    idle_routers: Arc<Semaphore>,
    limits: Arc<Limits>,
    epochs: Epochs,
    /// The cache of compiled code.
    cache: Option<Arc<dyn CodeCache>>,
    /// Compiled functions, for code that changes often.
    functions: Option<FunctionCache>,
}

/// One of two pools of instances. The warm pool keeps the memory of a dropped instance mapped for the next one, which
/// saves page faults, so it has few places. All other instances come from the cold pool, which returns all memory: ten
/// thousand rooms that have hibernated hold none.
#[derive(Clone)]
struct Pool {
    engine: wasmtime::Engine,
    linker: Arc<Linker<StoreData>>,
    /// For components with outbound imports.
    connected: Arc<Linker<StoreData>>,
    routers: Arc<Linker<StoreData>>,
    /// For routers that call rooms.
    connected_routers: Arc<Linker<StoreData>>,
}

impl Engine {
    /// Makes an engine with these limits.
    ///
    /// Fails: if this machine lacks resources for the limits, such as address space for `awake_rooms`.
    pub fn new(limits: Arc<Limits>) -> Result<Self, LoadError> {
        let warm_rooms = limits.warm_rooms.min(limits.awake_rooms);
        // A request may need an instance of a room and one of the router at the same time. Those without an identity are
        // counted apart.
        let routers = limits.requests.saturating_add(limits.anonymous_requests).saturating_add(IDLE_ROUTERS);
        let warm = Pool::new(&limits, warm_rooms.saturating_add(routers), WARM)?;
        let cold = Pool::new(&limits, limits.awake_rooms, COLD)?;
        let epochs = Epochs::default();
        let engines = [warm.engine.weak(), cold.engine.weak()];
        let ticking = epochs.start(move || {
            let alive = engines.iter().filter_map(EngineWeak::upgrade);
            alive.map(|engine| engine.increment_epoch()).count() > 0
        });
        ticking.map_err(|error| LoadError::engine(error.into()))?;
        let warm_slots = Arc::new(Semaphore::new(warm_rooms as usize));
        let idle_routers = Arc::new(Semaphore::new(IDLE_ROUTERS as usize));
        Ok(Engine { warm, cold, warm_slots, idle_routers, limits, epochs, cache: None, functions: None })
    }

    /// Uses a cache of compiled code.
    pub fn with_cache(self, cache: Arc<dyn CodeCache>) -> Self {
        Engine { cache: Some(cache), ..self }
    }

    /// Keeps compiled functions, so that similar code compiles faster. It works with a cache of compiled code only.
    pub fn with_functions(self, functions: FunctionCache) -> Self {
        Engine { functions: Some(functions), ..self }
    }

    /// Compiles the component of a room. `name` is for messages.
    pub fn room(&self, name: &str, wasm: &[u8]) -> Result<CompiledRoom, LoadError> {
        let component = self.compile(name, wasm, contract::Kind::Room)?;
        let imports = self.warm.imports(&component);
        let connected = imports.iter().any(|import| is_outbound(import));
        let component_type = component.component_type();
        let exports = component_type.exports(&self.warm.engine).map(|(name, _)| name);
        let contract = contract::built_against(imports.iter().map(String::as_str).chain(exports));
        let link = |pool: &Pool, component| {
            let linker = if connected { &pool.connected } else { &pool.linker };
            let pre = pool.link(name, &component, linker)?;
            LinkedRoom::new(pre, &pool.engine).map_err(|error| contract::mismatch(name, &error))
        };
        let cold = self.cold.copy(&component).map_err(|error| LoadError::compile(name, &self.limits, error))?;
        Ok(CompiledRoom {
            warm: link(&self.warm, component)?,
            cold: link(&self.cold, cold)?,
            warm_slots: self.warm_slots.clone(),
            limits: self.limits.clone(),
            epochs: self.epochs.clone(),
            imports,
            name: name.into(),
            contract: contract.into(),
            connected,
            declared: declared::read(wasm).map(Arc::new),
            hash: component_hash(wasm).into(),
        })
    }

    /// Compiles the component of a router. `name` is for messages.
    pub fn router(&self, name: &str, wasm: &[u8]) -> Result<CompiledRouter, LoadError> {
        let component = self.compile(name, wasm, contract::Kind::Router)?;
        let imports = self.warm.imports(&component);
        let connected = imports.iter().any(|import| is_outbound(import));
        let linker = if connected { &self.warm.connected_routers } else { &self.warm.routers };
        let pre = self.warm.link(name, &component, linker)?;
        let declared = declared::read(wasm).unwrap_or_default();
        let hash = component_hash(wasm);
        let (limits, epochs, places) = (self.limits.clone(), self.epochs.clone(), self.idle_routers.clone());
        let router = CompiledRouter::new(pre, limits, epochs, places, imports, declared, hash);
        router.map_err(|error| contract::mismatch(name, &error))
    }

    /// Compiles a component into the cache, on the current thread alone. Compiling takes all cores otherwise, which is
    /// right at the start, when nothing else runs, and for an author who waits. If this fails, a later compilation
    /// reports it.
    pub fn compile_into_cache(&self, wasm: &[u8]) {
        let Some(cache) = &self.cache else { return };
        let key = CodeKey::new(&self.warm.engine, wasm);
        if wasm.len() > COMPONENT_BYTES || cache.get(&key.name()).is_some_and(|sealed| key.unseal(&sealed).is_some()) {
            return;
        }
        let mut config = config(&self.limits, 1, WARM);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        let config = match &self.functions {
            Some(functions) => config.enable_incremental_compilation(functions.store()),
            None => Ok(config.parallel_compilation(false)),
        };
        let code = config
            .and_then(|config| wasmtime::Engine::new(config))
            .and_then(|engine| engine.precompile_component(wasm));
        if let Ok(code) = code
            && self.warm.load(&code).is_ok()
        {
            cache.put(&key.name(), &key.seal(&code));
        }
    }

    /// The name of the compiled code of a component in the cache; absent without a cache.
    pub fn cached_as(&self, wasm: &[u8]) -> Option<String> {
        self.cache.as_ref().map(|_| CodeKey::new(&self.warm.engine, wasm).name())
    }

    /// Removes compiled code from the cache.
    pub fn forget(&self, name: &str) {
        if let Some(cache) = &self.cache {
            cache.remove(name);
        }
    }

    /// Compiles a component for the warm pool, and checks its contract.
    fn compile(&self, name: &str, wasm: &[u8], kind: contract::Kind) -> Result<Component, LoadError> {
        if wasm.len() > COMPONENT_BYTES {
            return Err(LoadError::TooLarge { name: name.into(), bytes: wasm.len() });
        }
        let component = self.compiled(name, wasm)?;
        let initial = component.resources_required().and_then(|required| required.max_initial_memory_size);
        let initial_bytes = initial.unwrap_or_default().saturating_mul(PAGE_BYTES);
        LoadError::check_memory(name, &self.limits, usize::try_from(initial_bytes).unwrap_or(usize::MAX / 2))?;
        let (component_type, engine) = (component.component_type(), &self.warm.engine);
        let names = component_type.imports(engine).map(|(name, _)| name);
        contract::check(name, names.chain(component_type.exports(engine).map(|(name, _)| name)))?;
        contract::check_exports(name, kind, component_type.exports(engine).map(|(name, _)| name))?;
        Ok(component)
    }

    /// Takes the component from the cache, or compiles it.
    fn compiled(&self, name: &str, wasm: &[u8]) -> Result<Component, LoadError> {
        let compile = || self.warm.compile(wasm).map_err(|error| LoadError::compile(name, &self.limits, error));
        let Some(cache) = &self.cache else { return compile() };
        if self.functions.is_some() {
            self.compile_into_cache(wasm);
        }
        let key = CodeKey::new(&self.warm.engine, wasm);
        if let Some(sealed) = cache.get(&key.name())
            && let Some(code) = key.unseal(&sealed)
            && let Ok(component) = self.warm.load(code)
        {
            return Ok(component);
        }
        let component = compile()?;
        if let Ok(code) = component.serialize() {
            cache.put(&key.name(), &key.seal(&code));
        }
        Ok(component)
    }
}

impl Pool {
    fn new(limits: &Limits, instances: u32, resident: Resident) -> Result<Self, LoadError> {
        let engine = wasmtime::Engine::new(&config(limits, instances, resident)).map_err(LoadError::engine)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(LoadError::engine)?;
        let mut connected = linker.clone();
        link_connected(&mut connected).map_err(LoadError::engine)?;
        let mut routers = linker.clone();
        link_router(&mut routers).map_err(LoadError::engine)?;
        let mut connected_routers = routers.clone();
        link_connected_router(&mut connected_routers).map_err(LoadError::engine)?;
        Ok(Pool {
            engine,
            linker: Arc::new(linker),
            connected: Arc::new(connected),
            routers: Arc::new(routers),
            connected_routers: Arc::new(connected_routers),
        })
    }

    fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        Component::new(&self.engine, wasm)
    }

    /// Copies a component to this pool. Compiling takes 40 ms, copying less than one.
    fn copy(&self, component: &Component) -> wasmtime::Result<Component> {
        self.load(&component.serialize()?)
    }

    /// Loads code that was compiled by this process, or that has a valid seal of an earlier one.
    fn load(&self, code: &[u8]) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "machine code must be trusted: all callers got it from wasmtime, unchanged")]
        let component = unsafe { Component::deserialize(&self.engine, code) };
        component
    }

    fn link(
        &self,
        name: &str,
        component: &Component,
        linker: &Linker<StoreData>,
    ) -> Result<InstancePre<StoreData>, LoadError> {
        linker.instantiate_pre(component).map_err(|error| {
            let not_offered = contract::not_offered(name, &self.imports(component), &format!("{error:#}"));
            not_offered.unwrap_or_else(|| contract::mismatch(name, &error))
        })
    }

    fn imports(&self, component: &Component) -> Arc<[String]> {
        component.component_type().imports(&self.engine).map(|(name, _)| name.to_owned()).collect()
    }
}

/// The most core modules of a component.
const CORE_INSTANCES: u32 = 16;

/// A page of wasm's memory, in bytes.
const PAGE_BYTES: u64 = 64 << 10;

/// Bytes of a dropped instance that stay mapped for the next one.
#[derive(Clone, Copy)]
struct Resident {
    memory: usize,
    table: usize,
    stack: bool,
}

/// The memory that a room usually touches.
const WARM: Resident = Resident { memory: 128 << 10, table: 16 << 10, stack: true };
const COLD: Resident = Resident { memory: 0, table: 0, stack: false };

/// Features of wasm that are off, whatever wasmtime was built with. No toolchain for wasm32-wasip2 needs them, and some
/// are young: bugs in code that never runs do no harm. Relaxed SIMD would also make results depend on the processor.
const DISABLED_FEATURES: WasmFeatures = WasmFeatures::GC
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::THREADS)
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::RELAXED_SIMD);

fn config(limits: &Limits, components: u32, resident: Resident) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // A component of wasi-libc consists of one core module and up to three shims, one of `dormouse build` also has a shim
    // for each interface that the engine knows and the bundle does not use. They are only counted.
    pool.total_component_instances(components)
        .total_core_instances(components.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(components)
        .max_memories_per_component(1)
        .total_tables(components.saturating_mul(2))
        .max_tables_per_component(4)
        .table_elements(limits.table_elements)
        .total_stacks(components)
        .max_memory_size(limits.memory_bytes)
        .linear_memory_keep_resident(resident.memory)
        .table_keep_resident(resident.table)
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        // One event at a time needs no component-model async, which would triple the cost of a call.
        .concurrency_support(false)
        .wasm_features(DISABLED_FEATURES, false)
        .epoch_interruption(true)
        // The reservation equals the limit: 100,000 of these fit into an address space, 100,000 of 4 GiB would not.
        .memory_reservation(limits.memory_bytes as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(64 << 10)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        // This refers to the end of the instance, not of a call: each instance keeps its stack while it lives.
        .async_stack_zeroing(!resident.stack)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    config
}
