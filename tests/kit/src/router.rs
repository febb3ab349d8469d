//! A router under test, without a host.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::component::Source;
use crate::protocol::{self, Fields};
use crate::session::Session;
use crate::types::{Decision, Request, TurnFailure};
use crate::user::TestUser;

/// A router under test.
pub struct TestRouter {
    session: Mutex<Session>,
    imports: Vec<String>,
}

impl TestRouter {
    /// Loads the component of a router.
    #[track_caller]
    pub fn new(wasm: &'static [u8]) -> Self {
        Self::of(Source::Bytes(wasm))
    }

    /// Like [`new`](Self::new), with the component in a file. Fails the test if there is none.
    #[track_caller]
    pub fn of_file(file: impl Into<std::path::PathBuf>) -> Self {
        Self::of(Source::File(file.into()))
    }

    /// Like [`new`](Self::new), with the crate in a folder; see [`TestRoom::of_crate`](crate::TestRoom::of_crate).
    #[track_caller]
    pub fn of_crate(folder: impl Into<std::path::PathBuf>) -> Self {
        Self::of(Source::Crate(folder.into()))
    }

    #[track_caller]
    fn of(source: Source) -> Self {
        match Session::open(source, "open_router", "the router under test") {
            Ok((session, mut opened)) => match opened.read("imports") {
                Ok(imports) => TestRouter { session: Mutex::new(session), imports },
                Err(error) => panic!("{error}"),
            },
            Err(error) => panic!("{error}"),
        }
    }

    /// Tells it the namespaces, as a host does with those of its configuration.
    #[track_caller]
    pub fn with_namespaces<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let command = json!({ "do": "namespaces", "names": names.into_iter().collect::<Vec<_>>() });
        let result = self.session.lock().unwrap_or_else(PoisonError::into_inner).command(&command);
        match result {
            Ok(_) => self,
            Err(error) => panic!("{error}"),
        }
    }

    /// The interfaces that it imports: everything that it can read and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Asks it for a decision.
    #[track_caller]
    pub fn try_route(&self, request: Request) -> Result<Decision, TurnFailure> {
        self.decide(&json!({ "do": "route", "request": protocol::request(&request) }))
    }

    /// Asks it for a decision about a request of any user, with claims, and with permissions in rooms.
    #[track_caller]
    pub fn route_as(&self, user: impl Into<TestUser>, request: Request) -> Decision {
        let user = user.into();
        let request = protocol::request(&request.by(user.user.clone()));
        let (claims, grants) = (user.claims(), user.grants());
        match self.decide(&json!({ "do": "route", "request": request, "claims": claims, "grants": grants })) {
            Ok(decision) => decision,
            Err(failure) => panic!("{failure}"),
        }
    }

    #[track_caller]
    fn decide(&self, command: &Value) -> Result<Decision, TurnFailure> {
        let result = self.session.lock().unwrap_or_else(PoisonError::into_inner).turn(command);
        match result.map(|result| result.map(Fields::decision)) {
            Ok(Ok(Ok(decision))) => Ok(decision),
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(Err(error))) | Err(error) => panic!("{error}"),
        }
    }

    /// Like [`try_route`](Self::try_route), but fails the test if the router fails.
    #[track_caller]
    pub fn route(&self, request: Request) -> Decision {
        match self.try_route(request) {
            Ok(decision) => decision,
            Err(failure) => panic!("{failure}"),
        }
    }
}
