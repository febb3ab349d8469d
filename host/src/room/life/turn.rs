//! One turn: wake the instance, run one event through the guest, put its writes into the next commit, and hold its
//! outputs until that commit is durable. A turn that fails changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Broken, RoomTask};
use crate::clock;
use crate::guest::{Instance, Moment, TurnCost, TurnFailure};
use crate::limit_hits::Limit;
use crate::model::{
    Answer, Audience, Changes, Close, Event, LOOKED_INTO_BYTES, Message, OutboundMessage, Output, Response, SocketKey,
    Sockets, Timer, Turn, error_frame,
};
use crate::random;
use crate::room::error::{ConnectError, RequestError, UserDataError};
use crate::room::output_gate::{Delivery, TurnOutput};
use crate::room::policy;
use crate::room::posts::PostId;
use crate::room::reply::Reply;
use crate::room::seat::Seat;
use crate::room::tail::refusal;
use crate::store::CommitError;

/// After an answer of more bytes, the room yields to other tasks. Shorter ones cost less than the yield.
pub(super) const LONG_ANSWER_BYTES: usize = 64 << 10;

/// The cause of a turn, and where its answer goes.
pub(super) enum Cause {
    Connect { socket: SocketKey, answer: oneshot::Sender<Result<Seat, ConnectError>> },
    Message(SocketKey),
    Close(SocketKey, Close),
    Timer(Timer),
    Request { post: Option<PostId>, answer: oneshot::Sender<Result<Response, RequestError>> },
    UserData { answer: oneshot::Sender<Result<Answer, UserDataError>> },
}

/// To whom a turn is counted, known before it runs.
pub(super) struct Counted {
    pub(super) socket: Option<SocketKey>,
    pub(super) is_timer: bool,
    /// The operator exports or erases a user: nobody is to pay for that.
    pub(super) is_of_operator: bool,
    pub(super) bytes_in: u64,
    /// The user of a request.
    pub(super) user: Option<Arc<str>>,
}

impl Counted {
    /// `bytes_in` is the length of the message or the body.
    pub(super) fn of(cause: &Cause, bytes_in: usize, user: Option<Arc<str>>) -> Self {
        let socket = match cause {
            Cause::Connect { socket, .. } | Cause::Message(socket) | Cause::Close(socket, _) => Some(*socket),
            Cause::Timer(_) | Cause::Request { .. } | Cause::UserData { .. } => None,
        };
        Counted {
            socket,
            is_timer: matches!(cause, Cause::Timer(_)),
            is_of_operator: matches!(cause, Cause::UserData { .. }),
            bytes_in: bytes_in as u64,
            user,
        }
    }
}

/// The reason why a turn did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    #[error(transparent)]
    Guest(#[from] TurnFailure),
    #[error(transparent)]
    Space(CommitError),
}

impl TurnError {
    /// Whether the same turn may succeed later without a change in the room, because it lacked something that the host
    /// or its operator provides.
    fn is_transient(&self) -> bool {
        match self {
            TurnError::Space(error) => matches!(error, CommitError::NoSpace { .. } | CommitError::RoomFull { .. }),
            TurnError::Guest(failure) => matches!(failure, TurnFailure::Instantiate(_)),
        }
    }

    /// The error for the client that waits for an answer.
    fn request_error(&self) -> RequestError {
        match self {
            TurnError::Space(CommitError::NoSpace { .. }) => RequestError::NoSpace,
            TurnError::Guest(TurnFailure::Instantiate(_)) => RequestError::Overloaded,
            TurnError::Space(_) | TurnError::Guest(_) => RequestError::Failed,
        }
    }
}

impl RoomTask {
    /// Runs one event: wake, run the guest, add its writes to the next commit, and hold its outputs until that is
    /// durable.
    pub(super) async fn turn(&mut self, event: Event, cause: Cause) -> Result<(), Broken> {
        let name = event.name();
        let observed = self.observe(&event);
        self.begin_span(&event);
        // Kept for the error that the sender gets if the turn fails.
        let message_text = match &event {
            Event::Message(_, Message::Text(text)) if text.len() <= LOOKED_INTO_BYTES => Some(text.clone()),
            _ => None,
        };
        let resources = self.opened().resources();
        resources.turn += 1;
        resources.requested_by = match &event {
            Event::Request(request) => request.user.as_ref().map(|user| user.id.as_str().into()),
            _ => None,
        };
        let user = resources.requested_by.clone();
        let bytes_in = match &event {
            Event::Message(_, message) => message.len(),
            Event::Request(request) => request.body.len(),
            Event::Connect(..)
            | Event::Close(..)
            | Event::Timer(_)
            | Event::ExportUser(_)
            | Event::EraseUser(_)
            | Event::Migrate(_) => 0,
        };
        let counted = Counted::of(&cause, bytes_in, user);
        self.follow_deploys();
        let first_turns = self.state().first_turns;
        let (ran, cost) = match first_turns {
            0 if self.data_is_checked => {
                let (ran, cost) = self.run_guest(event).await?;
                (ran.map_err(TurnError::Guest), cost)
            }
            // Both are boxed, so that all other turns need no space for them.
            0 => Box::pin(self.run_on_data(event)).await?,
            _ => Box::pin(self.run_first_turn(event)).await?,
        };
        self.count_turn(&counted, cost, ran.as_ref().ok());
        match &ran {
            Ok(turn) => self.span_ran(cost, Ok(&turn.answer)),
            Err(TurnError::Guest(failure)) => self.span_ran(cost, Err(failure)),
            Err(TurnError::Space(_)) => self.span_without_space(),
        }
        let outcome = match ran {
            Ok(turn) => {
                let observed = observed.map(|of| (of, turn.outputs.len(), refusal(&turn.answer)));
                let kept = self.keep(turn, cause);
                if let (Ok(()), Some((of, outputs, refused))) = (&kept, observed) {
                    self.tell_turn(name, of, outputs, refused);
                }
                kept
            }
            Err(error) => {
                match &error {
                    TurnError::Guest(failure) => self.shared.metrics.failed(failure),
                    TurnError::Space(_) => self.shared.metrics.found_no_space(),
                }
                Err(Box::new((error, cause)))
            }
        };
        if let Err(failed) = outcome {
            let (error, cause) = *failed;
            let opened = self.opened();
            let key = match &cause {
                Cause::Connect { socket, .. } | Cause::Message(socket) | Cause::Close(socket, _) => Some(*socket),
                Cause::Timer(_) | Cause::Request { .. } | Cause::UserData { .. } => None,
            };
            let resources = opened.resources.as_ref().expect("lent only while a turn runs");
            let turn = resources.turn;
            let client = key.and_then(|key| resources.sockets.get(key));
            let socket = client.map(|client| client.id);
            let user = client.map(|client| client.user.id.as_str()).or(resources.requested_by.as_deref());
            let user = user.map(str::to_owned);
            if opened.log_limiter.take() {
                let timer = match &cause {
                    Cause::Timer(timer) => Some(timer.name.as_str()),
                    _ => None,
                };
                let user = user.as_deref();
                tracing::error!(turn, user, event = name, socket, timer, "the turn failed and was undone: {error}");
            }
            opened.log_limiter.report_dropped();
            self.failed(name, user, error.to_string());
            self.turn_failed(cause, message_text.as_deref(), &error);
        }
        self.span = None;
        if self.batch.is_empty() {
            self.release();
        }
        Ok(())
    }

    /// Runs the guest. If that fails, the room is as it was before, without its instance.
    pub(super) async fn run_guest(&mut self, event: Event) -> Result<(Result<Turn, TurnFailure>, TurnCost), Broken> {
        self.turn_cpu = Duration::ZERO;
        let now = self.shared.timeline.now();
        if now < self.opened().now {
            // The system clock was set back by more than the time for which the clock of rooms stands still. An
            // instance never sees time go back, so it is dropped.
            self.drop_instance();
        }
        self.opened().now = now;
        let (instance, permit) = match self.instance.take() {
            Some(awake) => awake,
            None => match self.wake().await? {
                Ok(awake) => awake,
                Err(failure) => return Ok((Err(failure), TurnCost::default())),
            },
        };
        self.mailbox.not_idle();
        self.mailbox.activity.begin_turn(now, matches!(event, Event::Message(..)));
        let opened = self.opened();
        let moment = Moment { now: opened.now, seed: random::bytes() };
        let confirmed_by = self.last_position();
        let outbound_interface = self.outbound_interface();
        let opened = self.opened();
        let mut resources = opened.resources.take().expect("lent only while a turn runs");
        resources.outbound = outbound_interface;
        resources.confirmed_by = confirmed_by;
        resources.posts_waiting = opened.posting.waiting();
        let long_turns = self.shared.long_turns.clone();
        let mut submitted = Ok(());
        // Earlier turns do not wait for a long turn.
        let finished = long_turns.run(instance.run(resources, event, moment), || submitted = self.submit()).await;
        let mut resources = finished.resources;
        // Gives back resources of the turn, such as its permit to wait.
        resources.outbound = None;
        self.opened().resources = Some(resources);
        self.instance = finished.instance.map(|instance| (instance, permit));
        self.turn_cpu = finished.cost.cpu;
        let memory_bytes = if self.instance.is_some() { finished.memory_bytes } else { 0 };
        self.mailbox.activity.end_turn(now, finished.cost.cpu, memory_bytes);
        if self.instance.is_some() {
            self.mailbox.turn_ended();
        } else {
            self.instance_dropped();
        }
        submitted.map(|()| (finished.turn, finished.cost))
    }

    /// Makes an instance. If all are in use, the longest idle rooms hibernate first.
    pub(super) async fn wake(&mut self) -> Result<Result<(Box<Instance>, OwnedSemaphorePermit), TurnFailure>, Broken> {
        let began = clock::monotonic();
        let mut span = self.span.as_ref().and_then(|span| span.inner("wake"));
        let permit = match self.shared.instances.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.submit()?;
                self.shared.make_space();
                let _waits = self.shared.queue.enter();
                self.shared.instances.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        self.shared.metrics.wakes.inc();
        let code = self.code.code.clone();
        let log_limiter = self.opened().log_limiter.clone();
        let long_turns = self.shared.long_turns.clone();
        let mut submitted = Ok(());
        // Code that runs long when it is instantiated counts as a long turn.
        let instantiated = Box::pin(async move { code.component.instantiate(&log_limiter).await });
        let instantiated = long_turns.run(instantiated, || submitted = self.submit()).await;
        match &instantiated {
            Ok(_) => self.instance_made(clock::since(began)),
            Err(_) => span.iter_mut().for_each(|span| span.fail("instantiate")),
        }
        drop(span);
        submitted.map(|()| instantiated.map(|instance| (instance, permit)))
    }

    /// Keeps a successful turn: its writes go into the next commit, and its outputs wait for that.
    pub(super) fn keep(&mut self, mut turn: Turn, cause: Cause) -> Result<(), Box<(TurnError, Cause)>> {
        let mut changes = std::mem::take(&mut turn.changes);
        if let Cause::Timer(timer) = &cause {
            // The timer is done, unless the turn has set it again.
            changes.timers.entry(timer.name.clone()).or_insert(None);
        }
        if !turn.posts.is_empty() {
            if let Some(span) = &self.span {
                // A post may leave much later, and from another process: its headers remember the turn.
                turn.posts.iter_mut().for_each(|(_, request)| span.write_to(request));
            }
            let opened = self.opened();
            let (commit, now) = (opened.log.number() + 1, opened.clock());
            changes.posts = self.batch.number(commit, std::mem::take(&mut turn.posts), now);
        }
        let posts = !changes.posts.is_empty();
        if let (Cause::Request { post: Some(post), .. }, Answer::Response(response)) = (&cause, &turn.answer)
            && response.status < 500
        {
            changes.taken.insert(post.sender.clone(), post.number);
        }
        if !changes.is_empty()
            && let Err(error) = self.write(changes)
        {
            turn.undo(&mut self.opened().resources().sockets);
            self.drop_instance();
            self.mailbox.not_idle();
            self.shared.metrics.found_no_space();
            self.span_without_space();
            if matches!(error, CommitError::RoomFull { .. }) {
                self.shared.limit_hits.count(Limit::RoomBytes);
            }
            return Err(Box::new((TurnError::Space(error), cause)));
        }
        self.gave_long_answer =
            matches!(&turn.answer, Answer::Response(answer) if answer.body.len() > LONG_ANSWER_BYTES);
        self.posts_wait_for_disk |= posts;
        self.shared.metrics.turns.inc();
        let reply = self.reply_for(cause, turn.answer);
        self.hold(turn.outputs, reply);
        Ok(())
    }

    /// Adds the writes of a turn to the next commit. Later turns see them at once.
    ///
    /// Fails: if the disk or the room has no space; then nothing is written.
    pub(super) fn write(&mut self, changes: Changes) -> Result<(), CommitError> {
        let opened = self.opened();
        opened.log.reserve(&changes.writes, &*opened.overlay)?;
        let commit = opened.log.number() + 1;
        opened.overlay.add(commit, &changes.writes);
        opened.posting.apply(&changes);
        self.set_timers(changes.timers.iter().map(|(name, timer)| (name.clone(), timer.clone())));
        self.batch.add(commit, changes);
        Ok(())
    }

    /// Hands the batch to the store, as a commit or as a proof, without waiting for it.
    pub(super) fn submit(&mut self) -> Result<(), Broken> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        if !batch.has_changes() {
            let listener = self.mailbox.clone();
            return Ok(self.opened().log.prove(listener)?);
        }
        let listener = self.commit_listener(batch.turns());
        let opened = self.opened();
        let number = opened.log.number() + 1;
        Ok(opened.log.commit(number, batch.changes, listener)?)
    }

    /// The number of the commit that makes all turns up to now durable.
    pub(super) fn last_commit(&mut self) -> u64 {
        let batched = u64::from(self.batch.has_changes());
        self.opened().log.number() + batched
    }

    /// The position of the commit or proof that confirms all turns up to now.
    pub(super) fn last_position(&mut self) -> u64 {
        let batched = u64::from(!self.batch.is_empty());
        self.opened().log.position() + batched
    }

    /// Undoes a turn that failed, and answers its cause. The room goes on.
    pub(super) fn turn_failed(&mut self, cause: Cause, message_text: Option<&str>, error: &TurnError) {
        match cause {
            Cause::Connect { socket, answer } => {
                self.remove_socket(socket);
                self.hold(Vec::new(), Reply::Connect(Err(error.request_error().into()), answer));
            }
            Cause::Message(socket) => {
                self.message_done(socket);
                let request_error = error.request_error();
                let error =
                    error_frame(request_error.code(), &format!("{request_error}; nothing was done"), message_text);
                let message = OutboundMessage::new(Message::Text(error));
                self.hold(vec![Output::Message(message, Audience::These(vec![socket]))], Reply::None);
            }
            // A close is not repeated, so it waits until the host has what was missing.
            Cause::Close(socket, close) if error.is_transient() => {
                let opened = self.opened();
                opened.waiting_closes.push_front((socket, close));
                opened.closes_due_at = Some(opened.clock() + policy::host_backoff(random::jitter()).as_millis() as u64);
                self.schedule_wake();
            }
            Cause::Close(socket, _) => {
                self.remove_socket(socket);
            }
            Cause::Request { answer, .. } => self.hold(Vec::new(), Reply::Request(Err(error.request_error()), answer)),
            Cause::UserData { answer } => {
                let failed = UserDataError::Turn(error.to_string());
                self.hold(Vec::new(), Reply::UserData(Err(failed), answer));
            }
            Cause::Timer(timer) if error.is_transient() => {
                // This does not count as an attempt: only the host can provide what was missing.
                let at = self.opened().clock() + policy::host_backoff(random::jitter()).as_millis() as u64;
                self.set_timers([(timer.name.clone(), Some(Timer { at, ..timer }))]);
            }
            Cause::Timer(timer) => self.retry_timer(timer),
        }
    }

    /// Converts the answer of a successful turn into a reply for its cause.
    pub(super) fn reply_for(&mut self, cause: Cause, answer: Answer) -> Reply {
        match (cause, answer) {
            (Cause::Connect { socket, answer }, Answer::Refuse(status, reason)) => {
                self.remove_socket(socket);
                Reply::Connect(Err(ConnectError::Refused(status, reason)), answer)
            }
            (Cause::Connect { socket, answer }, Answer::Response(response)) => {
                self.remove_socket(socket);
                Reply::Connect(Err(ConnectError::Answered(response)), answer)
            }
            (Cause::Connect { socket, answer }, _) => {
                let socket_data = self.opened().resources().sockets.get(socket).expect("seated before the turn");
                let client = socket_data.client.clone();
                let seat = Seat::new(self.shared.clone(), self.mailbox.clone(), socket, client);
                Reply::Connect(Ok(seat), answer)
            }
            (Cause::Request { answer, .. }, Answer::Response(response)) => Reply::Request(Ok(response), answer),
            (Cause::Request { answer, .. }, _) => Reply::Request(Err(RequestError::Failed), answer),
            (Cause::UserData { answer }, result) => Reply::UserData(Ok(result), answer),
            (Cause::Message(socket), _) => {
                self.message_done(socket);
                Reply::None
            }
            (Cause::Close(socket, _), _) => {
                self.remove_socket(socket);
                Reply::None
            }
            (Cause::Timer(_), _) => Reply::None,
        }
    }

    /// Lets the client of a message send one more.
    pub(super) fn message_done(&mut self, socket: SocketKey) {
        if let Some(socket) = self.opened().resources().sockets.get(socket) {
            socket.client.turn_done();
        }
    }

    /// Holds what a turn says until the commit with its writes is durable. If it wrote nothing, that is the last commit
    /// before it; or, if another node may own the room by now, a proof that is asked for after the turn.
    pub(super) fn hold(&mut self, outputs: Vec<Output>, reply: Reply) {
        self.count_outputs(&outputs);
        let sockets = &mut self.opened().resources().sockets;
        let deliveries = outputs.into_iter().filter_map(|output| with_receivers(output, sockets)).collect::<Vec<_>>();
        let speaks = !deliveries.is_empty() || !matches!(reply, Reply::None);
        if speaks && self.shared.wants_proofs {
            self.batch.add_speaking();
        }
        let position = self.last_position();
        if speaks || position > 0 {
            let taken_at = (!deliveries.is_empty()).then_some(self.last_event);
            let span = self.commit_span(position);
            self.mailbox.output_gate.hold(position, TurnOutput { deliveries, reply, taken_at, span });
        }
    }
}

/// Adds the receivers to an output: the clients that are in the room at the end of the turn.
fn with_receivers(output: Output, sockets: &mut Sockets) -> Option<Delivery> {
    Some(match output {
        Output::Message(message, Audience::Everyone(except)) => {
            Delivery::ToEveryone(message, sockets.everyone(), except)
        }
        Output::Message(message, Audience::These(keys)) => {
            let present = keys.iter().filter_map(|key| sockets.get(*key)).filter(|socket| !socket.gone);
            Delivery::To(message, present.map(|socket| socket.client.clone()).collect())
        }
        Output::Close { socket, code, reason } => Delivery::Close(sockets.get(socket)?.client.clone(), code, reason),
        Output::AutoResponse(auto_response) => Delivery::AutoResponse(auto_response),
    })
}
