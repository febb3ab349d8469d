//! The access of one open socket to its room: asked for each message, renewed with each new token, and asked
//! for again before an answer of the operator's server ends.
//!
//! It knows no frames: `websocket` and `event_stream` poll it, and close or tell the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::Sleep;

use super::authorizer::{Answer, Authorizer, NoAnswer, Question};
use super::control::{AccessControl, Admitted};
use super::policy::{self, Denied, Reason};
use crate::edge::identity::verified::Verified;
use crate::model::{Address, Claims, Permission, Permissions, UserAccess};
use crate::{clock, random};

/// The shortest and the longest pause before the server is asked again that gave no decision.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The access of an open socket to its room.
pub(in crate::edge) struct SocketAccess {
    control: Arc<AccessControl>,
    room: Address,
    permissions: Permissions,
    /// As the room knows them.
    claims: Claims,
    /// Present where the operator's server decides.
    answered: Option<Box<Answered>>,
}

/// An answer of the operator's server, and the next one.
struct Answered {
    authorizer: Arc<Authorizer>,
    question: Question,
    answer: Answer,
    /// When to ask again, or while the question is out, when the answer ends.
    alarm: Pin<Box<Sleep>>,
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Answer, NoAnswer>> + Send + Sync>>;

/// The effect of a new token or a new answer on an open socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Renewed {
    /// The user may do what was allowed before, and has the same claims.
    Same,
    /// The user may do what was allowed before, and has other claims.
    OtherClaims,
    /// The user may stay, with other permissions.
    Changed,
    /// The user may not read any more.
    MayNotRead,
    /// The user may read, but not stay on the list of those who are present.
    MayNotBeListed,
    /// The last answer has ended, and there is no new one.
    Unknown,
}

impl SocketAccess {
    /// The access of the socket of a user who was admitted.
    pub(in crate::edge) fn new(
        control: Arc<AccessControl>,
        room: Address,
        user: &Verified,
        admitted: &Admitted,
    ) -> Self {
        let authorizer = control.authorizer_of(&room, user).cloned();
        let answered = authorizer.zip(admitted.answer()).map(|(authorizer, answer)| {
            let question = Question::new(user.room_user(), user.claims.clone(), room.clone());
            let alarm = Box::pin(clock::timer(until(ask_at(answer, random::jitter()))));
            Box::new(Answered { authorizer, question, answer, alarm, asking: None })
        });
        SocketAccess { control, room, permissions: admitted.permissions, claims: user.claims.clone(), answered }
    }

    /// The claims and permissions, for the room.
    pub(in crate::edge) fn of_user(&self) -> UserAccess {
        UserAccess::new(self.claims.clone(), self.permissions)
    }

    /// When the answer of the operator's server ends; absent where the grants of a token decide.
    pub(in crate::edge) fn ends_at(&self) -> Option<Instant> {
        self.answered.as_ref().map(|answered| answered.answer.ends_at)
    }

    /// The room as revocations name it.
    pub(in crate::edge) fn room(&self) -> String {
        self.control.policy().spelled(&self.room)
    }

    /// The frame that tells a new client its permissions. Absent where clients do not expect it, and in an open room
    /// for a user without further permissions.
    pub(in crate::edge) fn first_frame(&self) -> Option<String> {
        let is_usual =
            self.permissions == Permissions::OPEN && !self.control.policy().is_granted(self.room.namespace());
        if is_usual { None } else { self.frame() }
    }

    /// The frame that tells the client its permissions after they changed; absent where clients do not expect it.
    pub(in crate::edge) fn frame(&self) -> Option<String> {
        let names = self.permissions.iter().map(Permission::name).collect::<Vec<_>>();
        let tells_clients = self.control.policy().tells_clients(self.room.namespace());
        tells_clients.then(|| json!({ "type": "permissions", "permissions": names }).to_string())
    }

    /// Decides whether the user may send one more message. This runs for each message, so that it only counts and logs
    /// refusals. `service` acts for the user, if it is one.
    pub(in crate::edge) fn check_message(&self, user: &str, service: Option<&str>) -> Result<(), Permission> {
        let missing = self.control.policy().to_send(self.room.namespace());
        if self.permissions.has(missing) {
            return Ok(());
        }
        let reason = if self.answered.is_some() { Reason::NotAuthorized } else { Reason::NotInGrant };
        self.deny(user, service, missing, reason);
        Err(missing)
    }

    /// The user has shown a new token. Its grants hold from now on. Where the operator's server decides, it is asked
    /// about other claims, and [`poll`](Self::poll) tells the effect.
    pub(in crate::edge) fn renew(&mut self, user: &Verified) -> Renewed {
        let before = std::mem::replace(&mut self.claims, user.claims.clone());
        let same = if before == self.claims { Renewed::Same } else { Renewed::OtherClaims };
        if let Some(answered) = &mut self.answered {
            let question = Question::new(user.room_user(), user.claims.clone(), self.room.clone());
            if question != answered.question {
                answered.question = question;
                answered.ask(&self.control, &self.room, None);
            }
            return same;
        }
        match self.control.check_grants(&self.room, Some(user), Permission::Read) {
            Ok(permissions) => match self.change(permissions) {
                Renewed::Same => same,
                Renewed::MayNotBeListed => {
                    let service = user.is_service().then_some(&*user.user.id);
                    self.deny(&user.room_user().id, service, Permission::Presence, Reason::NotInGrant);
                    Renewed::MayNotBeListed
                }
                other => other,
            },
            Err(_) => self.end(Renewed::MayNotRead),
        }
    }

    /// Resolves when an answer of the operator's server has changed something, or has ended. Without such a server it
    /// never does, and costs nothing.
    pub(in crate::edge) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Renewed> {
        let Some(answered) = &mut self.answered else { return Poll::Pending };
        loop {
            if let Some(asking) = &mut answered.asking
                && let Poll::Ready(outcome) = asking.as_mut().poll(context)
            {
                answered.asking = None;
                match outcome {
                    Ok(answer) => return Poll::Ready(self.answer(answer)),
                    Err(NoAnswer) => {
                        answered.set_alarm(clock::monotonic() + pause(answered.answer.life, random::jitter()));
                    }
                }
            }
            // The clock decides about the end, because another task may close a stream at the same moment.
            if answered.answer.ends_at > clock::monotonic() {
                ready!(answered.alarm.as_mut().poll(context));
            }
            if answered.answer.ends_at <= clock::monotonic() {
                let user = answered.question.user_id.clone();
                self.deny(&user, None, Permission::Read, Reason::AuthorizerFailed);
                return Poll::Ready(self.end(Renewed::Unknown));
            }
            if answered.asking.is_none() {
                let ends_at = answered.answer.ends_at;
                answered.ask(&self.control, &self.room, Some(ends_at));
            }
            answered.set_alarm(answered.answer.ends_at);
        }
    }

    fn answer(&mut self, answer: Answer) -> Renewed {
        let Some(answered) = &mut self.answered else { return Renewed::Same };
        answered.answer = answer;
        answered.set_alarm(ask_at(answer, random::jitter()));
        let user = answered.question.user_id.clone();
        match policy::decide_answered(answer.permissions, Permission::Read) {
            Ok((permissions, reason)) => {
                self.control.count_allowed(reason);
                let renewed = self.change(permissions);
                if renewed == Renewed::MayNotBeListed {
                    self.deny(&user, None, Permission::Presence, Reason::NotAuthorized);
                }
                renewed
            }
            Err(Denied { missing, reason }) => {
                self.deny(&user, None, missing, reason);
                self.end(Renewed::MayNotRead)
            }
        }
    }

    /// Counts and logs a refusal. The authorizer is not asked about services.
    fn deny(&self, user: &str, service: Option<&str>, missing: Permission, reason: Reason) {
        self.control.count_denied(Some(user), service, &self.room, Denied { missing, reason });
    }

    fn change(&mut self, permissions: Permissions) -> Renewed {
        let before = std::mem::replace(&mut self.permissions, permissions);
        let is_list = self.control.policy().to_send(self.room.namespace()) == Permission::Presence;
        if is_list && before.has(Permission::Presence) && !permissions.has(Permission::Presence) {
            return Renewed::MayNotBeListed;
        }
        if before == permissions { Renewed::Same } else { Renewed::Changed }
    }

    fn end(&mut self, why: Renewed) -> Renewed {
        self.permissions = Permissions::NONE;
        self.answered = None;
        why
    }
}

impl Answered {
    /// Asks the question. Only an answer that ends after `newer_than` counts.
    fn ask(&mut self, control: &AccessControl, room: &Address, newer_than: Option<Instant>) {
        let (authorizer, question) = (self.authorizer.clone(), self.question.clone());
        let namespace = control.policy().spelled_namespace(room);
        self.asking =
            Some(Box::pin(async move { authorizer.ask(question, namespace, Permission::Read, newer_than).await }));
        // The next poll begins with the question.
        self.set_alarm(clock::monotonic());
    }

    fn set_alarm(&mut self, at: Instant) {
        self.alarm.as_mut().reset(at.min(self.answer.ends_at).into());
    }
}

/// When to ask again: at a moment in the last quarter of the answer's life, which leaves a tenth of it for more tries.
/// `part` is random between 0 and 1, so that the sockets of one server do not all ask at once.
fn ask_at(answer: Answer, part: f64) -> Instant {
    answer.ends_at.checked_sub(answer.life.mul_f64(0.1 + 0.15 * part)).unwrap_or(answer.ends_at)
}

/// The pause before the next question, if there was no answer: up to a 32nd part of the last answer's life.
fn pause(life: Duration, part: f64) -> Duration {
    (life / 32).clamp(PAUSES.0, PAUSES.1).mul_f64(0.5 + part / 2.0)
}

fn until(at: Instant) -> Duration {
    at.saturating_duration_since(clock::monotonic())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::edge::access::grants::Grants;
    use crate::limits::AUTHORIZER_SOCKET_SECONDS;
    use crate::model::User;
    use crate::revocations::Revocations;

    fn ana(grants: &str) -> Verified {
        Verified::new(User::new("ana", "ana")).with_grants(Grants::from_texts([grants]).unwrap())
    }

    fn control(config: &Config) -> Arc<AccessControl> {
        AccessControl::new(config, None, Arc::new(Revocations::in_memory(Duration::ZERO)))
    }

    fn socket(namespace: &str, grants: &str) -> SocketAccess {
        let control = control(&Config::parse("[identity]\nauth = \"jwt\"").unwrap());
        let room = Address::new(namespace, "lobby").unwrap();
        let user = ana(grants);
        let permissions = control.check_grants(&room, Some(&user), Permission::Read).unwrap();
        SocketAccess::new(control, room, &user, &Admitted::by_grants(permissions))
    }

    #[test]
    fn a_new_token_changes_what_an_open_socket_may_do_at_once() {
        let mut access = socket("ROOMS", "rooms/*=read,write");
        assert_eq!(access.check_message("ana", None), Ok(()));
        for (grant, renewed, may_send) in [
            ("rooms/lobby=read,write", Renewed::Same, Ok(())),
            ("rooms/lobby=read", Renewed::Changed, Err(Permission::Write)),
            ("rooms/lobby=read,write,admin", Renewed::Changed, Ok(())),
            ("rooms/lobby=write", Renewed::MayNotRead, Err(Permission::Write)),
            ("rooms/other=read,write", Renewed::MayNotRead, Err(Permission::Write)),
        ] {
            assert_eq!(access.renew(&ana(grant)), renewed, "{grant}");
            assert_eq!(access.check_message("ana", None), may_send, "{grant}");
        }
    }

    #[test]
    fn a_user_without_presence_cannot_stay_on_the_list() {
        let mut access = socket("PRESENCE", "presence/lobby=read,presence");
        assert_eq!(access.check_message("ana", None), Ok(()));
        assert_eq!(access.renew(&ana("presence/lobby=read,write")), Renewed::MayNotBeListed);
        assert_eq!(access.check_message("ana", None), Err(Permission::Presence));
        assert_eq!(access.renew(&ana("presence/lobby=read,presence")), Renewed::Changed);
    }

    #[test]
    fn clients_of_shipped_rooms_get_unusual_permissions() {
        let frame = socket("ROOMS", "rooms/*=read,moderate").first_frame();
        assert_eq!(frame.as_deref(), Some(r#"{"permissions":["read","moderate"],"type":"permissions"}"#));
        let first_frame = |config: &Config, permissions: Permissions| {
            let room = Address::new("ROOMS", "lobby").unwrap();
            let admitted = Admitted::by_grants(permissions);
            SocketAccess::new(control(config), room, &ana("**=read"), &admitted).first_frame()
        };
        // In an open room only further permissions are unusual. A room of your own tells its clients itself.
        assert_eq!(first_frame(&Config::default(), Permissions::OPEN), None);
        assert!(first_frame(&Config::default(), Permissions::ALL).is_some());
        let own = Config::parse("identity.auth = \"jwt\"\n[namespaces.ROOMS]\ncomponent = \"mine.wasm\"").unwrap();
        assert_eq!(first_frame(&own, Permissions::ALL), None);
    }

    #[test]
    fn at_least_ten_seconds_pass_between_two_answers_for_a_socket() {
        let life = Duration::from_secs(AUTHORIZER_SOCKET_SECONDS);
        let now = clock::monotonic();
        let answer = Answer::new(Permissions::OPEN, now + life, life);
        assert!(ask_at(answer, 1.0) - now >= Duration::from_secs(10));
    }

    #[test]
    fn sockets_ask_again_in_the_last_quarter_of_an_answer() {
        let life = Duration::from_secs(60);
        let ends_at = clock::monotonic() + life;
        let answer = Answer::new(Permissions::OPEN, ends_at, life);
        for (part, before_the_end) in [(0.0, 6_000), (0.5, 10_500), (1.0, 15_000)] {
            assert_eq!(ends_at - ask_at(answer, part), Duration::from_millis(before_the_end));
        }
        for (life, part, millis) in [(64, 0.0, 1_000), (64, 1.0, 2_000), (300, 1.0, 5_000), (1, 1.0, 50), (1, 0.0, 25)]
        {
            assert_eq!(pause(Duration::from_secs(life), part), Duration::from_millis(millis), "{life} {part}");
        }
    }
}
