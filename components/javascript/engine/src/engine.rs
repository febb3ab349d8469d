//! The one JavaScript engine of this instance: its runtime, the module that a bundle may import, and how a hook runs to
//! its end.
//!
//! It knows neither the contract nor how a component is built; `events.rs` and `build.rs` use it.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Write as _;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declared, Evaluated};
use rquickjs::{Context, Ctx, Error, Exception, Function, Module, Persistent, Runtime, Value, qjs};

use crate::hooks::{Hook, Hooks};
use crate::memory::Trapping;
use crate::trace::SourceMap;
use crate::{build, flat};

/// The bytes of the C stack that a script may use. The host gives a component 512 KiB of machine stack; with the frames of
/// `quickjs_stack.h` no recursion uses more of that than of this one, but for the parser of sources. Above this limit a
/// script gets a `RangeError` that it can catch; above the machine stack its turn ends.
const SCRIPT_STACK_BYTES: usize = 400 << 10;

/// The same while the bundle is parsed: `quickjs_stack.h` leaves the parser less of it, and a bundle may have long chains
/// of `else if`. One that is nested too deeply ends the build.
const BUNDLE_STACK_BYTES: usize = SCRIPT_STACK_BYTES + (350 << 10);

/// Makes the globals of the Web that QuickJS lacks.
const WEB: &str = include_str!("web.js");

thread_local! {
    static ENGINE: OnceCell<Engine> = const { OnceCell::new() };
    static BUILDING: Cell<bool> = const { Cell::new(true) };
    static SOURCE_MAP: OnceCell<SourceMap> = const { OnceCell::new() };
    static REJECTED: RefCell<Vec<(Persistent<Value<'static>>, String)>> = const { RefCell::new(Vec::new()) };
}

/// Whether the top level of the bundle is running, so that there is no room yet.
pub(crate) fn is_building() -> bool {
    BUILDING.get()
}

/// Replaces positions in the bundle by positions in its sources.
pub(crate) fn with_source_positions(text: &str) -> String {
    SOURCE_MAP.with(|map| map.get().map_or_else(|| text.to_owned(), |map| map.translate(text)))
}

pub(crate) struct Engine {
    context: Context,
    hooks: Hooks,
}

/// The outcome of a hook.
pub(crate) enum Outcome<'js> {
    /// It returned this value, or a promise that was fulfilled with it.
    Value(Value<'js>),
    /// Its promise waits for something that this turn does not bring.
    Pending,
}

impl Engine {
    /// Runs the top level of a bundle, and keeps the engine for all events.
    ///
    /// Fails: with the text for the author of the bundle.
    pub(crate) fn start(name: &str, source: &str, map: Option<SourceMap>) -> Result<(), String> {
        if let Some(map) = map {
            SOURCE_MAP.with(|cell| cell.set(map).ok());
        }
        let (runtime, context) = new_runtime().map_err(|error| format!("the engine does not start: {error}"))?;
        let hooks = context.with(|ctx| {
            run_own(&ctx, "dormouse:web", WEB).map_err(|error| explain(&ctx, error))?;
            flat::take_natives(&ctx).map_err(|error| explain(&ctx, error))?;
            set_stack_bytes(&ctx, BUNDLE_STACK_BYTES);
            let module = Module::declare(ctx.clone(), name, source).map_err(|error| explain(&ctx, error))?;
            set_stack_bytes(&ctx, SCRIPT_STACK_BYTES);
            let (module, promise) = module.eval().map_err(|error| explain(&ctx, error))?;
            while ctx.execute_pending_job() {}
            match promise.result::<Value>() {
                Some(Ok(_)) => log_rejections(),
                Some(Err(error)) => return Err(explain(&ctx, error)),
                None => return Err("the top level awaits something that never comes".to_owned()),
            }
            build::adopt_default_export(&ctx, &module)?;
            build::end_of_top_level(&ctx).map_err(|error| explain(&ctx, error))?;
            Hooks::registered()
        })?;
        runtime.run_gc();
        flat::sql::set_up();
        BUILDING.set(false);
        let engine = Engine { context, hooks };
        ENGINE.with(|cell| cell.set(engine).map_err(|_| "a component has one bundle".to_owned()))
    }

    /// Runs `work` in the engine.
    ///
    /// Panics: before `start`. A component is only made when it has succeeded.
    pub(crate) fn with<T>(work: impl FnOnce(&Engine) -> T) -> T {
        ENGINE.with(|engine| work(engine.get().expect("`dormouse build` has started the engine")))
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Calls a hook, as `call` does. With every hook but `wake` the turn ends: then SQL hands over what it has changed.
    ///
    /// Returns `None` if the bundle has no such hook.
    /// Fails: as `call` does, and if the turn has written too much.
    pub(crate) fn run<T>(
        &self,
        hook: Hook,
        arguments: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Vec<Value<'js>>>,
        take: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Option<Result<T, String>> {
        let answer = self.call(hook, arguments, take);
        let ended = match (&answer, hook) {
            (_, Hook::Route) => Ok(()),
            (Some(Err(_)), _) => {
                flat::sql::forget();
                Ok(())
            }
            (_, Hook::Wake) => {
                flat::sql::end_wake();
                Ok(())
            }
            (_, Hook::ExportUser) => flat::sql::end_reading(),
            _ => flat::sql::end_turn(),
        };
        match ended {
            Ok(()) => answer,
            Err(error) => Some(Err(error)),
        }
    }

    /// Calls a hook, runs all jobs, and takes the answer out of the value that the hook settled to.
    ///
    /// Returns `None` if the bundle has no such hook.
    /// Fails: with message and stack, if the hook throws, if its promise is rejected, and if its promise stays pending
    /// and the bundle has no `unsettled`.
    fn call<T>(
        &self,
        hook: Hook,
        arguments: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Vec<Value<'js>>>,
        take: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Option<Result<T, String>> {
        let function = self.hooks.function(hook)?;
        let answer = self.context.with(|ctx| {
            let outcome = self.settle(&ctx, function, arguments);
            let answer = match outcome {
                Ok(Outcome::Value(value)) => Ok(value),
                Ok(Outcome::Pending) => self.unsettled(&ctx, hook),
                Err(error) => Err(explain(&ctx, error)),
            };
            let answer = answer.and_then(|value| {
                take(&ctx, value).map_err(|error| format!("the answer of `{}`: {}", hook.name(), explain(&ctx, error)))
            });
            log_rejections();
            answer
        });
        Some(answer)
    }

    fn settle<'js>(
        &self,
        ctx: &Ctx<'js>,
        function: Persistent<Function<'static>>,
        arguments: impl FnOnce(&Ctx<'js>) -> rquickjs::Result<Vec<Value<'js>>>,
    ) -> rquickjs::Result<Outcome<'js>> {
        let value: Value = call(&function.restore(ctx)?, arguments(ctx)?)?;
        self.run_jobs(ctx)?;
        let Some(promise) = value.as_promise() else { return Ok(Outcome::Value(value)) };
        match promise.result::<Value>() {
            Some(result) => {
                // Its reason fails the turn, and is logged there.
                forget_rejection(ctx, promise.as_value());
                result.map(Outcome::Value)
            }
            None => Ok(Outcome::Pending),
        }
    }

    /// Runs jobs until none is left and `idle` starts no more. A bundle that never comes to an end uses up the CPU of
    /// its turn.
    fn run_jobs<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<()> {
        loop {
            while ctx.execute_pending_job() {}
            let Some(idle) = self.hooks.function(Hook::Idle) else { return Ok(()) };
            let more: Value = idle.restore(ctx)?.call(())?;
            if more.as_bool() != Some(true) {
                while ctx.execute_pending_job() {}
                return Ok(());
            }
        }
    }

    fn unsettled<'js>(&self, ctx: &Ctx<'js>, hook: Hook) -> Result<Value<'js>, String> {
        let Some(unsettled) = self.hooks.function(Hook::Unsettled) else {
            return Err(format!("`{}` waits for something that never comes", hook.name()));
        };
        let unsettled = unsettled.restore(ctx).map_err(|error| explain(ctx, error))?;
        unsettled.call((hook.name(),)).map_err(|error| explain(ctx, error))
    }
}

fn new_runtime() -> rquickjs::Result<(Runtime, Context)> {
    let runtime = Runtime::new_with_alloc(Trapping)?;
    runtime.set_max_stack_size(SCRIPT_STACK_BYTES);
    runtime.set_loader(Modules, Modules);
    runtime.set_host_promise_rejection_tracker(Some(Box::new(track_rejection)));
    let context = Context::full(&runtime)?;
    context.with(|ctx| flat::install(&ctx))?;
    Ok((runtime, context))
}

/// Changes the limit of the stack while the runtime is in use.
#[expect(unsafe_code, reason = "rquickjs changes it only from outside")]
fn set_stack_bytes(ctx: &Ctx<'_>, bytes: usize) {
    // SAFETY: the context lives, and so does its runtime.
    unsafe {
        qjs::JS_SetMaxStackSize(qjs::JS_GetRuntime(ctx.as_raw().as_ptr()), bytes as _);
    }
}

/// Runs a module of the engine itself. Its name is in stack traces.
pub(crate) fn run_own<'js>(ctx: &Ctx<'js>, name: &str, source: &str) -> rquickjs::Result<Module<'js, Evaluated>> {
    let (module, promise) = Module::declare(ctx.clone(), name, source)?.eval()?;
    promise.finish::<()>()?;
    Ok(module)
}

fn call<'js>(function: &Function<'js>, arguments: Vec<Value<'js>>) -> rquickjs::Result<Value<'js>> {
    let mut list = rquickjs::function::Args::new(function.ctx().clone(), arguments.len());
    list.push_args(arguments)?;
    function.call_arg(list)
}

/// Remembers a promise that was rejected without a handler, and forgets it when it gets one.
fn track_rejection<'js>(ctx: Ctx<'js>, promise: Value<'js>, reason: Value<'js>, is_handled: bool) {
    if is_handled {
        return forget_rejection(&ctx, &promise);
    }
    let text = describe(&reason);
    REJECTED.with_borrow_mut(|rejected| {
        if rejected.len() < MAX_REJECTIONS {
            rejected.push((Persistent::save(&ctx, promise), text));
        }
    });
}

fn forget_rejection<'js>(ctx: &Ctx<'js>, promise: &Value<'js>) {
    REJECTED.with_borrow_mut(|rejected| {
        let restored = |saved: &Persistent<Value<'static>>| saved.clone().restore(ctx).ok();
        rejected.retain(|(saved, _)| restored(saved).as_ref() != Some(promise));
    });
}

/// The number of rejected promises that a turn remembers for the log.
const MAX_REJECTIONS: usize = 16;

fn log_rejections() {
    for (_, reason) in REJECTED.take() {
        flat::log_line(2, &format!("a promise was rejected, and nothing handles it: {reason}"));
    }
}

/// The text of an error for logs: of an exception its name, message and stack, with positions in the sources.
pub(crate) fn explain(ctx: &Ctx<'_>, error: Error) -> String {
    match error {
        Error::Exception => describe(&ctx.catch()),
        error => error.to_string(),
    }
}

/// The text of a thrown value for logs. It never runs code of the bundle for anything but an `Error`.
pub(crate) fn describe(thrown: &Value<'_>) -> String {
    let mut text = String::new();
    let mut thrown = thrown.clone();
    // A cause may have a cause, and a circle of them is possible.
    for _ in 0..4 {
        let Some(exception) = thrown.as_object().cloned().and_then(Exception::from_object) else {
            text.push_str(&flat::display(&thrown));
            break;
        };
        let object = exception.as_object();
        let name = object.get::<_, String>("name").unwrap_or_else(|_| "Error".into());
        let _ = write!(text, "{name}: {}", exception.message().unwrap_or_default());
        let stack = exception.stack().unwrap_or_default();
        if !stack.trim().is_empty() {
            let _ = write!(text, "\n{}", stack.trim_end());
        }
        match object.get::<_, Value>("cause") {
            Ok(cause) if !cause.is_undefined() => {
                text.push_str("\ncaused by ");
                thrown = cause;
            }
            _ => break,
        }
    }
    // A getter of the error may have thrown.
    thrown.ctx().catch();
    with_source_positions(&text)
}

/// Resolves and loads `dormouse:host`, and no other module.
struct Modules;

impl Resolver for Modules {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        _base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        if name == flat::MODULE {
            return Ok(name.to_owned());
        }
        Err(Exception::throw_reference(ctx, &build::refused_import(name)))
    }
}

impl Loader for Modules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        Module::declare_def::<flat::HostModule, _>(ctx.clone(), name)
    }
}
