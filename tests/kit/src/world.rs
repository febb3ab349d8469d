//! What is around a room under test: other rooms and servers, played by closures of the test.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use dormouse::guest::{CallError, Outside, PostError, Waited};
use dormouse::model::{Address, Destination, Request, Response};
use dormouse::outbound::FetchError;

type OtherRooms = Box<dyn FnMut(&Address, Request) -> Result<Response, CallError> + Send>;
type Servers = Box<dyn FnMut(&str, Request) -> Result<Response, FetchError> + Send>;

/// The world around one room. What is not played is denied.
#[derive(Default)]
pub(crate) struct World {
    rooms: Mutex<Option<OtherRooms>>,
    servers: Mutex<Option<Servers>>,
}

impl World {
    pub(crate) fn play_rooms(
        self: &Arc<Self>,
        play: impl FnMut(&Address, Request) -> Result<Response, CallError> + Send + 'static,
    ) {
        *self.rooms.lock().expect("no holder of this lock panics") = Some(Box::new(play));
    }

    pub(crate) fn play_servers(
        self: &Arc<Self>,
        play: impl FnMut(&str, Request) -> Result<Response, FetchError> + Send + 'static,
    ) {
        *self.servers.lock().expect("no holder of this lock panics") = Some(Box::new(play));
    }
}

impl Outside for World {
    fn call(
        &self,
        _: u64,
        _: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>> {
        let mut rooms = self.rooms.lock().expect("no holder of this lock panics");
        let answered = match (rooms.as_mut(), Address::new(namespace, name)) {
            (None, _) => Err(CallError::Denied),
            (_, Err(_)) => Err(CallError::NoSuchRoom),
            (Some(play), Ok(address)) => play(&address, request),
        };
        Box::pin(async { Ok(answered) })
    }

    fn fetch(&self, _: u64, _: Instant, origin: String, request: Request) -> Waited<Result<Response, FetchError>> {
        let mut servers = self.servers.lock().expect("no holder of this lock panics");
        let answered = match servers.as_mut() {
            Some(play) => play(&origin, request),
            None => Err(FetchError::Denied(origin)),
        };
        Box::pin(async { Ok(answered) })
    }

    fn destination(&self, destination: Destination) -> Result<Destination, PostError> {
        let rooms = self.rooms.lock().expect("no holder of this lock panics").is_some();
        let servers = self.servers.lock().expect("no holder of this lock panics").is_some();
        match destination {
            Destination::Room(_) if !rooms => Err(PostError::Denied),
            Destination::Origin(_) if !servers => Err(PostError::Denied),
            allowed => Ok(allowed),
        }
    }
}
