//! Runs the top level of a bundle in the engine, and takes a snapshot of the engine's memory.
//!
//! The engine is a core module here, not yet a component. It exports the functions with which it takes a bundle; see
//! `components/javascript/engine/src/build.rs`. Nothing that it imports is there: the top level can reach neither a room
//! nor a clock, and it has a limited number of instructions and bytes of memory.

use anyhow::{Context, anyhow, bail, ensure};
use wasmtime::{
    Caller, Config, Engine, Extern, ExternType, Instance, Linker, Memory, Module, OptLevel, Store, StoreLimits,
    StoreLimitsBuilder, Trap, Val,
};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, Wizer};

use super::bundle::Bundle;
use super::component::{Import, Worlds};

/// The instructions that a top level may take: some seconds.
const MAX_INSTRUCTIONS: u64 = 20_000_000_000;

/// The memory of an instance, in bytes, as the default of `limits.memory_bytes_per_instance`.
const MAX_MEMORY_BYTES: usize = 64 << 20;

/// The machine stack in bytes, as the host has it.
const STACK_BYTES: usize = 512 << 10;

/// The advice for a file that is no engine.
const FOREIGN: &str = "the engine is no engine of this version of Dormouse: build it with `make javascript-engine`";

/// The engine with a bundle in it.
pub(super) struct Snapshot {
    /// A core module, whose memory is as the top level has left it.
    pub(super) module: Vec<u8>,
    /// The functions that its code imports.
    pub(super) imports: Vec<Import>,
    pub(super) worlds: Worlds,
    /// The lines that the top level has logged.
    pub(super) log: String,
}

/// The engine, compiled once: each bundle that is put into it then takes little time.
pub(super) struct PreparedEngine {
    wizer: Wizer,
    context: ModuleContext<'static>,
    engine: Engine,
    module: Module,
}

impl PreparedEngine {
    /// Compiles an engine. Its bytes are kept for as long as the process runs.
    pub(super) fn new(bytes: Vec<u8>) -> anyhow::Result<PreparedEngine> {
        let mut wizer = Wizer::new();
        wizer.init_func("dormouse-build-end");
        let bytes = &*Box::leak(bytes.into_boxed_slice());
        let (context, instrumented) = wizer.instrument(bytes).map_err(anyhow::Error::from).context(FOREIGN)?;
        let mut config = Config::new();
        // The top level runs once: compiling well would take longer than it saves.
        config.consume_fuel(true).max_wasm_stack(STACK_BYTES).cranelift_opt_level(OptLevel::None);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, instrumented).map_err(anyhow::Error::from).context(FOREIGN)?;
        Ok(PreparedEngine { wizer, context, engine, module })
    }

    /// Puts a bundle into the engine.
    pub(super) fn take(&self, bundle: &Bundle) -> anyhow::Result<Snapshot> {
        let mut running = Running::start(&self.engine, &self.module).context(FOREIGN)?;
        let worlds = running.run_top_level(bundle)?;
        running.call("dormouse-build-log", &[])?;
        let log = running.output()?;
        running.call("dormouse-build-end", &[])?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("the runtime cannot start")?;
        let module = runtime.block_on(self.wizer.snapshot(&self.context, &mut running));
        let module = module.map_err(anyhow::Error::from).context("the memory of the engine cannot be taken")?;
        Ok(Snapshot { module, imports: running.imports, worlds, log })
    }
}

/// The engine while the top level runs.
struct Running {
    store: Store<StoreLimits>,
    instance: Instance,
    memory: Memory,
    imports: Vec<Import>,
}

impl Running {
    fn start(engine: &Engine, module: &Module) -> anyhow::Result<Running> {
        let mut store = Store::new(engine, StoreLimitsBuilder::new().memory_size(MAX_MEMORY_BYTES).build());
        store.limiter(|limits| limits);
        store.set_fuel(MAX_INSTRUCTIONS)?;
        let mut linker = Linker::new(engine);
        let mut imports = Vec::new();
        for import in module.imports() {
            let ExternType::Func(function) = import.ty() else { bail!("the engine imports more than functions") };
            imports.push(Import {
                interface: import.module().to_owned(),
                name: import.name().to_owned(),
                parameters: function.params().collect(),
                results: function.results().collect(),
            });
            let (module, name) = (import.module().to_owned(), import.name().to_owned());
            let define = move |mut caller: Caller<'_, StoreLimits>, arguments: &[Val], results: &mut [Val]| {
                refuse(&mut caller, &module, &name, arguments, results)
            };
            linker.func_new(import.module(), import.name(), function, define)?;
        }
        let instance = linker.instantiate(&mut store, module)?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| anyhow!("the engine has no memory"))?;
        Ok(Running { store, instance, memory, imports })
    }

    fn run_top_level(&mut self, bundle: &Bundle) -> anyhow::Result<Worlds> {
        let parts = [&bundle.name, &bundle.source, &bundle.map];
        let input = parts.map(|part| part.as_str()).concat();
        let at = self.call("dormouse-build-input", &[number(input.len())])?;
        self.memory.write(&mut self.store, at as usize, input.as_bytes())?;
        let status = self.call("dormouse-build-run", &parts.map(|part| number(part.len())));
        let status = status.map_err(|error| match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => anyhow!("the top level does not come to an end"),
            Some(Trap::StackOverflow) => anyhow!("the top level nests calls too deeply"),
            Some(Trap::UnreachableCodeReached) => anyhow!(
                "the top level needs more than {} MiB of memory, or the engine has failed",
                MAX_MEMORY_BYTES >> 20
            ),
            _ => error,
        })?;
        let output = self.output()?;
        ensure!(status == 0, "{output}");
        Worlds::parse(&output)
    }

    /// Calls a function of the engine; the result of one without a result is 0.
    fn call(&mut self, name: &str, arguments: &[Val]) -> anyhow::Result<u32> {
        let function = self.instance.get_func(&mut self.store, name);
        let function = function.ok_or_else(|| anyhow!("the engine has no function {name}"))?;
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, arguments, &mut results)?;
        Ok(results.first().and_then(Val::i32).unwrap_or(0).cast_unsigned())
    }

    fn output(&mut self) -> anyhow::Result<String> {
        let at = self.call("dormouse-build-output", &[])? as usize;
        let length = self.call("dormouse-build-output-bytes", &[])? as usize;
        let bytes = self.memory.data(&self.store).get(at..at + length);
        let bytes = bytes.ok_or_else(|| anyhow!("the output of the engine is outside its memory"))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

fn number(length: usize) -> Val {
    Val::I32((length as u32).cast_signed())
}

/// Refuses what the engine imports, except the clock: QuickJS asks it when it starts, and it is 0. The engine throws an
/// exception before the top level reaches anything else.
fn refuse(
    caller: &mut Caller<'_, StoreLimits>,
    module: &str,
    name: &str,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    if module.starts_with("wasi:clocks/monotonic-clock@") && name == "now" {
        results[0] = Val::I64(0);
        return Ok(());
    }
    if module.starts_with("wasi:clocks/wall-clock@") && name == "now" {
        // Seconds and nanoseconds, at the given place.
        let at = arguments.first().and_then(Val::i32).unwrap_or(0).cast_unsigned() as usize;
        if let Some(Extern::Memory(memory)) = caller.get_export("memory") {
            memory.write(caller, at, &[0; 16])?;
        }
        return Ok(());
    }
    Err(wasmtime::Error::msg(format!("the top level calls {module} {name}, which is only there in a turn")))
}

impl InstanceState for Running {
    async fn global_get(&mut self, name: &str, _: wasmtime_wizer::ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name).expect("the instrumented module exports it");
        match global.get(&mut self.store) {
            Val::I32(number) => SnapshotVal::I32(number),
            Val::I64(number) => SnapshotVal::I64(number),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(bits) => SnapshotVal::V128(bits.as_u128()),
            _ => unreachable!("the instrumented module exports only numbers"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name).expect("the instrumented module exports it");
        contents(memory.data(&self.store));
    }
}
