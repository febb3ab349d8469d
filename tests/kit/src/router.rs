//! A router component without a host around it.

use dormouse::guest::{Decision, Lane, Moment, RouterKind, TurnFailure};
use dormouse::model::Request;

use crate::component::ENGINE;
use crate::drive;

/// One router under test.
pub struct TestRouter {
    kind: RouterKind,
    /// Where a request that takes long is finished.
    lane: Lane,
}

impl TestRouter {
    /// Load a router's component.
    pub fn new(wasm: &'static [u8]) -> Self {
        let load = ENGINE.router("the router under test", wasm);
        TestRouter {
            kind: load.unwrap_or_else(|error| panic!("{error}")),
            lane: Lane::start().expect("a few threads can be had"),
        }
    }

    /// Tell it which namespaces there are, as a host does with those of its configuration.
    pub fn with_namespaces<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        TestRouter { kind: self.kind.with_namespaces(names), ..self }
    }

    /// The interfaces it imports: all that it can learn and do.
    pub fn imports(&self) -> &[String] {
        self.kind.imports()
    }

    /// Ask it where a request goes.
    pub fn try_route(&self, request: Request) -> Result<Decision, TurnFailure> {
        drive(self.kind.route(request, Moment::default(), &self.lane))
    }

    /// As [`try_route`](Self::try_route); fails the test where the router does.
    pub fn route(&self, request: Request) -> Decision {
        self.try_route(request).unwrap_or_else(|failure| panic!("{failure}"))
    }
}
