//! Asks the operator's own server what a user may do in a room: at most once at a time for each user and room, with
//! answers that are kept for as long as they say.
//!
//! ```text
//! question.rs   the question and its signature      answer.rs    the answer, read strictly
//! places.rs     how many calls are made at once     answers.rs   the answers that are kept
//! ```
//!
//! Without an answer there is no decision: the caller refuses the user for now. It knows no connections and no policy;
//! `control` asks it.

mod answer;
mod answers;
mod places;
mod question;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use self::answer::Decision;
pub(in crate::edge) use self::answers::Answer;
use self::answers::Answers;
use self::places::Places;
pub(in crate::edge) use self::question::Question;
use crate::clock;
use crate::config::Config;
use crate::edge::identity::keys::{self, KeyError, SECRET_BYTES};
use crate::edge::identity::verified::Verified;
use crate::file_problem::FileProblem;
use crate::limits::{AUTHORIZER_ANSWER_BYTES, AUTHORIZER_QUESTIONS};
use crate::lock::Lock;
use crate::model::{Address, Permission, Permissions};
use crate::outbound::{Allowed, HttpClient};
use crate::token_bucket::TokenBucket;

/// Lines about failures a second, and ten times as many in a burst: users decide how often the server is asked.
const LINES_PER_SECOND: u32 = 1;

/// The operator's own server, which decides who may enter which room.
pub struct Authorizer {
    client: HttpClient,
    /// The origin of the server, and nothing else.
    allowed: Allowed,
    origin: String,
    path: String,
    query: Option<String>,
    secret: Vec<u8>,
    timeout: Duration,
    answers: Answers,
    /// The questions that wait for their answer.
    asked: Lock<HashMap<Question, watch::Receiver<Option<Outcome>>>>,
    places: Places,
    /// Calls by their result.
    counts: Family<[(&'static str, &'static str); 1], Counter>,
    lines: Lock<TokenBucket>,
}

/// There is no answer. The reason is in the log of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct NoAnswer;

type Outcome = Result<Answer, NoAnswer>;

impl Authorizer {
    /// Makes the authorizer that the configuration names; absent if it names none. It reads the file of the secret.
    pub fn new(config: &Config, client: &HttpClient) -> Result<Option<Arc<Self>>, KeyError> {
        let identity = &config.identity;
        let (Some(url), Some(file)) = (&identity.authorize, &identity.authorize_secret) else { return Ok(None) };
        let setting = "identity.authorize_secret";
        let bytes = keys::read(setting, file)?;
        // Editors end a file with a line break.
        let secret = bytes.trim_ascii_end().to_vec();
        if secret.len() < SECRET_BYTES {
            let found = secret.len();
            let problem = format!("it has {found} bytes, and a secret has at least {SECRET_BYTES}");
            let source = FileProblem::from(std::io::Error::other(problem));
            return Err(KeyError::Read { setting, path: file.clone(), source });
        }
        let origin = url.origin();
        let pattern = origin.parse().expect("the address was checked when it was read");
        Ok(Some(Arc::new(Authorizer {
            client: client.clone(),
            allowed: Allowed { public: Vec::new(), private: vec![pattern] },
            origin,
            path: url.path().to_owned(),
            query: url.query().map(str::to_owned),
            secret,
            timeout: identity.authorize_timeout,
            answers: Answers::new(),
            asked: Lock::default(),
            places: Places::new(),
            counts: Family::default(),
            lines: Lock::new(TokenBucket::new(LINES_PER_SECOND, clock::monotonic())),
        })))
    }

    /// Asks once what a user may do in a room, and keeps no answer: for a tool that explains a decision. `namespace` is
    /// spelled as in a path. Fails: with the reason in words, if there is no decision.
    pub async fn ask_once(&self, user: &Verified, room: &Address, namespace: &str) -> Result<Permissions, String> {
        let question = Question::new(user.room_user(), user.claims.clone(), room.clone());
        let called = clock::timeout(self.timeout, self.call(&question, namespace, Permission::Read)).await;
        let decision = called.unwrap_or_else(|_| Err("no answer in time".into()))?;
        Ok(decision.permissions)
    }

    /// Registers the metric of the calls.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("authorizer_calls", "Questions to the server of `identity.authorize`", self.counts.clone());
    }

    /// Asks what a user may do in a room. `namespace` is the room's, spelled as in a path, and `action` what the user
    /// wants to do now: the answer counts for all that the user may do. An answer that is known counts only if it ends
    /// after `newer_than` for an open socket.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: Question,
        namespace: String,
        action: Permission,
        newer_than: Option<Instant>,
    ) -> Result<Answer, NoAnswer> {
        let mut outcome = match self.start(question, namespace, action, newer_than) {
            Ok(answer) => return Ok(answer),
            Err(outcome) => outcome?,
        };
        // The call itself ends in time. It goes on if the one who began it does not wait any more.
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.unwrap_or(Err(NoAnswer)),
            Err(_) => Err(NoAnswer),
        }
    }

    /// Returns the answer that is known, or else where it will come, after starting a call if none is on its way.
    fn start(
        self: &Arc<Self>,
        question: Question,
        namespace: String,
        action: Permission,
        newer_than: Option<Instant>,
    ) -> Result<Answer, Result<watch::Receiver<Option<Outcome>>, NoAnswer>> {
        let mut asked = self.asked.lock();
        if let Some(outcome) = asked.get(&question) {
            return Err(Ok(outcome.clone()));
        }
        // Under the lock: an answer is kept before its question leaves the list.
        let now = clock::monotonic();
        let is_newer = |answer: &Answer| newer_than.is_none_or(|end| answer.ends_at > end);
        if let Some(answer) = self.answers.get(&question, now).filter(is_newer) {
            return Ok(answer);
        }
        if asked.len() >= AUTHORIZER_QUESTIONS {
            drop(asked);
            self.failed("full", "too many questions wait for an answer");
            return Err(Err(NoAnswer));
        }
        let (sender, outcome) = watch::channel(None);
        asked.insert(question.clone(), outcome.clone());
        let call = Call { authorizer: self.clone(), question, sender };
        tokio::spawn(async move { call.run(&namespace, action).await });
        Err(Ok(outcome))
    }

    async fn call(&self, question: &Question, namespace: &str, action: Permission) -> Result<Decision, String> {
        let body = question.body(namespace, action);
        let now = clock::unix_millis() / 1_000;
        let request = question::signed(&self.secret, now, &self.path, self.query.as_deref(), body);
        let fetched =
            self.client.fetch_up_to(&self.allowed, &self.origin, request, self.timeout, AUTHORIZER_ANSWER_BYTES);
        let response = fetched.await.map_err(|error| error.to_string())?;
        Decision::read(response.status, &response.body)
    }

    fn failed(&self, result: &'static str, problem: &str) {
        self.count(result);
        if self.lines.lock().take(clock::monotonic()) {
            tracing::warn!(
                server = self.origin,
                problem,
                "the server of identity.authorize gave no decision; users are refused with 503 meanwhile"
            );
        }
    }

    fn count(&self, result: &'static str) {
        self.counts.get_or_create(&[("result", result)]).inc();
    }
}

/// One call, whose answer goes to all who wait for it.
struct Call {
    authorizer: Arc<Authorizer>,
    question: Question,
    sender: watch::Sender<Option<Outcome>>,
}

impl Call {
    async fn run(self, namespace: &str, action: Permission) {
        let authorizer = &self.authorizer;
        let outcome = match self.decision(namespace, action).await {
            Ok(decision) => {
                authorizer.count("answered");
                let answer = Answer::of(decision, clock::monotonic());
                if !decision.shared_for.is_zero() {
                    authorizer.answers.keep(self.question.clone(), answer);
                }
                Ok(answer)
            }
            Err((result, problem)) => {
                authorizer.failed(result, &problem);
                Err(NoAnswer)
            }
        };
        // Perhaps no request waits any more.
        let _ = self.sender.send(Some(outcome));
    }

    /// The decision, or the result of the call as it is counted, and the problem in words.
    async fn decision(&self, namespace: &str, action: Permission) -> Result<Decision, (&'static str, String)> {
        let authorizer = &self.authorizer;
        let deadline = clock::monotonic() + authorizer.timeout;
        let place = clock::timeout_at(deadline, authorizer.places.take(&self.question.user_id)).await;
        let _place = place.map_err(|_| ("full", "too many questions at once, in all or of one user".to_owned()))?;
        let called = clock::timeout_at(deadline, authorizer.call(&self.question, namespace, action)).await;
        called.unwrap_or_else(|_| Err("no answer in time".into())).map_err(|problem| ("failed", problem))
    }
}

impl Drop for Call {
    /// The question leaves the list however the call ended.
    fn drop(&mut self) {
        self.authorizer.asked.lock().remove(&self.question);
    }
}
