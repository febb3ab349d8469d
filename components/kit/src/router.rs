//! The trait that a router's author implements.

use crate::bindings::router::exports::dormouse::room::router as wit;
use crate::{Request, Response};

pub use wit::{Decision, Destination};

/// Maps each request to a room. A router has no state.
pub trait Router {
    /// Decides where a request goes. Its path is relative to the configured base path.
    fn route(request: Request) -> Decision;
}

impl<R: Router> wit::Guest for R {
    fn route(request: Request) -> Decision {
        R::route(request)
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        Decision::Respond(response)
    }
}

/// Exports a type that implements [`Router`] as this component.
#[macro_export]
macro_rules! export_router {
    ($router:ident) => {
        // Only the component exports this name. A native build, for unit tests, needs only a use of the type, so that
        // the compiler does not report dead code.
        #[cfg(target_arch = "wasm32")]
        $crate::export::router::export_router!($router);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::export::router_is_used::<$router>();
    };
}

#[doc(hidden)]
pub const fn router_is_used<R: Router>() {}
