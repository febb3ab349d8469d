//! `context`: the identity of the room, its time, its configuration and its log.

use rand::Rng;

use crate::guest::bindings::room::dormouse::room::context::{self, Level, WakeReason};
use crate::guest::log_context::log_line;
use crate::guest::log_limiter::one_line;
use crate::guest::state::StoreData;

impl context::Host for StoreData {
    fn namespace(&mut self) -> wasmtime::Result<String> {
        Ok(self.resources.as_ref().map(|resources| resources.address.namespace().to_owned()).unwrap_or_default())
    }

    fn name(&mut self) -> wasmtime::Result<String> {
        Ok(self.resources.as_ref().map(|resources| resources.address.name().to_owned()).unwrap_or_default())
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.moment.now)
    }

    fn woken_by(&mut self) -> wasmtime::Result<WakeReason> {
        Ok(self.woken_by)
    }

    fn incarnation(&mut self) -> wasmtime::Result<u64> {
        Ok(self.resources.as_ref().map_or(0, |resources| resources.incarnation))
    }

    fn config(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let config = self.resources.as_ref().map_or(&self.config, |resources| &resources.config);
        Ok(config.get(&key).cloned())
    }

    fn random(&mut self) -> wasmtime::Result<u64> {
        Ok(self.rng().next_u64())
    }

    fn log(&mut self, level: Level, line: String) -> wasmtime::Result<()> {
        if !self.may_log() {
            return Ok(());
        }
        let (line, about) = (one_line(&line), self.log_context());
        let level = match level {
            Level::Debug => {
                log_line!(debug, about, line);
                "debug"
            }
            Level::Info => {
                log_line!(info, about, line);
                "info"
            }
            Level::Warn => {
                log_line!(warn, about, line);
                "warn"
            }
            Level::Error => {
                log_line!(error, about, line);
                "error"
            }
        };
        self.log_limiter.tap(level, &line);
        Ok(())
    }
}
