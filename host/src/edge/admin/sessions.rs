//! The sessions of the dashboard, in memory. A restart ends all of them, and so does another token.
//!
//! A session has two halves: an id in a cookie that no script can read, and a value that the page keeps and sends in a
//! header. A page of another origin can send neither. Cookies do not know ports, so another server on the same machine
//! may get the cookie; the value stays with this origin. Neither is of use without the other.

use std::time::Instant;

use hyper::header::HeaderName;

use super::secret::SecretHash;
use crate::clock::{self, UnixMillis};
use crate::limits::{ADMIN_SESSION_IDLE, ADMIN_SESSION_TIME, ADMIN_SESSIONS};
use crate::lock::Lock;
use crate::random;

/// The header with the second half of a session. A page of another origin could send it only after a preflight, which
/// is refused.
pub(super) const SESSION: HeaderName = HeaderName::from_static("dormouse-session");
/// The bytes of each half.
const SECRET_BYTES: usize = 32;

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Lock<Vec<Session>>);

struct Session {
    id: SecretHash,
    value: SecretHash,
    /// The token that was required when it began; absent if none was.
    token: Option<SecretHash>,
    signed_in: SignedIn,
    began: Instant,
    used: Instant,
}

/// The operator of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedIn {
    /// A random number: two sessions of one operator are not the same.
    number: u64,
    /// The name for the audit log, as the operator gave it.
    pub(super) operator: Option<String>,
    /// When the session began.
    pub(super) since: UnixMillis,
}

/// The two halves of a new session, in hexadecimal digits.
pub(super) struct NewSession {
    pub(super) id: String,
    pub(super) value: String,
}

impl SignedIn {
    /// The operator of a session that begins now.
    pub(super) fn new(operator: Option<String>) -> Self {
        SignedIn { number: random::number(), operator, since: clock::unix_millis() }
    }
}

impl Session {
    fn is_open(&self, token: Option<&SecretHash>, now: Instant) -> bool {
        SecretHash::are_same(self.token.as_ref(), token)
            && now.saturating_duration_since(self.began) < ADMIN_SESSION_TIME
            && now.saturating_duration_since(self.used) < ADMIN_SESSION_IDLE
    }
}

impl Sessions {
    /// Begins a session under the token that is required now. If there are too many, the one that was not used for the
    /// longest time ends.
    pub(super) fn begin(&self, signed_in: SignedIn, token: Option<SecretHash>) -> NewSession {
        self.begin_at(signed_in, token, clock::monotonic())
    }

    fn begin_at(&self, signed_in: SignedIn, token: Option<SecretHash>, now: Instant) -> NewSession {
        let new = NewSession { id: secret(), value: secret() };
        let (id, value) = (SecretHash::of(new.id.as_bytes()), SecretHash::of(new.value.as_bytes()));
        let mut sessions = self.0.lock();
        sessions.retain(|session| session.is_open(token.as_ref(), now));
        if sessions.len() >= ADMIN_SESSIONS
            && let Some(oldest) = (0..sessions.len()).min_by_key(|at| sessions[*at].used)
        {
            sessions.swap_remove(oldest);
        }
        sessions.push(Session { id, value, token, signed_in, began: now, used: now });
        new
    }

    /// The open session with one of these ids and this value. Its idle time begins again.
    pub(super) fn find<'a>(
        &self,
        ids: impl Iterator<Item = &'a [u8]>,
        value: &[u8],
        token: Option<&SecretHash>,
    ) -> Option<SignedIn> {
        self.find_at(ids, value, token, clock::monotonic())
    }

    fn find_at<'a>(
        &self,
        ids: impl Iterator<Item = &'a [u8]>,
        value: &[u8],
        token: Option<&SecretHash>,
        now: Instant,
    ) -> Option<SignedIn> {
        let value = SecretHash::of(value);
        let mut sessions = self.0.lock();
        sessions.retain(|session| session.is_open(token, now));
        let has = |session: &Session, id: &SecretHash| session.id.is(id) && session.value.is(&value);
        let at = ids.map(SecretHash::of).find_map(|id| sessions.iter().position(|session| has(session, &id)))?;
        sessions[at].used = now;
        Some(sessions[at].signed_in.clone())
    }

    /// Whether a session is still open. Its idle time goes on.
    pub(super) fn has(&self, signed_in: &SignedIn, token: Option<&SecretHash>) -> bool {
        self.has_at(signed_in, token, clock::monotonic())
    }

    fn has_at(&self, signed_in: &SignedIn, token: Option<&SecretHash>, now: Instant) -> bool {
        let sessions = self.0.lock();
        sessions.iter().any(|session| session.signed_in == *signed_in && session.is_open(token, now))
    }

    /// Ends the sessions with these ids and this value.
    pub(super) fn end<'a>(&self, ids: impl Iterator<Item = &'a [u8]>, value: &[u8]) {
        let value = SecretHash::of(value);
        let ids = ids.map(SecretHash::of).collect::<Vec<_>>();
        self.0.lock().retain(|session| !(session.value.is(&value) && ids.iter().any(|id| session.id.is(id))));
    }
}

fn secret() -> String {
    random::bytes::<SECRET_BYTES>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn signed_in(name: &str) -> SignedIn {
        SignedIn { number: 0, operator: Some(name.into()), since: 0 }
    }

    fn find(sessions: &Sessions, new: &NewSession, token: Option<&SecretHash>, now: Instant) -> Option<SignedIn> {
        sessions.find_at([new.id.as_bytes()].into_iter(), new.value.as_bytes(), token, now)
    }

    #[test]
    fn a_session_needs_both_halves_and_ends_when_it_is_told_to() {
        let (sessions, now) = (Sessions::default(), clock::monotonic());
        let ana = sessions.begin_at(signed_in("ana"), None, now);
        let bo = sessions.begin_at(signed_in("bo"), None, now);
        assert_eq!(find(&sessions, &ana, None, now), Some(signed_in("ana")));
        let mixed = NewSession { id: ana.id.clone(), value: bo.value.clone() };
        assert_eq!(find(&sessions, &mixed, None, now), None);
        assert_eq!(find(&sessions, &NewSession { id: ana.id.clone(), value: String::new() }, None, now), None);
        // A browser may have an older cookie too.
        let ids = [&b"older"[..], bo.id.as_bytes()];
        assert_eq!(sessions.find_at(ids.into_iter(), bo.value.as_bytes(), None, now), Some(signed_in("bo")));
        sessions.end([ana.id.as_bytes()].into_iter(), ana.value.as_bytes());
        assert_eq!(find(&sessions, &ana, None, now), None);
        assert!(find(&sessions, &bo, None, now).is_some());
    }

    #[test]
    fn a_session_ends_after_its_time_and_when_it_is_idle() {
        let (sessions, began) = (Sessions::default(), clock::monotonic());
        let idle = sessions.begin_at(signed_in("ana"), None, began);
        let used = sessions.begin_at(signed_in("bo"), None, began);
        let mut now = began;
        while now - began < ADMIN_SESSION_TIME - Duration::from_secs(1) {
            assert!(find(&sessions, &used, None, now).is_some());
            now += ADMIN_SESSION_IDLE - Duration::from_secs(1);
        }
        assert_eq!(find(&sessions, &idle, None, began + ADMIN_SESSION_IDLE), None);
        assert_eq!(find(&sessions, &used, None, began + ADMIN_SESSION_TIME), None);
    }

    #[test]
    fn a_look_at_a_session_does_not_keep_it_open() {
        let (sessions, now) = (Sessions::default(), clock::monotonic());
        let [ana, again] = ["ana"; 2].map(|name| SignedIn::new(Some(name.into())));
        let first = sessions.begin_at(ana.clone(), None, now);
        sessions.begin_at(again.clone(), None, now);
        let nearly = now + ADMIN_SESSION_IDLE - Duration::from_secs(1);
        assert!(sessions.has_at(&ana, None, nearly));
        assert!(!sessions.has_at(&ana, Some(&SecretHash::of(b"another")), nearly));
        assert!(!sessions.has_at(&ana, None, now + ADMIN_SESSION_IDLE));
        sessions.end([first.id.as_bytes()].into_iter(), first.value.as_bytes());
        assert!(!sessions.has_at(&ana, None, now) && sessions.has_at(&again, None, now), "the other one goes on");
    }

    #[test]
    fn another_token_ends_the_sessions() {
        let (sessions, now) = (Sessions::default(), clock::monotonic());
        let (first, second) = (SecretHash::of(b"first"), SecretHash::of(b"second"));
        let new = sessions.begin_at(signed_in("ana"), Some(first), now);
        assert!(find(&sessions, &new, Some(&first), now).is_some());
        assert_eq!(find(&sessions, &new, Some(&second), now), None);
        let new = sessions.begin_at(signed_in("ana"), Some(second), now);
        assert_eq!(find(&sessions, &new, None, now), None);
    }

    #[test]
    fn sessions_are_bounded_and_the_least_used_one_makes_room() {
        let (sessions, now) = (Sessions::default(), clock::monotonic());
        let later = |seconds: usize| now + Duration::from_secs(seconds as u64);
        let all = (0..ADMIN_SESSIONS).map(|at| sessions.begin_at(signed_in("ana"), None, later(at)));
        let all = all.collect::<Vec<_>>();
        assert!(find(&sessions, &all[0], None, later(100)).is_some());
        let new = sessions.begin_at(signed_in("bo"), None, later(101));
        assert_eq!(sessions.0.lock().len(), ADMIN_SESSIONS);
        assert_eq!(find(&sessions, &all[1], None, later(102)), None);
        assert!([&all[0], &all[2], &new].iter().all(|session| find(&sessions, session, None, later(102)).is_some()));
    }
}
