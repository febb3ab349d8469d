//! Carries one post to its destination and reports the result to its room. It needs no state of the room, which may
//! sleep meanwhile.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Instrument;

use super::calls::request_from_room;
use super::error::RequestError;
use super::incoming::{Hops, Incoming};
use super::namespace::Namespace;
use super::posts::{Outcome, PostId, unanswered};
use super::shared::Shared;
use super::traced;
use crate::clock;
use crate::model::{Address, Destination, Post, PostNumber, Request};
use crate::outbound::FetchError;

impl Shared {
    /// Tries a post and reports the result to its room. It needs no state of the room, which may sleep meanwhile.
    pub(super) fn carry(self: &Arc<Self>, from: &Address, namespace: &Arc<Namespace>, number: PostNumber, post: Post) {
        let (shared, from, namespace) = (self.clone(), from.clone(), namespace.clone());
        let key = post.key.unwrap_or_else(|| self.store.post_key(&from, number));
        let tries = post.attempt + 1;
        let (destination, mut request) = (post.destination, request_from_room(post.request, &from, Some(key)));
        let carried = async move {
            let slot = shared.carriers.slot(from.namespace(), &destination).await;
            let telemetry = shared.telemetry.as_ref();
            let span = telemetry.map(|telemetry| traced::post(telemetry, &destination, tries, &mut request));
            let outcome = match destination {
                Destination::Room(to) => {
                    shared.post_to_room(&namespace, PostId { sender: from.clone(), number }, &to, request).await
                }
                Destination::Origin(origin) => shared.post_to_server(&namespace, &origin, request).await,
            };
            drop(slot);
            let label = match &outcome {
                Outcome::Accepted => "taken",
                Outcome::Refused(_) => "refused",
                Outcome::NotNow(_) => "not_now",
                Outcome::NotTried => "later",
            };
            if let Some(mut span) = span {
                match outcome {
                    Outcome::Accepted => span.succeed(),
                    _ => span.fail(label),
                }
            }
            shared.metrics.posts.get_or_create(&[("outcome", label)]).inc();
            // If the result cannot be delivered, the room finds the post again after the restart.
            let _ = shared.deliver(&from, Incoming::Posted { number, outcome });
        };
        self.runtime.spawn(carried.in_current_span());
    }

    async fn post_to_room(
        self: &Arc<Self>,
        namespace: &Namespace,
        post: PostId,
        to: &Address,
        request: Request,
    ) -> Outcome {
        if !namespace.calls.contains(to.namespace()) {
            return Outcome::NotNow("the configuration no longer allows it".into());
        }
        let (answer, answered) = oneshot::channel();
        if let Err(error) = self.deliver(to, Incoming::Request { request, post: Some(post), hops: Hops::NONE, answer })
        {
            return unanswered(&error);
        }
        match clock::timeout(self.limits.answer_timeout, answered).await {
            Ok(Ok(Ok(response))) if response.status < 500 => Outcome::Accepted,
            Ok(Ok(Ok(response))) => Outcome::NotNow(format!("it answered {}", response.status)),
            Ok(Ok(Err(error))) => unanswered(&error),
            Ok(Err(_)) => unanswered(&RequestError::Broken),
            Err(_) => Outcome::NotNow("it did not answer in time".into()),
        }
    }

    async fn post_to_server(&self, namespace: &Namespace, origin: &str, request: Request) -> Outcome {
        match self.outbound.fetch(&namespace.outbound, origin, request, self.limits.answer_timeout).await {
            Ok(response) => match response.status {
                status @ (408 | 425 | 429 | 500..) => Outcome::NotNow(format!("it answered {status}")),
                status @ 400..500 => Outcome::Refused(format!("it answered {status}")),
                _ => Outcome::Accepted,
            },
            Err(FetchError::Bad(problem)) => Outcome::Refused(problem.into()),
            Err(error) => Outcome::NotNow(error.to_string()),
        }
    }
}
