//! Refuses settings of `[telemetry]` with which no span would be of use, or a secret would be read on its way.

use crate::config::{ConfigError, Telemetry};
use crate::limits::SPAN_TEXT_BYTES;

impl Telemetry {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // Not a number is in no range either.
        if !(0.0..=1.0).contains(&self.sample) {
            let problem = format!(
                "{} is no part of the traces; write a number from 0 to 1, such as 0.1 for a tenth of them",
                self.sample
            );
            return Err(ConfigError::invalid("telemetry.sample", problem));
        }
        let name = self.service.trim();
        if name.is_empty() || self.service.len() > SPAN_TEXT_BYTES || self.service.chars().any(char::is_control) {
            let problem = format!(
                "must be 1 to {SPAN_TEXT_BYTES} bytes of text without control characters; write one such as `dormouse`"
            );
            return Err(ConfigError::invalid("telemetry.service", problem));
        }
        if self.headers_file.is_some() && self.otlp.is_exposed() {
            let problem = format!(
                "{} is not encrypted, and its host is not this machine, so others could read the headers of \
                 `telemetry.headers_file`; write https, a loopback address, or leave the headers out",
                self.otlp.origin()
            );
            return Err(ConfigError::invalid("telemetry.otlp", problem));
        }
        Ok(())
    }
}
