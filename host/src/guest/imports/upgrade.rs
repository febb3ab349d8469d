//! `upgrade`: the answer to a client that asks to connect.

use crate::guest::bindings::room::dormouse::room::types::Response;
use crate::guest::bindings::room::dormouse::room::upgrade::{self, AnswerError};
use crate::guest::convert;
use crate::guest::state::StoreData;
use crate::limits;

impl upgrade::Host for StoreData {
    fn answer(&mut self, response: Response) -> wasmtime::Result<Result<(), AnswerError>> {
        if !self.is_connecting {
            return Ok(Err(AnswerError::NoClient));
        }
        let is_sent = (200..600).contains(&response.status)
            && response.headers.len() <= limits::RESPONSE_HEADERS
            && response.body.len() <= limits::RESPONSE_BYTES;
        if !is_sent {
            return Ok(Err(AnswerError::BadAnswer));
        }
        self.count_output(response.body.len())?;
        self.connect_answer = Some(convert::response(response));
        Ok(Ok(()))
    }
}
