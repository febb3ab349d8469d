//! The module `dormouse:host`: the contract as flat functions, which `host.d.ts` in this crate describes.
//!
//! Each file has the functions of one part of the contract. A function that needs a room begins with `in_turn`, because
//! there is none while the top level of a bundle runs.

mod context;
mod natives;
mod outbound;
pub(crate) mod sockets;
pub(crate) mod sql;
mod storage;
mod timers;
mod values;
mod web;

use std::cell::RefCell;

use rquickjs::module::{Declarations, Exports, ModuleDef};
use rquickjs::{Ctx, Exception, IntoJs, Object, Persistent, Value, qjs};

use crate::bindings::dormouse::room::context::{Level, log};
use crate::engine::{is_building, with_source_positions};
use crate::{build, hooks};

pub(crate) use natives::take as take_natives;

/// The name by which a bundle imports the functions.
pub(crate) const MODULE: &str = "dormouse:host";

thread_local! {
    static FUNCTIONS: RefCell<Option<Persistent<Object<'static>>>> = const { RefCell::new(None) };
}

/// Adds functions to an object. `turn` functions fail while the top level runs.
macro_rules! functions {
    ($object:expr, $ctx:ident; $($kind:ident $name:literal($($argument:ident: $type:ty),*) => $body:expr;)*) => {
        $({
            let function = |$ctx: rquickjs::Ctx<'js>, $($argument: $type),*| {
                functions!(@check $kind, $ctx, $name);
                let result: rquickjs::Result<_> = $body;
                result
            };
            $object.set($name, rquickjs::Function::new($object.ctx().clone(), function)?.with_name($name)?)?;
        })*
    };
    (@check turn, $ctx:ident, $name:literal) => { $crate::flat::in_turn(&$ctx, concat!("host.", $name))? };
    (@check any, $ctx:ident, $name:literal) => { let _ = &$ctx; };
}
pub(crate) use functions;

/// Makes the functions. They are the globals' until `take_natives` has run, and then only the module has them.
pub(crate) fn install<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<()> {
    let object = Object::new(ctx.clone())?;
    functions!(object, ctx;
        any "serve"(hooks: Object<'js>) => {
            if !is_building() {
                return Err(Exception::throw_type(&ctx, "serve: only the top level of a bundle registers hooks"));
            }
            hooks::Hooks::register(&ctx, hooks)
        };
        any "building"() => Ok(is_building());
    );
    context::install(&object)?;
    storage::install(&object)?;
    sql::install(&object)?;
    sockets::install(&object)?;
    timers::install(&object)?;
    outbound::install(&object)?;
    web::install(&object)?;
    values::install(&object)?;
    ctx.globals().set("__host", object.clone())?;
    ctx.globals().set("__native", natives::make(ctx)?)?;
    FUNCTIONS.set(Some(Persistent::save(ctx, object)));
    Ok(())
}

/// The module `dormouse:host`.
pub(crate) struct HostModule;

impl ModuleDef for HostModule {
    fn declare<'js>(declarations: &Declarations<'js>) -> rquickjs::Result<()> {
        for name in functions_of(declarations.module().ctx())?.keys::<String>() {
            declarations.declare(name?)?;
        }
        Ok(())
    }

    fn evaluate<'js>(ctx: &Ctx<'js>, exports: &Exports<'js>) -> rquickjs::Result<()> {
        for entry in functions_of(ctx)?.props::<String, Value>() {
            let (name, function) = entry?;
            exports.export(name, function)?;
        }
        Ok(())
    }
}

fn functions_of<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let functions = FUNCTIONS.with_borrow(Clone::clone);
    functions.ok_or_else(|| Exception::throw_internal(ctx, "the engine has no functions"))?.restore(ctx)
}

/// Fails while the top level runs: there is no room yet, and every room would begin with the same answer.
pub(crate) fn in_turn(ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<()> {
    if !is_building() {
        return Ok(());
    }
    let text = format!(
        "{name}: not available while the module is loaded; the top level runs once, when the component is built, so use \
         it in an event or in the constructor"
    );
    Err(Exception::throw_message(ctx, &text))
}

/// The outcome of a function that may fail: `null`, or the name of the problem.
pub(crate) struct Problem(pub(crate) Option<&'static str>);

impl Problem {
    pub(crate) fn of<E>(result: Result<(), E>, name: impl FnOnce(E) -> &'static str) -> Problem {
        Problem(result.err().map(name))
    }
}

impl<'js> IntoJs<'js> for Problem {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match self.0 {
            Some(name) => name.into_js(ctx),
            None => Ok(Value::new_null(ctx.clone())),
        }
    }
}

/// Writes a line to the log of the operator, or to that of the build. 0 is `debug`, 3 and above `error`.
pub(crate) fn log_line(level: u32, line: &str) {
    let line = with_source_positions(line);
    if is_building() {
        build::log_line(["debug", "info", "warn", "error"][level.min(3) as usize], &line);
        return;
    }
    log([Level::Debug, Level::Info, Level::Warn, Level::Error][level.min(3) as usize], &line);
}

/// A value as a text, without running code of the bundle. A lone surrogate becomes U+FFFD.
pub(crate) fn display(value: &Value<'_>) -> String {
    if value.is_object() {
        return "[object]".into();
    }
    if value.is_symbol() {
        return "[symbol]".into();
    }
    with_utf8(value, |bytes| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => replace_surrogates(bytes),
    })
    .unwrap_or_default()
}

/// Lends the bytes of a primitive value as a string. QuickJS encodes a lone surrogate as if it were a character, in
/// three bytes that are not UTF-8.
#[expect(unsafe_code, reason = "rquickjs gives only strings that are UTF-8")]
pub(crate) fn with_utf8<T>(value: &Value<'_>, work: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let ctx = value.ctx().as_raw().as_ptr();
    let mut length = 0;
    // SAFETY: the text is valid until it is freed, and `work` cannot keep it.
    unsafe {
        let text = qjs::JS_ToCStringLen(ctx, &mut length, value.as_raw());
        if text.is_null() {
            return None;
        }
        let result = work(std::slice::from_raw_parts(text.cast::<u8>(), length as usize));
        qjs::JS_FreeCString(ctx, text);
        Some(result)
    }
}

fn replace_surrogates(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                break;
            }
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push(char::REPLACEMENT_CHARACTER);
                let is_surrogate = invalid.len() >= 3 && invalid[0] == 0xED && invalid[1] >= 0xA0;
                rest = &invalid[if is_surrogate { 3 } else { 1 }..];
            }
        }
    }
    text
}
