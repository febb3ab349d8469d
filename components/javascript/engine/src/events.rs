//! The exports of the contract: each event becomes a call of the hook with its name.

use rquickjs::{Ctx, Exception, IntoJs, Object, Value};

use crate::bindings::dormouse::room::sockets::Socket;
use crate::bindings::dormouse::room::timers::Timer;
use crate::bindings::dormouse::room::types::{Message, Request, Response};
use crate::bindings::exports::dormouse::room::personal_data::{Erased, Exported};
use crate::bindings::exports::dormouse::room::room::Refusal;
use crate::bindings::exports::dormouse::room::router::{Decision, Destination};
use crate::bindings::exports::dormouse::room::{migration, personal_data, room, router};
use crate::convert::{Bytes, Text, status};
use crate::engine::Engine;
use crate::flat::sockets::leaving;
use crate::hooks::Hook;

struct Component;

#[expect(unsafe_code, reason = "the canonical ABI passes pointers")]
#[expect(unreachable_pub, reason = "generated")]
mod export {
    use super::Component;
    use crate::bindings;

    bindings::export!(Component with_types_in bindings);
}

/// Runs a hook whose answer does not matter. A bundle without the hook ignores the event.
fn notify(
    hook: Hook,
    arguments: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Vec<Value<'js>>>,
) -> Result<(), String> {
    Engine::with(|engine| engine.run(hook, arguments, |_, _| Ok(()))).unwrap_or(Ok(()))
}

impl room::Guest for Component {
    fn wake() -> Result<(), String> {
        notify(Hook::Wake, |_| Ok(Vec::new()))
    }

    fn on_connect(request: Request, socket: &Socket) -> Result<(), Refusal> {
        let id = socket.id().to_string();
        let answer = Engine::with(|engine| {
            engine.run(
                Hook::Connect,
                |ctx| Ok(vec![request.into_js(ctx)?, id.into_js(ctx)?]),
                |_, value| refusal(&value),
            )
        });
        match answer {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(refusal))) => Err(refusal),
            // The contract has no other way to fail this event, so the log says why.
            Some(Err(error)) => {
                crate::flat::log_line(3, &format!("connect: {error}"));
                Err(Refusal { status: 500, reason: "the room failed".into() })
            }
            None => Err(Refusal { status: 404, reason: "this room accepts no sockets".into() }),
        }
    }

    fn on_message(sender: &Socket, message: Message) -> Result<(), String> {
        let id = sender.id().to_string();
        notify(Hook::Message, |ctx| Ok(vec![id.into_js(ctx)?, message.into_js(ctx)?]))
    }

    fn on_close(socket: &Socket, code: u16, reason: String, clean: bool) -> Result<(), String> {
        let id = socket.id();
        leaving(socket, || {
            notify(Hook::Close, |ctx| {
                Ok(vec![id.to_string().into_js(ctx)?, code.into_js(ctx)?, reason.into_js(ctx)?, clean.into_js(ctx)?])
            })
        })
    }

    fn on_timer(timer: Timer) -> Result<(), String> {
        notify(Hook::Timer, |ctx| Ok(vec![timer.into_js(ctx)?]))
    }

    fn on_request(request: Request) -> Result<Response, String> {
        let answer = Engine::with(|engine| {
            engine.run(Hook::Request, |ctx| Ok(vec![request.into_js(ctx)?]), |_, value| value.get::<Response>())
        });
        answer.unwrap_or_else(|| Ok(Response { status: 404, headers: Vec::new(), body: Vec::new() }))
    }
}

fn refusal(value: &Value<'_>) -> rquickjs::Result<Option<Refusal>> {
    let Some(object) = value.as_object() else { return Ok(None) };
    let reason = object.get::<_, Option<Text>>("reason")?.map_or_else(String::new, |Text(reason)| reason);
    Ok(Some(Refusal { status: status(object)?, reason }))
}

impl<'js> IntoJs<'js> for Timer {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("name", self.name)?;
        object.set("at", self.at as f64)?;
        object.set("payload", Bytes(self.payload))?;
        object.set("attempt", self.attempt)?;
        Ok(object.into_value())
    }
}

impl router::Guest for Component {
    fn route(request: Request) -> Decision {
        let answer = Engine::with(|engine| {
            engine.run(Hook::Route, |ctx| Ok(vec![request.into_js(ctx)?]), |ctx, value| decision(ctx, &value))
        });
        match answer {
            Some(Ok(decision)) => decision,
            // A client gets a 500, as from any router that traps.
            Some(Err(error)) => {
                crate::flat::log_line(3, &format!("route: {error}"));
                Decision::Respond(Response { status: 500, headers: Vec::new(), body: Vec::new() })
            }
            None => Decision::Respond(Response { status: 404, headers: Vec::new(), body: Vec::new() }),
        }
    }
}

fn decision<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<Decision> {
    let object = value.as_object().ok_or_else(|| Exception::throw_type(ctx, "a decision is an object"))?;
    if let Some(response) = object.get::<_, Option<Response>>("respond")? {
        return Ok(Decision::Respond(response));
    }
    if let Some(destination) = object.get::<_, Option<Object>>("request")? {
        return Ok(Decision::Request(self::destination(&destination)?));
    }
    match object.get::<_, Option<Object>>("connect")? {
        Some(destination) => Ok(Decision::Connect(self::destination(&destination)?)),
        None => Err(Exception::throw_type(ctx, "a decision has `respond`, `request` or `connect`")),
    }
}

fn destination(object: &Object<'_>) -> rquickjs::Result<Destination> {
    Ok(Destination {
        namespace: object.get::<_, Text>("namespace")?.0,
        name: object.get::<_, Text>("name")?.0,
        request: object.get("request")?,
    })
}

impl personal_data::Guest for Component {
    fn export_user(user: String, after: Option<String>) -> Result<Exported, String> {
        let answer = run_part(Hook::ExportUser, user, after, |part, next| {
            let items = part.get::<_, Vec<Text>>("items")?.into_iter().map(|Text(item)| item).collect();
            Ok(Exported { items, next })
        });
        answer.unwrap_or_else(|| Ok(Exported { items: Vec::new(), next: None }))
    }

    fn erase_user(user: String, after: Option<String>) -> Result<Erased, String> {
        let answer =
            run_part(Hook::EraseUser, user, after, |part, next| Ok(Erased { items: part.get("items")?, next }));
        answer.unwrap_or(Ok(Erased { items: 0, next: None }))
    }
}

fn run_part<T>(
    hook: Hook,
    user: String,
    after: Option<String>,
    take: impl FnOnce(&Object<'_>, Option<String>) -> rquickjs::Result<T>,
) -> Option<Result<T, String>> {
    Engine::with(|engine| {
        engine.run(
            hook,
            |ctx| Ok(vec![user.into_js(ctx)?, after.into_js(ctx)?]),
            |ctx, value| {
                let part = value.as_object().ok_or_else(|| Exception::throw_type(ctx, "an object is expected"))?;
                take(part, part.get::<_, Option<Text>>("next")?.map(|Text(next)| next))
            },
        )
    })
}

impl migration::Guest for Component {
    fn data_version() -> u32 {
        Engine::with(|engine| engine.hooks().data_version.unwrap_or(0))
    }

    fn migrate(from: u32) -> Result<(), String> {
        notify(Hook::Migrate, |ctx| Ok(vec![from.into_js(ctx)?]))
    }
}
