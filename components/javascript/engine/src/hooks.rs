//! The hooks that a bundle registers with `serve`: its event handlers, and what they say about the component.

use std::cell::RefCell;

use rquickjs::{Ctx, Exception, Function, Object, Persistent, Value};

/// A function that a bundle may give. The order is that of `NAMES`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Hook {
    Wake,
    Connect,
    Message,
    Close,
    Timer,
    Request,
    Route,
    ExportUser,
    EraseUser,
    Migrate,
    Idle,
    Unsettled,
}

const NAMES: [&str; 12] = [
    "wake",
    "connect",
    "message",
    "close",
    "timer",
    "request",
    "route",
    "exportUser",
    "eraseUser",
    "migrate",
    "idle",
    "unsettled",
];

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// The kind of component, which decides what it may import.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    Room,
    ConnectedRoom,
    Router,
    ConnectedRouter,
}

impl World {
    pub(crate) fn name(self) -> &'static str {
        match self {
            World::Room => "room",
            World::ConnectedRoom => "connected-room",
            World::Router => "router",
            World::ConnectedRouter => "connected-router",
        }
    }

    pub(crate) fn is_router(self) -> bool {
        matches!(self, World::Router | World::ConnectedRouter)
    }

    /// Whether it may call rooms.
    pub(crate) fn is_connected(self) -> bool {
        matches!(self, World::ConnectedRoom | World::ConnectedRouter)
    }

    fn parse(name: &str) -> Option<World> {
        let all = [World::Room, World::ConnectedRoom, World::Router, World::ConnectedRouter];
        all.into_iter().find(|world| world.name() == name)
    }
}

pub(crate) struct Hooks {
    functions: [Option<Persistent<Function<'static>>>; NAMES.len()],
    pub(crate) world: World,
    /// The version of the data, of a bundle that migrates.
    pub(crate) data_version: Option<u32>,
    /// Whether the bundle sends requests to servers.
    pub(crate) outbound: bool,
}

thread_local! {
    static REGISTERED: RefCell<Option<Hooks>> = const { RefCell::new(None) };
}

impl Hooks {
    /// Registers the hooks: `serve` of `dormouse:host`.
    ///
    /// Fails: an exception for the bundle, if the hooks do not fit together.
    pub(crate) fn register<'js>(ctx: &Ctx<'js>, hooks: Object<'js>) -> rquickjs::Result<()> {
        if REGISTERED.with_borrow(Option::is_some) {
            return Err(Exception::throw_type(ctx, "serve: a bundle registers its hooks once"));
        }
        let mut functions = [const { None }; NAMES.len()];
        for (name, slot) in NAMES.iter().zip(&mut functions) {
            let value: Value = hooks.get(*name)?;
            if let Some(function) = value.as_function() {
                *slot = Some(Persistent::save(ctx, function.clone()));
            } else if !value.is_undefined() && !value.is_null() {
                return Err(Exception::throw_type(ctx, &format!("serve: the hook `{name}` is not a function")));
            }
        }
        let world = match hooks.get::<_, Option<String>>("world")? {
            None => World::Room,
            Some(name) => World::parse(&name).ok_or_else(|| {
                let text = format!(
                    "serve: the world \"{name}\" is none of \"room\", \"connected-room\", \"router\" and \
                     \"connected-router\""
                );
                Exception::throw_type(ctx, &text)
            })?,
        };
        let outbound = hooks.get::<_, Option<bool>>("outbound")?.unwrap_or(false);
        let hooks = Hooks { functions, world, data_version: data_version(ctx, &hooks)?, outbound };
        hooks.check(ctx)?;
        REGISTERED.set(Some(hooks));
        Ok(())
    }

    fn check(&self, ctx: &Ctx<'_>) -> rquickjs::Result<()> {
        let has = |hook: Hook| self.functions[hook as usize].is_some();
        let problem = if self.world.is_router() != has(Hook::Route) {
            "a router has the hook `route`, and a room has not"
        } else if self.world.is_router() && self.outbound {
            "a router reaches no servers: leave out `outbound`"
        } else if has(Hook::ExportUser) != has(Hook::EraseUser) {
            "`exportUser` and `eraseUser` belong together"
        } else if has(Hook::Migrate) != self.data_version.is_some() {
            "`migrate` and `dataVersion` belong together"
        } else {
            return Ok(());
        };
        Err(Exception::throw_type(ctx, &format!("serve: {problem}")))
    }

    /// The hooks that `serve` was called with.
    pub(crate) fn registered() -> Result<Hooks, String> {
        REGISTERED.take().ok_or_else(|| "the bundle has registered no hooks".to_owned())
    }

    pub(crate) fn are_registered() -> bool {
        REGISTERED.with_borrow(Option::is_some)
    }

    pub(crate) fn function(&self, hook: Hook) -> Option<Persistent<Function<'static>>> {
        self.functions[hook as usize].clone()
    }

    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.functions[hook as usize].is_some()
    }
}

fn data_version<'js>(ctx: &Ctx<'js>, hooks: &Object<'js>) -> rquickjs::Result<Option<u32>> {
    let value: Value = hooks.get("dataVersion")?;
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    match value.as_number() {
        Some(number) if number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0 => {
            Ok(Some(number as u32))
        }
        _ => Err(Exception::throw_type(ctx, "serve: `dataVersion` is not a whole number from 0 to 4,294,967,295")),
    }
}
