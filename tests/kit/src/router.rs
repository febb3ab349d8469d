//! A router component without a host around it.

use dormouse::guest::{Decision, Lane, Moment, RouterKind, TurnFailure};
use dormouse::model::Request;
use tokio::runtime::{Builder, Runtime};

use crate::ENGINE;

/// One router under test.
pub struct TestRouter {
    kind: RouterKind,
    lane: Lane,
    /// Only for the threads on which a request that takes long is finished.
    runtime: Runtime,
}

impl TestRouter {
    /// Load a router's component.
    pub fn new(wasm: &'static [u8]) -> Self {
        let load = ENGINE.router("the router under test", wasm);
        TestRouter {
            kind: load.unwrap_or_else(|error| panic!("{error}")),
            lane: Lane::default(),
            runtime: Builder::new_current_thread().build().expect("a runtime without IO always starts"),
        }
    }

    /// The interfaces it imports: all that it can learn and do.
    pub fn imports(&self) -> &[String] {
        self.kind.imports()
    }

    /// Ask it where a request goes.
    pub fn try_route(&self, request: Request) -> Result<Decision, TurnFailure> {
        self.runtime.block_on(self.kind.route(request, Moment::default(), &self.lane))
    }

    /// As [`try_route`](Self::try_route); fails the test where the router does.
    pub fn route(&self, request: Request) -> Decision {
        self.try_route(request).unwrap_or_else(|failure| panic!("{failure}"))
    }
}
