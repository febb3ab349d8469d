//! Whether the database answers, since when it does not, and whether this server is the only one. Plain values: the
//! caller says what happened and passes the time.

use std::time::{Duration, Instant};

use crate::clock;

/// The knowledge about the database: whether it answers, and whether this is its only server.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    patience: Duration,
    /// When it has last answered.
    answered_at: Instant,
    /// Since when it has not answered, and why.
    away: Option<(Instant, String)>,
    has_given_up: bool,
    standing: Standing,
}

/// Whether this is the only server. If it is, all other owners of rooms have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Alone,
    /// The connection with the lock was lost.
    Unknown,
    /// Another server has the lock, which the text names.
    NotAlone(String),
}

impl Presence {
    pub(super) fn new(patience: Duration) -> Self {
        let answered_at = clock::monotonic();
        Presence { patience, answered_at, away: None, has_given_up: false, standing: Standing::Alone }
    }

    /// A statement has an answer, or there is a new connection. True if it was away for so long that this is news.
    pub(super) fn present(&mut self) -> bool {
        self.has_given_up = false;
        self.answered_at = clock::monotonic();
        self.away.take().is_some_and(|(since, _)| clock::since(since) > Duration::from_secs(1))
    }

    /// A statement had no answer, or there is no connection.
    pub(super) fn away(&mut self, problem: String) {
        match &mut self.away {
            Some((_, known)) => *known = problem,
            None => {
                tracing::warn!(%problem, "the database does not answer; rooms wait for it");
                // A statement without an answer is noticed late.
                self.away = Some((self.answered_at, problem));
            }
        }
    }

    /// True if this is the only server again.
    pub(super) fn set_standing(&mut self, standing: Standing) -> bool {
        if self.standing == standing {
            return false;
        }
        if let Standing::NotAlone(other) = &standing {
            tracing::error!(%other, "another server serves the rooms of this store now; stop one of the two");
        }
        self.standing = standing;
        self.standing == Standing::Alone
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// True once, when it has been away for too long.
    pub(super) fn gives_up(&mut self) -> bool {
        let gives_up = self.given_up().is_some() && !self.has_given_up;
        self.has_given_up |= gives_up;
        gives_up
    }

    /// The reason, if it has been away for too long.
    pub(super) fn given_up(&self) -> Option<String> {
        self.away_for(self.patience)
    }

    /// The reason, if it has been away for so long.
    pub(super) fn away_for(&self, time: Duration) -> Option<String> {
        let (_, problem) = self.away.as_ref().filter(|(since, _)| clock::since(*since) >= time)?;
        Some(problem.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_away_since_it_has_last_answered() {
        let second = Duration::from_secs(1);
        let mut presence = Presence::new(Duration::from_secs(60));
        presence.present();
        presence.answered_at = clock::monotonic().checked_sub(4 * second).expect("this machine runs for longer");
        presence.away("no answer".into());
        assert_eq!(presence.away_for(4 * second).as_deref(), Some("no answer"));
        assert_eq!(presence.away_for(6 * second), None);
        presence.away("still no answer".into());
        assert_eq!(presence.away_for(4 * second).as_deref(), Some("still no answer"), "the time goes on");
        assert!(presence.present(), "it is news that it answers");
        presence.away("no answer".into());
        assert_eq!(presence.away_for(second), None);
    }
}
