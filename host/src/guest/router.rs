//! A router: it maps a request to a room. Each request runs in its own instance, unless the operator lets instances
//! serve several, one at a time. The edge calls it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::router::dormouse::room::types;
use super::bindings::router::exports::dormouse::room::router as wit;
use super::bindings::router::{RouterComponent, RouterComponentPre};
use super::convert;
use super::epochs::Epochs;
use super::failure::TurnFailure;
use super::grants::RouterGrants;
use super::instance::new_store;
use super::linker::is_outbound;
use super::log_limiter::LogLimiter;
use super::long_turns::LongTurns;
use super::moment::Moment;
use super::outbound::Outbound;
use super::state::{StoreData, TurnUser};
use super::stopwatch::supervised;
use crate::config::Limits;
use crate::lock::Lock;
use crate::model::{CALLER, Declared, Request, Response};

/// A compiled and linked component of a router. Cheap to clone.
#[derive(Clone)]
pub struct CompiledRouter {
    pre: RouterComponentPre<StoreData>,
    limits: Arc<Limits>,
    epochs: Epochs,
    log_limiter: Arc<LogLimiter>,
    imports: Arc<[String]>,
    config: Arc<BTreeMap<String, String>>,
    declared: Arc<Declared>,
    hash: Arc<str>,
    /// How many requests an instance serves.
    reuse: u32,
    idle: Arc<Lock<Vec<Idle>>>,
    /// Places for idle instances of all routers.
    places: Arc<Semaphore>,
}

/// An instance of a router.
struct Running {
    store: Store<StoreData>,
    /// Absent before its first request.
    router: Option<RouterComponent>,
    served: u32,
}

/// An instance that waits for its next request.
struct Idle {
    running: Box<Running>,
    _place: OwnedSemaphorePermit,
}

/// The decision for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The answer of the router itself.
    Respond(Response),
    /// To the room `name` of `namespace`, as an HTTP request.
    Request {
        /// As in the configuration.
        namespace: String,
        /// The name of the room.
        name: String,
        /// The request for the room.
        request: Request,
    },
    /// To the room, as a WebSocket.
    Connect {
        /// As in the configuration.
        namespace: String,
        /// The name of the room.
        name: String,
        /// The request for the room.
        request: Request,
    },
}

impl CompiledRouter {
    pub(super) fn new(
        pre: InstancePre<StoreData>,
        limits: Arc<Limits>,
        epochs: Epochs,
        places: Arc<Semaphore>,
        imports: Arc<[String]>,
        declared: Declared,
        hash: String,
    ) -> wasmtime::Result<Self> {
        let log_limiter = Arc::new(LogLimiter::new(limits.log_lines_per_second));
        let config = Arc::default();
        Ok(CompiledRouter {
            pre: RouterComponentPre::new(pre)?,
            limits,
            epochs,
            log_limiter,
            imports,
            config,
            declared: Arc::new(declared),
            hash: hash.into(),
            reuse: 1,
            idle: Arc::default(),
            places,
        })
    }

    /// The hash of the component, which names its version.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Its declarations, such as the namespaces that it names.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Tells it the namespaces of the host: the value `namespaces` of its `config` lists them, ordered by name and
    /// separated by commas.
    pub fn with_namespaces<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = names.into_iter().collect::<Vec<_>>();
        names.sort_unstable();
        self.config = Arc::new([("namespaces".to_owned(), names.join(","))].into());
        self
    }

    /// Lets each instance serve so many requests, one at a time, unless one of them fails.
    pub fn with_reuse(self, requests: u32) -> Self {
        CompiledRouter { reuse: requests, idle: Arc::default(), ..self }
    }

    /// The interfaces that it imports: everything that it can read and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Whether it asks for the permissions in rooms. Only then [`route`](Self::route) needs grants.
    pub fn asks_for_grants(&self) -> bool {
        self.imports.iter().any(|import| import.starts_with("dormouse:room/grants@"))
    }

    /// Whether it calls rooms. Only then [`route`](Self::route) needs the way to them.
    pub fn is_connected(&self) -> bool {
        self.imports.iter().any(|import| is_outbound(import))
    }

    /// Asks it for a decision. Of `request.access` it sees the claims. Without `grants` it sees no permission in any
    /// room, and without `outbound` its calls are denied.
    pub async fn route(
        &self,
        request: Request,
        grants: Option<Arc<dyn RouterGrants>>,
        outbound: Option<Arc<dyn Outbound>>,
        moment: Moment,
        long_turns: &LongTurns,
    ) -> Result<Decision, TurnFailure> {
        let router = self.clone();
        long_turns.run(Box::pin(async move { router.call(request, grants, outbound, moment).await }), || {}).await
    }

    async fn call(
        &self,
        mut request: Request,
        grants: Option<Arc<dyn RouterGrants>>,
        outbound: Option<Arc<dyn Outbound>>,
        moment: Moment,
    ) -> Result<Decision, TurnFailure> {
        let mut running = self.instance();
        let Running { store, router, .. } = &mut *running;
        let data = store.data_mut();
        data.begin(moment, None);
        data.config = self.config.clone();
        data.turn_user = TurnUser::OfRouted(std::mem::take(&mut request.access), grants);
        data.call_budget.outbound = outbound.clone();
        store.set_epoch_deadline(2);
        let stopwatch = store.data().meter.stopwatch.clone();
        let routed = {
            let route = pin!(async {
                let router = match router {
                    Some(router) => router,
                    None => router.insert(self.pre.instantiate_async(&mut *store).await?),
                };
                router.dormouse_room_router().call_route(&mut *store, &convert::request(request)).await
            });
            supervised(stopwatch, self.limits.turn_calls_timeout, outbound.as_deref(), route).await
        };
        self.log_limiter.report_dropped();
        match routed {
            Ok(decision) => {
                self.keep(running);
                Ok(decide(decision))
            }
            Err(error) => Err(running.store.data().trapped(&error)),
        }
    }

    /// An idle instance, or a new one.
    fn instance(&self) -> Box<Running> {
        if let Some(Idle { running, .. }) = self.idle.lock().pop() {
            return running;
        }
        let store = new_store(self.pre.engine(), &self.limits, &self.epochs, &self.log_limiter);
        Box::new(Running { store, router: None, served: 0 })
    }

    /// Keeps an instance for its next request, if it may serve one and there is a place. Memory never shrinks, so one
    /// that has used half of its memory is dropped before a request fails for the lack of it.
    fn keep(&self, mut running: Box<Running>) {
        running.served = running.served.saturating_add(1);
        let data = running.store.data_mut();
        // A router has no turn; this gives back what the request used.
        drop(data.end());
        if running.served >= self.reuse || data.meter.memory_now() > self.limits.memory_bytes / 2 {
            return;
        }
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.idle.lock().push(Idle { running, _place: place });
        }
    }
}

fn decide(decision: wit::Decision) -> Decision {
    match decision {
        wit::Decision::Respond(response) => Decision::Respond(convert::response(response)),
        wit::Decision::Request(to) => {
            Decision::Request { namespace: to.namespace, name: to.name, request: routed(to.request) }
        }
        wit::Decision::Connect(to) => {
            Decision::Connect { namespace: to.namespace, name: to.name, request: routed(to.request) }
        }
    }
}

/// The request that a router passes to a room. A router is not a room, so it must not set the caller. The edge adds the
/// user's access in the room.
fn routed(request: types::Request) -> Request {
    let mut request = convert::request_from(request);
    request.remove_header(CALLER);
    request
}
