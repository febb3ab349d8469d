//! `outbox`: requests that are sent after the turn has committed.

use crate::guest::bindings::room::dormouse::room::outbox::{self, Destination, PostError, Request};
use crate::guest::state::StoreData;
use crate::guest::{convert, outbound};
use crate::limits;
use crate::model::{self, Address};

impl outbox::Host for StoreData {
    fn post(&mut self, destination: Destination, request: Request) -> wasmtime::Result<Result<(), PostError>> {
        let destination = match destination {
            Destination::Room(room) => match Address::new(&room.namespace, &room.name) {
                Ok(address) => model::Destination::Room(address),
                Err(_) => return Ok(Err(PostError::BadDestination)),
            },
            Destination::Origin(origin) => model::Destination::Origin(origin.trim_end_matches('/').to_owned()),
        };
        let request = convert::request_from(request);
        let bytes = size(&request);
        if bytes > limits::POST_BYTES {
            return Ok(Err(PostError::TooLarge));
        }
        let Some(outbound) = &self.call_budget.outbound else { return Ok(Err(PostError::Denied)) };
        let destination = match outbound.destination(destination) {
            Ok(destination) => destination,
            Err(error) => return Ok(Err(to_wit(error))),
        };
        let waiting = self.resources()?.posts_waiting + self.turn.posts.len();
        if waiting >= limits::POSTS || self.usage.write_bytes + bytes > limits::TURN_WRITE_BYTES {
            return Ok(Err(PostError::TooMany));
        }
        self.usage.write_bytes += bytes;
        self.turn.posts.push((destination, request));
        Ok(Ok(()))
    }

    fn waiting(&mut self) -> wasmtime::Result<u32> {
        let waiting = self.resources()?.posts_waiting + self.turn.posts.len();
        Ok(u32::try_from(waiting).unwrap_or(u32::MAX))
    }
}

/// The stored size of a request, in bytes.
fn size(request: &model::Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
    let user = request.user.as_ref().map_or(0, |user| user.id.len() + user.name.len());
    let query = request.query.as_ref().map_or(0, String::len);
    request.method.len() + request.path.len() + query + headers + user + request.body.len()
}

fn to_wit(error: outbound::PostError) -> PostError {
    match error {
        outbound::PostError::Denied => PostError::Denied,
        outbound::PostError::BadDestination => PostError::BadDestination,
        outbound::PostError::TooLarge => PostError::TooLarge,
        outbound::PostError::TooMany => PostError::TooMany,
    }
}
