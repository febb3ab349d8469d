//! The spans of a room: its turns, and below them the wakes and the waits for the disk. Without `[telemetry]` each is a
//! look at an `Option`. Calls and posts are traced where they are made.

use super::RoomTask;
use crate::guest::{TurnCost, TurnFailure};
use crate::model::{Answer, Event};
use crate::room::metrics::cause;
use crate::room::traced::headers;
use crate::telemetry::{Span, SpanKind, Telemetry};

impl RoomTask {
    /// Begins the span of a turn. A request and a connect go on with the trace of their headers; all else begins a
    /// trace of its own.
    pub(super) fn begin_span(&mut self, event: &Event) {
        if let Some(telemetry) = &self.shared.telemetry {
            self.span = Some(self.turn_span(telemetry.clone(), event));
        }
    }

    fn turn_span(&mut self, telemetry: Telemetry, event: &Event) -> Span {
        let name = match event {
            Event::Connect(..) => "turn connect",
            Event::Message(..) => "turn message",
            Event::Close(..) => "turn close",
            Event::Timer(_) => "turn timer",
            Event::Request(_) => "turn request",
            Event::ExportUser(_) => "turn export-user",
            Event::EraseUser(_) => "turn erase-user",
            Event::Migrate(_) => "turn migrate",
        };
        let mut span = match event {
            Event::Connect(_, request) | Event::Request(request) => {
                telemetry.follow(name, SpanKind::Internal, headers(request))
            }
            Event::Message(..)
            | Event::Close(..)
            | Event::Timer(_)
            | Event::ExportUser(_)
            | Event::EraseUser(_)
            | Event::Migrate(_) => telemetry.follow(name, SpanKind::Internal, std::iter::empty()),
        };
        let address = self.state().address.clone();
        span.set_text("dormouse.namespace", address.namespace());
        span.set_text("dormouse.room", address.name());
        span.set_word("dormouse.event", event.name());
        let resources = self.opened().resources();
        // The turn gets its number next.
        span.set_number("dormouse.turn", resources.turn + 1);
        let user = match event {
            Event::Connect(socket, _) | Event::Message(socket, _) | Event::Close(socket, _) => {
                resources.sockets.get(*socket).map(|socket| socket.user.id.as_str())
            }
            Event::Request(request) => request.user.as_ref().map(|user| user.id.as_str()),
            // A collector keeps spans for long: the user who is erased is not among them.
            Event::Timer(_) | Event::ExportUser(_) | Event::EraseUser(_) | Event::Migrate(_) => None,
        };
        if let Some(user) = user {
            span.set_text("user.id", user);
        }
        span
    }

    /// The span of a migration: the code is asked for the version of its data, and changes data of another one.
    pub(super) fn migration_span(&self, stored: Option<u32>) -> Option<Span> {
        // Without data there is nothing to migrate.
        let from = stored?;
        let mut span = self.span.as_ref()?.inner("migrate")?;
        span.set_number("dormouse.data.from", from);
        Some(span)
    }

    /// The guest has run. What it answered is kept, unless there is no space.
    pub(super) fn span_ran(&mut self, cost: TurnCost, answer: Result<&Answer, &TurnFailure>) {
        let Some(span) = &mut self.span else { return };
        span.set_number("dormouse.cpu_ns", cost.cpu.as_nanos());
        match answer {
            Ok(Answer::Refuse(status, _)) => {
                span.set_word("dormouse.outcome", "refused");
                span.set_number("http.response.status_code", *status);
            }
            Ok(Answer::Response(response)) => {
                span.set_word("dormouse.outcome", "kept");
                span.set_number("http.response.status_code", response.status);
            }
            Ok(Answer::None | Answer::Accept | Answer::Exported(_) | Answer::Erased(_) | Answer::Migrated(_)) => {
                span.set_word("dormouse.outcome", "kept")
            }
            Err(failure) => {
                span.set_word("dormouse.outcome", "undone");
                span.fail(cause(failure));
            }
        }
    }

    /// The turn could not be kept.
    pub(super) fn span_without_space(&mut self) {
        if let Some(span) = &mut self.span {
            span.set_word("dormouse.outcome", "undone");
            span.fail("space");
        }
    }

    /// The room ends in the middle of a turn.
    pub(super) fn span_broken(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.fail("broken");
        }
    }

    /// The span of a wait for `position`; absent if nothing waits.
    pub(super) fn commit_span(&mut self, position: u64) -> Option<Span> {
        self.span.as_ref()?;
        if self.mailbox.output_gate.is_confirmed(position) {
            return None;
        }
        let commit = self.last_commit();
        let span = self.span.as_mut()?;
        span.set_number("dormouse.commit", commit);
        let mut waits = span.inner("commit")?;
        waits.set_number("dormouse.commit", commit);
        // If the commit fails, it is dropped.
        waits.fail("broken");
        Some(waits)
    }
}
