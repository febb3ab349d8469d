//! `rooms`: calls to other rooms, answered during the turn.

use wasmtime::error::Context as _;

use crate::guest::bindings::room::dormouse::room::rooms::{self, CallError, Request, Response};
use crate::guest::state::StoreData;
use crate::guest::{convert, outbound};
use crate::limits;

impl rooms::Host for StoreData {
    async fn call(
        &mut self,
        namespace: String,
        name: String,
        request: Request,
    ) -> wasmtime::Result<Result<Response, CallError>> {
        let until = match self.call_budget.calls.take(&self.limits) {
            Ok(until) => until,
            Err(outbound::NoMoreCalls) => return Ok(Err(CallError::TooMany)),
        };
        if request.body.len() > limits::CALL_BYTES {
            return Ok(Err(CallError::TooLarge));
        }
        let Some(outbound) = &self.call_budget.outbound else { return Ok(Err(CallError::Denied)) };
        if !outbound.may_wait_for_rooms() {
            return Ok(Err(CallError::Overloaded));
        }
        let call = outbound.call(self.call_budget.after, until, &namespace, &name, convert::request_from(request));
        let answered = call.await.context("a call to another room")?;
        Ok(answered.map(convert::response_to).map_err(to_wit))
    }
}

fn to_wit(error: outbound::CallError) -> CallError {
    match error {
        outbound::CallError::Denied => CallError::Denied,
        outbound::CallError::NoSuchRoom => CallError::NoSuchRoom,
        outbound::CallError::Deadlock => CallError::Deadlock,
        outbound::CallError::TooLarge => CallError::TooLarge,
        outbound::CallError::TooMany => CallError::TooMany,
        outbound::CallError::Failed => CallError::Failed,
        outbound::CallError::Overloaded => CallError::Overloaded,
        outbound::CallError::Timeout => CallError::Timeout,
    }
}
