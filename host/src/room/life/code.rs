//! Which code a room runs. When its namespace has other code for it, the room takes that between two turns: it drops
//! its instance, as when it hibernates, and the next event wakes the new code. Sockets, timers and storage stay.
//!
//! The first turns of a room with new code can be taken back: if the code fails, the same event runs with the old code,
//! and the deploy stops. It does not know who deploys; `turn` calls it.

use std::sync::Arc;

use super::turn::TurnError;
use super::{Broken, RoomState, RoomTask};
use crate::guest::{CompiledRoom, TurnCost};
use crate::limits::FIRST_TURNS;
use crate::model::{Event, Turn};
use crate::rollout::{Choice, Failed};

impl RoomState {
    /// The room runs this code from now on.
    pub(super) fn follow(&mut self, choice: &Choice<CompiledRoom>) {
        let version = &choice.code.version;
        let is_new = !self.runs.as_ref().is_some_and(|runs| runs.is(version));
        if is_new {
            self.runs = Some(version.run());
        }
        match &choice.fallback {
            Some(_) if is_new => self.first_turns = FIRST_TURNS,
            Some(_) => {}
            None => self.first_turns = 0,
        }
    }
}

impl RoomTask {
    /// Takes other code if the namespace has it for this room. Called between turns.
    pub(super) fn follow_deploys(&mut self) {
        let state = self.state.as_ref().expect("a running room has its state");
        if self.code.generation != state.namespace.code.generation() {
            self.take_code();
        }
    }

    fn take_code(&mut self) {
        let state = self.state();
        let choice = state.namespace.code.choose(state.address.name());
        state.follow(&choice);
        if !Arc::ptr_eq(&self.code.code, &choice.code) {
            self.drop_instance();
            self.mailbox.not_idle();
            self.data_is_checked = false;
        }
        self.code = choice;
    }

    /// Runs one of the first events with new code. If the code fails, the event runs with the old code, and the deploy
    /// stops; the failed turn has changed nothing.
    ///
    /// If the old code fails in the same way, the event is to blame and not the deploy, which any client could stop
    /// otherwise. For the same reason a room goes on with the new code if that has migrated the data at an earlier
    /// event, and the old code cannot read it any more.
    pub(super) async fn run_first_turn(&mut self, event: Event) -> Result<(Result<Turn, TurnError>, TurnCost), Broken> {
        self.state().first_turns -= 1;
        let (failure, failed_cost) = match self.run_on_data(event.clone()).await? {
            (Err(TurnError::Guest(failure)), cost) if failure.is_of_code() => (failure, cost),
            ran => return Ok(ran),
        };
        let Some(old) = self.code.fallback.clone() else { return Ok((Err(failure.into()), failed_cost)) };
        let (name, had_read_data) = if failure.is_of_data() { ("migrate", false) } else { (event.name(), true) };
        let new = std::mem::replace(&mut self.code.code, old.clone());
        self.data_is_checked = false;
        let (ran, cost) = self.run_on_data(event).await?;
        let cost = failed_cost + cost;
        if let Err(TurnError::Guest(again)) = &ran
            && (again.is_like(&failure) || (had_read_data && again.is_of_data()))
        {
            self.code.code = new;
            self.data_is_checked = false;
            return Ok((Err(failure.into()), cost));
        }
        tracing::error!(
            event = name,
            "new code failed, so the old code runs this event, and the deploy stops: {failure}"
        );
        let state = self.state();
        let reason = failure.to_string();
        let failed = Failed { hash: new.version.hash().clone(), place: state.address.to_string(), event: name, reason };
        state.namespace.code.fail(&new.version, failed);
        state.runs = Some(old.version.run());
        state.first_turns = 0;
        self.code.fallback = None;
        Ok((ran, cost))
    }
}
