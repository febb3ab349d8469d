//! The answers that are kept: bounded in number and in bytes, because the claims of a question may be long. Answers
//! that nothing uses make room.
//!
//! It knows no clock: its caller says what time it is.

use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::answer::Decision;
use super::question::Question;
use crate::limits::{AUTHORIZER_ANSWERS, AUTHORIZER_ANSWERS_BYTES};
use crate::model::Permissions;

/// An answer, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct Answer {
    /// The permissions of the user in the room.
    pub(in crate::edge) permissions: Permissions,
    /// From this time on it does not count for an open socket any more.
    pub(in crate::edge) ends_at: Instant,
    /// How long it counted for an open socket when it came.
    pub(in crate::edge) life: Duration,
    /// From this time on it counts for nobody else.
    shared_until: Instant,
}

impl Answer {
    /// The answer with a decision that came now.
    pub(super) fn of(decision: Decision, now: Instant) -> Self {
        let life = decision.counts_for();
        let shared_until = now + decision.shared_for;
        Answer { permissions: decision.permissions, ends_at: now + life, life, shared_until }
    }
}

#[cfg(test)]
impl Answer {
    /// An answer that counts as long for others as for a socket.
    pub(in crate::edge) fn new(permissions: Permissions, ends_at: Instant, life: Duration) -> Self {
        Answer { permissions, ends_at, life, shared_until: ends_at }
    }
}

/// The memory of a question and its answer beside the texts of the question, in bytes.
const ENTRY_BYTES: usize = 256;
/// Each answer counts at least its share of the bytes, so that the bound in bytes is one of the number as well.
const LEAST_BYTES: usize = AUTHORIZER_ANSWERS_BYTES.div_ceil(AUTHORIZER_ANSWERS);

/// Answers by their questions.
pub(super) struct Answers(Cache<Question, Answer, Bytes>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Question, Answer> for Bytes {
    fn weight(&self, question: &Question, _: &Answer) -> u64 {
        (question.text_bytes() + ENTRY_BYTES).max(LEAST_BYTES) as u64
    }
}

impl Answers {
    pub(super) fn new() -> Self {
        Answers(Cache::with_weighter(AUTHORIZER_ANSWERS, AUTHORIZER_ANSWERS_BYTES as u64, Bytes))
    }

    /// The answer to a question that counts for others now.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Answer> {
        self.0.get(question).filter(|answer| answer.shared_until > now)
    }

    pub(super) fn keep(&self, question: Question, answer: Answer) {
        self.0.insert(question, answer);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock;
    use crate::limits::CLAIMS_BYTES;
    use crate::model::{Address, Claims, User};

    /// Keeps answers for so many users, with claims of this length. Returns their number and their bytes.
    fn kept(users: usize, claims_bytes: usize) -> (usize, usize) {
        let answers = Answers::new();
        let (ends_at, life) = (clock::monotonic(), Duration::from_secs(60));
        let answer = Answer::new(Permissions::OPEN, ends_at, life);
        let claims = json!({ "c": "c".repeat(claims_bytes.saturating_sub(r#"{"c":""}"#.len())) });
        let claims = Claims::new(claims.as_object().unwrap()).unwrap();
        for user in 0..users {
            let user = User::new(user.to_string(), "ana");
            answers.keep(Question::new(&user, claims.clone(), Address::new("ROOMS", "lobby").unwrap()), answer);
        }
        (answers.0.len(), answers.0.weight() as usize)
    }

    #[test]
    fn kept_answers_are_bounded_in_number_and_in_bytes() {
        let (few, bytes) = kept(100, CLAIMS_BYTES);
        assert!(few == 100 && bytes > 100 * CLAIMS_BYTES, "{few} {bytes}");
        let (number, bytes) = kept(20_000, CLAIMS_BYTES);
        assert!(number < 20_000 && number > 4_000 && bytes <= AUTHORIZER_ANSWERS_BYTES, "{number} {bytes}");
        let (number, bytes) = kept(150_000, 0);
        assert!(number <= AUTHORIZER_ANSWERS && number > 50_000, "{number}");
        assert!(bytes <= AUTHORIZER_ANSWERS_BYTES, "{bytes}");
    }
}
