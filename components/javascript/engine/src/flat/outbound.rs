//! Requests to rooms, and posts. Only components of the connected worlds have them, and only rooms post.

use rquickjs::{Ctx, Exception, FromJs, IntoJs, Object, Value};

use super::{Problem, functions};
use crate::bindings::dormouse::room::outbox::{self, Destination, PostError, Room};
use crate::bindings::dormouse::room::rooms::{self, CallError};
use crate::bindings::dormouse::room::types::Request;
use crate::convert::Text;
use crate::engine::Engine;
use crate::hooks::World;

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "call"(namespace: Text, name: Text, request: Request) => {
            calls(&ctx)?;
            match rooms::call(&namespace.0, &name.0, &request) {
                Ok(response) => response.into_js(&ctx),
                Err(error) => call_problem(error).into_js(&ctx),
            }
        };
        turn "post"(to: To, request: Request) => {
            posts(&ctx)?;
            Ok(Problem::of(outbox::post(&to.0, &request), |error| match error {
                PostError::Denied => "denied",
                PostError::BadDestination => "bad-destination",
                PostError::TooLarge => "too-large",
                PostError::TooMany => "too-many",
            }))
        };
        turn "waitingPosts"() => {
            posts(&ctx)?;
            Ok(outbox::waiting())
        };
    );
    Ok(())
}

/// Fails in a component that does not import `rooms`.
fn calls(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    needs(ctx, World::is_connected, "\"connected-room\", or \"connected-router\" for a router")
}

/// Fails in a component that does not import `outbox`.
fn posts(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    needs(ctx, |world| world == World::ConnectedRoom, "\"connected-room\"")
}

fn needs(ctx: &Ctx<'_>, is_met: impl FnOnce(World) -> bool, worlds: &str) -> rquickjs::Result<()> {
    if Engine::with(|engine| is_met(engine.hooks().world)) {
        return Ok(());
    }
    let text = format!("this component reaches no other rooms: register its hooks with the world {worlds}");
    Err(Exception::throw_message(ctx, &text))
}

fn call_problem(error: CallError) -> &'static str {
    match error {
        CallError::Denied => "denied",
        CallError::NoSuchRoom => "no-such-room",
        CallError::Deadlock => "deadlock",
        CallError::TooLarge => "too-large",
        CallError::TooMany => "too-many",
        CallError::Failed => "failed",
        CallError::Overloaded => "overloaded",
        CallError::Timeout => "timeout",
    }
}

struct To(Destination);

impl<'js> FromJs<'js> for To {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<To> {
        let object = Object::from_js(ctx, value)?;
        if let Some(Text(origin)) = object.get("origin")? {
            return Ok(To(Destination::Origin(origin)));
        }
        let room = Room { namespace: object.get::<_, Text>("namespace")?.0, name: object.get::<_, Text>("name")?.0 };
        Ok(To(Destination::Room(room)))
    }
}
