//! `outbox`: requests that are sent after the turn has committed.

use crate::config;
use crate::guest::bindings::reach::dormouse::room::outbox::{self, Destination, PostError, Request};
use crate::guest::state::Host;
use crate::guest::{convert, outside};
use crate::model::{self, Address};

impl outbox::Host for Host {
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
        if bytes > config::POST_BYTES {
            return Ok(Err(PostError::TooLarge));
        }
        let Some(outside) = &self.reach.outside else { return Ok(Err(PostError::Denied)) };
        let destination = match outside.destination(destination) {
            Ok(destination) => destination,
            Err(error) => return Ok(Err(to_wit(error))),
        };
        let waiting = self.lent()?.posts_waiting + self.changes.posts.len();
        if waiting >= config::POSTS || self.changes.write_bytes + bytes > config::TURN_WRITE_BYTES {
            return Ok(Err(PostError::TooMany));
        }
        self.changes.write_bytes += bytes;
        self.changes.posts.push((destination, request));
        Ok(Ok(()))
    }

    fn waiting(&mut self) -> wasmtime::Result<u32> {
        let waiting = self.lent()?.posts_waiting + self.changes.posts.len();
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

fn to_wit(error: outside::PostError) -> PostError {
    match error {
        outside::PostError::Denied => PostError::Denied,
        outside::PostError::BadDestination => PostError::BadDestination,
        outside::PostError::TooLarge => PostError::TooLarge,
        outside::PostError::TooMany => PostError::TooMany,
    }
}
