//! `rooms`: calls to other rooms, answered during the turn.

use wasmtime::error::Context as _;

use crate::config;
use crate::guest::bindings::reach::dormouse::room::rooms::{self, CallError, Request, Response};
use crate::guest::state::Host;
use crate::guest::{convert, outside};

impl rooms::Host for Host {
    async fn call(
        &mut self,
        namespace: String,
        name: String,
        request: Request,
    ) -> wasmtime::Result<Result<Response, CallError>> {
        let until = match self.reach.calls.take(&self.limits) {
            Ok(until) => until,
            Err(outside::NoMoreCalls) => return Ok(Err(CallError::TooMany)),
        };
        if request.body.len() > config::CALL_BYTES {
            return Ok(Err(CallError::TooLarge));
        }
        let Some(outside) = &self.reach.outside else { return Ok(Err(CallError::Denied)) };
        if !outside.may_wait_for_rooms() {
            return Ok(Err(CallError::Overloaded));
        }
        let call = outside.call(self.reach.after, until, &namespace, &name, convert::request_from(request));
        let answered = call.await.context("a call to another room")?;
        Ok(answered.map(convert::response_to).map_err(to_wit))
    }
}

fn to_wit(error: outside::CallError) -> CallError {
    match error {
        outside::CallError::Denied => CallError::Denied,
        outside::CallError::NoSuchRoom => CallError::NoSuchRoom,
        outside::CallError::Deadlock => CallError::Deadlock,
        outside::CallError::TooLarge => CallError::TooLarge,
        outside::CallError::TooMany => CallError::TooMany,
        outside::CallError::Failed => CallError::Failed,
        outside::CallError::Overloaded => CallError::Overloaded,
        outside::CallError::Timeout => CallError::Timeout,
    }
}
