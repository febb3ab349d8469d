//! One WebSocket, from its upgrade to its end: it reads frames, writes frames, sends pings and judges the client's
//! pace. It knows the room only as a `Seat`; `upgrade` starts it.
//!
//! tungstenite parses and validates incoming frames, and answers pings and closes. Its answers go into our own queue
//! (`outgoing`), behind the room's messages. This task reads; it writes only what the room's thread could not write at
//! once.

use std::future::Future;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use tokio::io::ReadBuf;
use tokio::time::Sleep;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

use super::close::CloseReason;
use super::frames;
use super::outgoing::Outgoing;
use super::registry::Registration;
use super::renewal::{self, Renewal};
use super::stream::{self, Reader};
use crate::clock::{self, UnixMillis};
use crate::config::Limits;
use crate::edge::access::socket_access::{Renewed, SocketAccess};
use crate::edge::admission::users::UserUsage;
use crate::edge::identity::verified::Verified;
use crate::edge::identity::verifier::Verifier;
use crate::edge::listener::reset::Reset;
use crate::edge::metrics::Metrics;
use crate::edge::sockets::rate::{RateDecision, SocketRateLimit};
use crate::model::{Client, Close, Message, OutboundMessage, UserAccess, error_frame, forbidden_frame};
use crate::room::{self, Seat};

/// The most replies that may wait before the client is read no further: the answers to its pings wait in the same
/// queue.
const FRAMES_WAITING: usize = 256;
/// Messages read before other tasks on this thread get their turn.
const MESSAGES_A_POLL: usize = 32;
/// The size of one read, in bytes. The buffer lives as long as the connection, so it is small; a longer message gets
/// its own.
const READ_BUFFER_BYTES: usize = 1_024;
/// The size of one read from a client whose data is discarded, in bytes.
const DISCARDED_BYTES: usize = 8_192;

/// The settings and permits of one connection.
pub(in crate::edge) struct ConnectionContext {
    pub(in crate::edge) limits: Arc<Limits>,
    /// The longest message that the client may send, in bytes.
    pub(in crate::edge) message_bytes: usize,
    /// When the identity expires; the client may renew it.
    pub(in crate::edge) expires_at: Option<UnixMillis>,
    /// The user whose rate limit counts; absent in dev auth.
    pub(in crate::edge) user: Option<Arc<UserUsage>>,
    pub(in crate::edge) metrics: Arc<Metrics>,
    /// Verifies the token of a renewal.
    pub(in crate::edge) verifier: Verifier,
    /// The permissions of the user in the room.
    pub(in crate::edge) access: SocketAccess,
    /// The socket's place in the registry; it is removed after the room was notified of the end.
    pub(in crate::edge) registration: Registration,
}

/// The task of one WebSocket.
pub(in crate::edge) struct Connection {
    reader: Reader,
    protocol: WebSocketContext,
    outgoing: Arc<Outgoing>,
    /// Dropped when the room is notified of the end.
    seat: Option<Seat>,
    shared: ConnectionContext,
    rate_limit: Option<Box<SocketRateLimit>>,
    /// The number of waiting frames at the last write.
    waiting: usize,
    /// A message that the room's mailbox had no space for.
    refused: Option<Message>,
    /// The user's newest access, which the room's mailbox had no space for. It follows `refused`, which was sent
    /// before.
    late_access: Option<UserAccess>,
    last_received_at: Instant,
    alarm: Pin<Box<Sleep>>,
    state: State,
    /// The ending that the room gets.
    ending: Option<Close>,
    /// The answer to the client's close frame. It is sent behind the outputs of the turns of earlier messages.
    farewell: Option<Bytes>,
    /// Present once the client has ended its half of the connection.
    reset: Option<Reset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No ping is out; the alarm checks how long the client was silent.
    Open,
    /// A ping was sent; the alarm closes the connection unless a frame came since.
    PingSent(Instant),
    /// The client sent a close frame, or ended its half of the connection, and the room was notified. The outputs
    /// of the turns of earlier messages are awaited; the alarm ends that.
    Leaving,
    /// A close frame was sent, and that of the client is awaited; the alarm cuts the connection.
    Closing,
    /// The client violated the protocol and got a close frame. Its further data is discarded until it ends the
    /// connection; the alarm cuts it.
    Discarding,
    /// All frames are queued. The connection ends when they are written; the alarm cuts it.
    Finishing,
}

/// The connection is over.
struct Over;

impl Connection {
    /// Makes the connection after its upgrade.
    pub(in crate::edge) fn new(
        upgraded: Upgraded,
        outgoing: Arc<Outgoing>,
        seat: Seat,
        shared: ConnectionContext,
    ) -> Self {
        let (reader, writer, read) = stream::split(upgraded);
        let max_bytes = shared.message_bytes.max(renewal::FRAME_BYTES);
        let last_received_at = clock::monotonic();
        let rate_limit = |user: &Arc<UserUsage>| {
            Box::new(SocketRateLimit::new(&shared.limits, max_bytes, user.clone(), last_received_at))
        };
        let mut rate_limit = shared.user.as_ref().map(rate_limit);
        if let Some(rate_limit) = &mut rate_limit {
            rate_limit.received(&read);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(max_bytes))
            .max_frame_size(Some(max_bytes));
        let protocol = WebSocketContext::from_partially_read(read.into(), Role::Server, Some(config));
        let alarm = Box::pin(clock::timer(first_alarm(&shared)));
        outgoing.open(writer);
        Connection {
            reader,
            protocol,
            outgoing,
            seat: Some(seat),
            shared,
            rate_limit,
            waiting: 0,
            refused: None,
            late_access: None,
            last_received_at,
            alarm,
            state: State::Open,
            ending: None,
            farewell: None,
            reset: None,
        }
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        // Before the work is taken, which may be the close that it asks for.
        while !self.is_ending()
            && let Poll::Ready(renewed) = self.shared.access.poll(context)
        {
            self.apply(renewed);
        }
        if self.take_work(context).is_err() {
            return Poll::Ready(Over);
        }
        if self.write(context).is_err() {
            return Poll::Ready(Over);
        }
        if self.read(context).is_err() {
            // Frames may wait that the client can still read.
            let _ = self.write(context);
            return Poll::Ready(Over);
        }
        if self.waiting > 0 && self.write(context).is_err() {
            return Poll::Ready(Over);
        }
        if self.waiting == 0 && matches!(self.state, State::Discarding | State::Finishing) {
            match self.outgoing.poll_end(context) {
                Poll::Ready(Ok(())) if self.state == State::Discarding => {}
                Poll::Ready(_) => return Poll::Ready(Over),
                Poll::Pending => {}
            }
        }
        self.ring(context)
    }

    /// Does what the room and the host have asked for.
    fn take_work(&mut self, context: &Context<'_>) -> Result<(), Over> {
        let work = self.outgoing.take(context);
        if work.cut {
            return Err(Over);
        }
        if let Some((code, reason)) = work.close {
            self.say_goodbye(code, &reason);
        }
        if work.nothing_follows && self.state == State::Leaving {
            self.say_goodbye(CloseReason::InputEnded.code(), &CloseReason::InputEnded.reason());
        }
        if work.resumed {
            if let Some(message) = self.refused.take() {
                self.hand_over(message);
            }
            if let Some(access) = self.late_access.take() {
                self.pass_access(access);
            }
        }
        Ok(())
    }

    /// Queues the close frame: an answer to that of the client, or one with this code and reason.
    fn say_goodbye(&mut self, code: u16, reason: &str) {
        self.state = match self.state {
            State::Closing | State::Discarding | State::Finishing => return,
            State::Leaving => State::Finishing,
            State::Open | State::PingSent(_) => {
                self.ending = Some(Close { code, reason: reason.into(), clean: false });
                State::Closing
            }
        };
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let mut replies = Vec::new();
        let mut io = TungsteniteIo { reader: None, replies: &mut replies, rate_limit: None };
        // tungstenite writes the frame unless the client has sent one or can send no more.
        let _ = self.protocol.close(&mut io, Some(frame.clone()));
        let _ = self.protocol.flush(&mut io);
        let last = match self.farewell.take() {
            Some(answer) => answer,
            None if replies.is_empty() => frames::close(&frame),
            None => replies.into(),
        };
        self.waiting = self.outgoing.goodbye(last);
        self.set_alarm(self.shared.limits.close_timeout);
    }

    /// Tells the room that the client has left. The client may still read the outputs of earlier turns.
    fn leave(&mut self, ending: Close, within: Duration) {
        self.state = State::Leaving;
        self.set_alarm(within);
        self.notify_room(ending);
    }

    fn notify_room(&mut self, ending: Close) {
        if let Some(seat) = self.seat.take() {
            self.shared.metrics.closed(ending.code);
            seat.close(ending);
        }
    }

    fn reply(&mut self, replies: Vec<u8>) {
        if !replies.is_empty() {
            self.waiting = self.outgoing.reply(replies.into());
        }
    }

    /// Writes waiting frames, as far as the client reads them.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Over> {
        self.waiting = self.outgoing.poll_write(context).map_err(|_| Over)?;
        Ok(())
    }

    /// Returns whether either side has sent a close frame, or the client can send no more.
    fn is_ending(&self) -> bool {
        !matches!(self.state, State::Open | State::PingSent(_))
    }

    /// Returns whether reading is paused, because the room has no space for more messages (backpressure).
    fn is_paused(&self) -> bool {
        !self.is_ending() && (self.refused.is_some() || self.late_access.is_some() || !self.outgoing.may_send())
    }

    fn read(&mut self, context: &mut Context<'_>) -> Result<(), Over> {
        if matches!(self.state, State::Leaving | State::Discarding | State::Finishing) {
            return self.discard(context);
        }
        for _ in 0..MESSAGES_A_POLL {
            if self.is_paused() || self.waiting > FRAMES_WAITING {
                return Ok(());
            }
            let mut replies = Vec::new();
            let rate_limit = self.rate_limit.as_deref_mut();
            let mut io = TungsteniteIo { reader: Some((&mut self.reader, context)), replies: &mut replies, rate_limit };
            let read = self.protocol.read(&mut io);
            let flushed = self.protocol.flush(&mut io);
            match read {
                // The answer to a close frame is a close frame as well.
                Ok(tungstenite::Message::Close(_)) if !replies.is_empty() => self.farewell = Some(replies.into()),
                _ => self.reply(replies),
            }
            if self.rate_limit.as_mut().is_some_and(|rate_limit| !rate_limit.pay(clock::monotonic())) {
                self.start_discarding(CloseReason::Flood);
            }
            match read {
                Ok(message) => {
                    self.handle_frame(message);
                    // tungstenite returns this once it has seen both close frames.
                    if self.state != State::Leaving && matches!(flushed, Err(Error::ConnectionClosed)) {
                        self.finish(true);
                        return Err(Over);
                    }
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(Error::ConnectionClosed) => {
                    self.finish(true);
                    return Err(Over);
                }
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return self.input_ended(context),
                Err(error) => match fault(&error) {
                    Some(why) => self.start_discarding(why),
                    None => return Err(Over),
                },
            }
            if matches!(self.state, State::Leaving | State::Discarding) {
                return self.discard(context);
            }
        }
        // More may wait in the buffer, and nothing else would wake this task for it.
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Sends a close frame with the reason, and discards all further data.
    fn start_discarding(&mut self, why: CloseReason) {
        self.say_goodbye(why.code(), &why.reason());
        self.state = State::Discarding;
    }

    /// The client has ended its half of the connection, and may still read. It gets the outputs of its messages within
    /// `answer_timeout`, and a close frame within `close_timeout`.
    fn input_ended(&mut self, context: &mut Context<'_>) -> Result<(), Over> {
        self.reset = Some(self.reader.watch_reset());
        match self.state {
            State::Open | State::PingSent(_) => self.leave(Close::lost(), self.shared.limits.answer_timeout),
            State::Closing | State::Discarding => self.state = State::Finishing,
            State::Leaving | State::Finishing => {}
        }
        self.discard(context)
    }

    /// Discards incoming data until the client ends its half of the connection. Closing a socket with unread data
    /// resets it, and then the client may never see the last frames.
    fn discard(&mut self, context: &mut Context<'_>) -> Result<(), Over> {
        if let Some(reset) = &mut self.reset {
            return if reset.has_come(context) { Err(Over) } else { Ok(()) };
        }
        for _ in 0..MESSAGES_A_POLL {
            let mut bytes = [const { MaybeUninit::uninit() }; DISCARDED_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match self.reader.poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) => return self.input_ended(context),
                Poll::Ready(Err(_)) => return Err(Over),
                Poll::Pending => return Ok(()),
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }

    fn handle_frame(&mut self, message: tungstenite::Message) {
        self.last_received_at = clock::monotonic();
        match message {
            // After a close frame, messages are ignored and not answered.
            tungstenite::Message::Text(_) | tungstenite::Message::Binary(_) if self.is_ending() => {}
            // This comes first, because no room may see a token, not even through its auto-response.
            tungstenite::Message::Text(text) if renewal::is_asked(&text) => self.renew(&text),
            tungstenite::Message::Text(text) => match self.seat.as_ref().and_then(|seat| seat.auto_response(&text)) {
                Some(reply) => {
                    self.waiting = self.outgoing.reply(super::frames::encode(&Message::Text(reply)));
                    self.control();
                }
                None => self.pass_to_room(Message::Text(text.as_str().to_owned())),
            },
            tungstenite::Message::Binary(bytes) => match renewal::is_asked_in(&bytes) {
                Some(text) => self.renew(text),
                None => self.pass_to_room(Message::Binary(bytes.into())),
            },
            tungstenite::Message::Close(frame) => {
                let (code, reason) = frame
                    .map_or((1005, String::new()), |frame| (u16::from(frame.code), frame.reason.as_str().to_owned()));
                if !self.is_ending() {
                    self.leave(Close { code, reason, clean: true }, self.shared.limits.close_timeout);
                }
            }
            // tungstenite has answered the ping; a pong only shows that the client is alive.
            tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {
                self.control();
            }
        }
    }

    /// Counts a frame that the room does not see.
    fn control(&mut self) {
        if self.rate_limit.as_mut().is_some_and(|rate_limit| !rate_limit.control(self.last_received_at)) {
            self.start_discarding(CloseReason::Flood);
        }
    }

    /// Handles a message for the room.
    fn pass_to_room(&mut self, message: Message) {
        let text = match &message {
            Message::Text(text) => Some(text.as_str()),
            Message::Binary(_) => None,
        };
        if !self.may_send(text) {
            return;
        }
        // Longer messages are read only because a renewal frame may be longer than the room's messages.
        if message.len() > self.shared.message_bytes {
            return self.start_discarding(CloseReason::TooBig);
        }
        let registration = &self.shared.registration;
        if let Err(missing) = self.shared.access.check_message(&registration.user().id, registration.service()) {
            return self.send_own(forbidden_frame(missing, &message));
        }
        self.shared.metrics.messages.inc();
        self.outgoing.sent();
        self.hand_over(message);
    }

    /// Returns whether one more message is within the rate limits; if not, the client is notified.
    fn may_send(&mut self, text: Option<&str>) -> bool {
        let decision =
            self.rate_limit.as_mut().map_or(RateDecision::Yes, |rate_limit| rate_limit.message(self.last_received_at));
        match decision {
            RateDecision::Yes => {}
            RateDecision::NotNow(refused) => {
                self.shared.metrics.refused(refused);
                self.send_own(error_frame("rate_limited", "too many messages; slow down", text));
            }
            RateDecision::Flood => self.start_discarding(CloseReason::Flood),
        }
        decision == RateDecision::Yes
    }

    /// Sends a message of the host's own.
    fn send_own(&self, text: String) {
        self.outgoing.enqueue(&OutboundMessage::new(Message::Text(text)));
        self.outgoing.flush();
    }

    /// Handles a new token of the client.
    fn renew(&mut self, text: &str) {
        if !self.may_send(None) {
            return;
        }
        match renewal::renew(&self.shared.verifier, &self.shared.registration, text) {
            Renewal::Accepted { verified, answer } => {
                self.shared.expires_at = verified.expires_at;
                // The new expiry may come before the alarm. This frame also shows that the client is alive.
                self.state = State::Open;
                self.set_alarm(self.shared.limits.ping_every);
                self.send_own(answer);
                self.renew_access(&verified);
            }
            Renewal::Refused(error) => self.send_own(error),
            Renewal::Never(why) => self.outgoing.close(why.code(), &why.reason()),
        }
    }

    /// Applies what a new token grants: to the next message already, or by closing the socket.
    fn renew_access(&mut self, verified: &Verified) {
        let renewed = self.shared.access.renew(verified);
        self.apply(renewed);
    }

    fn apply(&mut self, renewed: Renewed) {
        if renewed != Renewed::Same {
            self.pass_access(self.shared.access.of_user());
        }
        match CloseReason::after(renewed) {
            Some(why) => self.outgoing.close(why.code(), &why.reason()),
            None if renewed == Renewed::Changed => {
                self.shared.access.frame().into_iter().for_each(|frame| self.send_own(frame));
            }
            None => {}
        }
    }

    /// Passes the user's new access to the room, behind the messages that the client has sent. The client is read no
    /// further until the room has space for it.
    fn pass_access(&mut self, access: UserAccess) {
        let Some(seat) = &self.seat else { return };
        self.late_access = match &self.refused {
            Some(_) => Some(access),
            None => seat.set_access(access).err(),
        };
    }

    fn hand_over(&mut self, message: Message) {
        let Some(seat) = &self.seat else { return };
        match seat.message(message) {
            room::Delivered::Yes | room::Delivered::Never => {}
            room::Delivered::NotNow(message) => self.refused = Some(message),
        }
    }

    /// Checks whether the client is alive and whether the identity has expired.
    fn ring(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let limits = self.shared.limits.clone();
            if self.shared.expires_at.is_some_and(|at| at <= clock::unix_millis()) && !self.is_ending() {
                self.say_goodbye(CloseReason::Expired.code(), &CloseReason::Expired.reason());
            } else {
                match self.state {
                    State::Closing | State::Discarding | State::Finishing => return Poll::Ready(Over),
                    State::Leaving => {
                        self.say_goodbye(CloseReason::InputEnded.code(), &CloseReason::InputEnded.reason());
                        // Our half ends at the next poll, behind the close frame.
                        context.waker().wake_by_ref();
                    }
                    State::Open | State::PingSent(_) if self.is_paused() => {
                        // Reading is paused, so silence says nothing about the client.
                        self.last_received_at = clock::monotonic();
                        self.state = State::Open;
                        self.set_alarm(limits.ping_every);
                    }
                    State::PingSent(at) if self.last_received_at < at => {
                        self.say_goodbye(CloseReason::Idle.code(), &CloseReason::Idle.reason());
                    }
                    State::PingSent(_) => {
                        self.state = State::Open;
                        self.set_alarm(limits.ping_every.saturating_sub(clock::since(self.last_received_at)));
                    }
                    State::Open if clock::since(self.last_received_at) < limits.ping_every => {
                        self.set_alarm(limits.ping_every.saturating_sub(clock::since(self.last_received_at)));
                    }
                    State::Open => {
                        self.ask();
                        self.set_alarm(limits.pong_timeout);
                    }
                }
            }
            if self.write(context).is_err() {
                return Poll::Ready(Over);
            }
        }
    }

    fn ask(&mut self) {
        let mut replies = Vec::new();
        let mut io = TungsteniteIo { reader: None, replies: &mut replies, rate_limit: None };
        let ping = tungstenite::Message::Ping(Bytes::new());
        // It fails only after a close frame, and then no ping is needed.
        let _ = self.protocol.write(&mut io, ping).and_then(|()| self.protocol.flush(&mut io));
        self.reply(replies);
        self.state = State::PingSent(clock::monotonic());
    }

    /// Sets the alarm to a while from now, or to the identity's expiry if that is earlier.
    fn set_alarm(&mut self, after: Duration) {
        let until_expiry = self.shared.expires_at.filter(|_| !self.is_ending()).map(until);
        let after = until_expiry.map_or(after, |expiry| after.min(expiry));
        self.alarm.as_mut().reset((clock::monotonic() + after).into());
    }

    /// Records that the connection ended; `clean` if both sides sent a close frame.
    fn finish(&mut self, clean: bool) {
        self.ending.get_or_insert_with(Close::lost).clean = clean;
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.drive(context).map(|Over| ())
    }
}

impl Drop for Connection {
    /// Notifies the room of the end, once, however the connection ended.
    fn drop(&mut self) {
        let ending = self.ending.take().unwrap_or_else(Close::lost);
        self.notify_room(ending);
        // After that: the client must not see the end before the room was notified.
        self.outgoing.hang_up();
    }
}

fn first_alarm(shared: &ConnectionContext) -> Duration {
    shared.expires_at.map_or(shared.limits.ping_every, |at| until(at).min(shared.limits.ping_every))
}

fn until(at: UnixMillis) -> Duration {
    Duration::from_millis(at.saturating_sub(clock::unix_millis()))
}

/// The client's violation; absent if the connection is simply gone.
fn fault(error: &Error) -> Option<CloseReason> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseReason::TooBig),
        Error::Utf8(_) => Some(CloseReason::NotUtf8),
        Error::Protocol(_) | Error::Capacity(_) => Some(CloseReason::Protocol),
        _ => None,
    }
}

/// The connection as tungstenite sees it: reads come from the client, and writes go behind the room's messages.
struct TungsteniteIo<'a, 'b> {
    /// Absent if nothing is to be read.
    reader: Option<(&'a mut Reader, &'a mut Context<'b>)>,
    replies: &'a mut Vec<u8>,
    /// Counts the bytes that are read; absent where no limit holds.
    rate_limit: Option<&'a mut SocketRateLimit>,
}

impl Read for TungsteniteIo<'_, '_> {
    /// Reads once. A read that does not fill the buffer has emptied the connection, and costs no second read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((reader, context)) = &mut self.reader else { return Err(io::ErrorKind::WouldBlock.into()) };
        let mut buffer = ReadBuf::new(buffer);
        match reader.poll_read(context, &mut buffer) {
            Poll::Ready(read) => {
                read?;
                if let Some(rate_limit) = &mut self.rate_limit {
                    rate_limit.received(buffer.filled());
                }
                Ok(buffer.filled().len())
            }
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for TungsteniteIo<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
