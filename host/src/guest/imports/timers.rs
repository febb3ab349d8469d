//! `timers`: named timers that wake the room.

use bytes::Bytes;
use wasmtime::bail;

use crate::guest::bindings::room::dormouse::room::timers::{self, Due, TimerError};
use crate::guest::convert;
use crate::guest::state::StoreData;
use crate::limits;
use crate::model::Timer;

impl StoreData {
    fn timer(&mut self, name: &str) -> wasmtime::Result<Option<Timer>> {
        if let Some(changed) = self.turn.changes.timers.get(name) {
            return Ok(changed.clone());
        }
        Ok(self.resources()?.timers.get(name).cloned())
    }

    /// Changed timers are held until the end of the turn, even if they are cancelled again. So too many changes trap.
    fn change(&mut self, name: String, timer: Option<Timer>) -> wasmtime::Result<()> {
        self.check_may_change()?;
        let was_set = self.timer(&name)?.is_some();
        self.usage.timers_more += isize::from(timer.is_some()) - isize::from(was_set);
        self.turn.changes.timers.insert(name, timer);
        if self.turn.changes.timers.len() > limits::TIMERS_CHANGED {
            bail!("the turn set and cancelled more than {} timers", limits::TIMERS_CHANGED);
        }
        Ok(())
    }

    /// All timers as this turn sees them, ordered by name.
    fn all_timers(&mut self) -> wasmtime::Result<Vec<Timer>> {
        let changed = std::mem::take(&mut self.turn.changes.timers);
        let before = self.resources()?.timers.iter().filter(|timer| !changed.contains_key(&timer.name)).cloned();
        let mut all = before.chain(changed.values().flatten().cloned()).collect::<Vec<_>>();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        self.turn.changes.timers = changed;
        Ok(all)
    }
}

impl timers::Host for StoreData {
    fn set(&mut self, name: String, due: Due, payload: Vec<u8>) -> wasmtime::Result<Result<(), TimerError>> {
        if name.is_empty() || name.len() > limits::TIMER_NAME_BYTES {
            return Ok(Err(TimerError::BadName));
        }
        if payload.len() > limits::TIMER_PAYLOAD_BYTES {
            return Ok(Err(TimerError::PayloadTooLarge));
        }
        let set = self.resources()?.timers.len().saturating_add_signed(self.usage.timers_more);
        if set >= limits::TIMERS && self.timer(&name)?.is_none() {
            return Ok(Err(TimerError::TooMany));
        }
        let at = match due {
            Due::At(at) => at,
            Due::After(after) => self.moment.now.saturating_add(after),
        };
        let timer = Timer { name: name.clone(), at, payload: Bytes::from(payload), attempt: 0 };
        self.change(name, Some(timer))?;
        Ok(Ok(()))
    }

    fn get(&mut self, name: String) -> wasmtime::Result<Option<timers::Timer>> {
        Ok(self.timer(&name)?.as_ref().map(convert::timer))
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<bool> {
        let was_set = self.timer(&name)?.is_some();
        if was_set {
            self.change(name, None)?;
        }
        Ok(was_set)
    }

    fn list(&mut self) -> wasmtime::Result<Vec<timers::Timer>> {
        Ok(self.all_timers()?.iter().map(convert::timer).collect())
    }
}
