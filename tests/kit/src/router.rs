//! A router component without a host around it.

use std::sync::Arc;

use dormouse::guest::{Decision, Lane, Moment, RouterKind, TurnFailure};
use dormouse::model::Request;

use crate::{ENGINE, drive};

/// One router under test.
pub struct TestRouter(RouterKind);

impl TestRouter {
    /// Load a router's component.
    pub fn new(wasm: &'static [u8]) -> Self {
        let load = ENGINE.router("the router under test", wasm);
        TestRouter(load.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The interfaces it imports: all that it can learn and do.
    pub fn imports(&self) -> &[String] {
        self.0.imports()
    }

    /// Ask it where a request goes.
    pub fn try_route(&self, request: Request) -> Result<Decision, TurnFailure> {
        let lane = Arc::new(Lane::default());
        drive(self.0.route(request, Moment::default(), &lane))
    }

    /// As [`try_route`](Self::try_route); fails the test where the router does.
    pub fn route(&self, request: Request) -> Decision {
        self.try_route(request).unwrap_or_else(|failure| panic!("{failure}"))
    }
}
