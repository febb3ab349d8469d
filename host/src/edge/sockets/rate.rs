//! The rate limit of one socket: how fast it may send, and when too fast becomes a flood.
//!
//! Each frame costs as much as a message. A fragment pays as it arrives, because a client may send fragments for ever
//! without completing a message. A message and a control frame pay when tungstenite returns them. Bytes have a limit of
//! their own.
//!
//! A client that is a little too fast gets an error for each refused message. A client that goes on at twice the rate
//! is flooding and is closed, because more errors would only cost more.
//!
//! A socket of a service may send as fast as the whole service.
//!
//! It knows no sockets: `websocket` asks it for each frame and closes by its verdict.

use std::sync::Arc;
use std::time::Instant;

use super::frames::Fragments;
use crate::config::Limits;
use crate::edge::admission::users::UserUsage;
use crate::limit_hits::Limit;
use crate::token_bucket::TokenBucket;

/// The rate limits of one socket and of its user.
pub(in crate::edge) struct SocketRateLimit {
    /// Absent if `messages_per_second` is 0, or for a service `service_messages_per_second`.
    own: Option<Own>,
    user: Arc<UserUsage>,
}

struct Own {
    messages: TokenBucket,
    /// How many messages may be refused before it is a flood.
    refusals: TokenBucket,
    /// Bytes of all kinds of frames: as many as the allowed messages would have at full length.
    bytes: TokenBucket,
    fragments: Fragments,
    /// Bytes that arrived and were not paid for yet, and the fragments among them.
    unpaid: (usize, u32),
}

/// The verdict on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum RateDecision {
    Yes,
    /// It is refused by this limit.
    NotNow(Limit),
    /// Too many were refused already.
    Flood,
}

impl SocketRateLimit {
    /// Starts with full buckets, for messages of up to `message_bytes`.
    pub(in crate::edge) fn new(limits: &Limits, message_bytes: usize, user: Arc<UserUsage>, now: Instant) -> Self {
        let per_second =
            if user.is_service() { limits.service_messages_per_second } else { limits.messages_per_second };
        let bytes = u32::try_from(message_bytes).unwrap_or(u32::MAX).saturating_mul(per_second);
        let own = (per_second > 0).then(|| Own {
            messages: TokenBucket::new(per_second, now),
            refusals: TokenBucket::new(per_second, now),
            bytes: TokenBucket::new(bytes, now),
            fragments: Fragments::default(),
            unpaid: (0, 0),
        });
        SocketRateLimit { own, user }
    }

    /// Judges a message of the client.
    pub(in crate::edge) fn message(&mut self, now: Instant) -> RateDecision {
        let refused = if self.own.as_mut().is_some_and(|own| !own.messages.take(now)) {
            if self.user.is_service() { Limit::ServiceMessages } else { Limit::Messages }
        } else if !self.user.spend_message(now) {
            self.user.rate_limit()
        } else {
            return RateDecision::Yes;
        };
        let is_flood = self.own.as_mut().is_some_and(|own| !own.refusals.take(now));
        if is_flood { RateDecision::Flood } else { RateDecision::NotNow(refused) }
    }

    /// Judges a frame that carries no message, such as a ping. False if it is a flood.
    pub(in crate::edge) fn control(&mut self, now: Instant) -> bool {
        self.own.as_mut().is_none_or(|own| own.messages.take(now) || own.refusals.take(now))
    }

    /// Bytes arrived, in frames of any kind.
    pub(in crate::edge) fn received(&mut self, bytes: &[u8]) {
        let Some(own) = &mut self.own else { return };
        own.unpaid.0 += bytes.len();
        own.unpaid.1 += own.fragments.count(bytes);
    }

    /// Pays for everything that arrived since the last call. False if that is a flood.
    pub(in crate::edge) fn pay(&mut self, now: Instant) -> bool {
        let Some(own) = &mut self.own else { return true };
        let (bytes, fragments) = std::mem::take(&mut own.unpaid);
        if bytes == 0 {
            return true;
        }
        let is_paid = (0..fragments).all(|_| own.messages.take(now) || own.refusals.take(now));
        is_paid && own.bytes.take_many(bytes as f64, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::{Auth, Config, Identity};
    use crate::edge::admission::users::Users;
    use crate::edge::subject::Subject;

    fn limit(messages_per_second: u32, messages_per_second_per_user: u32) -> (SocketRateLimit, Instant) {
        let limits = Limits { messages_per_second, messages_per_second_per_user, ..Limits::default() };
        limit_of(&Subject::User("ana".into()), &limits)
    }

    fn limit_of(subject: &Subject, limits: &Limits) -> (SocketRateLimit, Instant) {
        let identity = Identity { auth: Auth::Jwt, ..Identity::default() };
        let users = Users::new(&Config { identity, limits: limits.clone(), ..Config::default() });
        let now = clock::monotonic();
        (SocketRateLimit::new(limits, 1_000, users.usage_of(subject), now), now)
    }

    fn decisions(limit: &mut SocketRateLimit, now: Instant, count: usize) -> [usize; 3] {
        let decisions = (0..count).map(|_| limit.message(now)).collect::<Vec<_>>();
        let count = |is: fn(&RateDecision) -> bool| decisions.iter().filter(|verdict| is(verdict)).count();
        [
            count(|verdict| *verdict == RateDecision::Yes),
            count(|verdict| matches!(verdict, RateDecision::NotNow(_))),
            count(|verdict| *verdict == RateDecision::Flood),
        ]
    }

    #[test]
    fn excess_messages_are_refused_and_more_are_a_flood() {
        let (mut limit, now) = limit(5, 0);
        assert_eq!(decisions(&mut limit, now, 150), [50, 50, 50]);
    }

    #[test]
    fn a_user_has_one_rate_limit_for_all_sockets() {
        let (mut limit, now) = limit(5, 2);
        assert_eq!(decisions(&mut limit, now, 30), [20, 10, 0]);
        assert_eq!(limit.message(now), RateDecision::NotNow(Limit::MessagesPerUser));
    }

    #[test]
    fn pings_and_bytes_are_counted_as_well() {
        let (mut limit, now) = limit(5, 0);
        assert_eq!((0..150).filter(|_| limit.control(now)).count(), 100);
        limit.received(&text(true, 49_996));
        assert!(limit.pay(now));
        limit.received(&text(true, 0));
        assert!(!limit.pay(now));
    }

    #[test]
    fn each_fragment_costs_a_message_and_a_whole_message_costs_once() {
        let (mut limit, now) = limit(5, 0);
        for _ in 0..99 {
            limit.received(&text(false, 1));
        }
        assert!(limit.pay(now));
        // The last frame of a message pays as the message.
        limit.received(&text(true, 1).repeat(10));
        assert!(limit.pay(now) && limit.control(now) && !limit.control(now));
        limit.received(&text(false, 1));
        assert!(!limit.pay(now));
    }

    /// An unmasked frame.
    fn text(is_last: bool, length: u16) -> Vec<u8> {
        let begin = if is_last { 0x81 } else { 0x01 };
        let [high, low] = length.to_be_bytes();
        let header = if length < 126 { vec![begin, low] } else { vec![begin, 126, high, low] };
        [header, vec![b'x'; length.into()]].concat()
    }

    #[test]
    fn a_limit_of_zero_limits_nothing() {
        let (mut limit, now) = limit(0, 0);
        assert_eq!(decisions(&mut limit, now, 1_000), [1_000, 0, 0]);
        limit.received(&text(false, 0).repeat(1_000));
        assert!(limit.control(now) && limit.pay(now));
    }

    #[test]
    fn a_socket_of_a_service_is_as_fast_as_the_service() {
        let limits = Limits { messages_per_second: 1, service_messages_per_second: 20, ..Limits::default() };
        let (mut limit, now) = limit_of(&Subject::Service("backend".into()), &limits);
        assert_eq!(decisions(&mut limit, now, 300), [200, 100, 0]);
        assert_eq!(limit.message(now), RateDecision::NotNow(Limit::ServiceMessages));
    }
}
