//! Refuses settings of a namespace that do not work, and settings of its rooms that the component does not declare.

use super::headers::check_response_headers;
use super::{bytes, duration};
use crate::config::nearest::nearest;
use crate::config::{Config, ConfigError, Limits, Namespace};
use crate::limits::{MESSAGE_BYTES, MESSAGE_OVERHEAD_BYTES};
use crate::model::{Address, Declared};

impl Namespace {
    pub(super) fn check(&self, name: &str, config: &Config) -> Result<(), ConfigError> {
        let key = |key: &str| format!("namespaces.{name}.{key}");
        Address::check_namespace(name)
            .map_err(|error| ConfigError::invalid(format!("namespaces.{name}"), error.to_string()))?;
        if self.component.is_empty() {
            let problem = "must not be empty; write `builtin:chat-room`, `builtin:presence-tracker`, or name a file";
            return Err(ConfigError::invalid(key("component"), problem));
        }
        if let Some(unknown) = self.calls.iter().find(|called| !config.namespaces.contains_key(*called)) {
            let problem = format!("there is no namespace `{unknown}`; name one that is configured");
            return Err(ConfigError::invalid(key("calls"), problem));
        }
        if let Some(hibernate_after) = self.hibernate_after {
            duration(&key("hibernate_after"), hibernate_after)?;
        }
        check_response_headers(&key("response_headers"), &self.response_headers)?;
        bytes(&key("message_in_bytes"), self.message_in_bytes as u64, 1, MESSAGE_BYTES as u64)?;
        bytes(&key("message_out_bytes"), self.message_out_bytes as u64, 1, MESSAGE_BYTES as u64)?;
        // A namespace that leaves it out sends what fits.
        let (most, limit) = self.longest_message(&config.limits);
        if self.message_out_bytes != MESSAGE_BYTES && most < self.message_out_bytes {
            let problem = format!(
                "{} is more than {limit} lets through, so such a message could never be sent; write at most {most}, or \
                 raise {limit}",
                self.message_out_bytes
            );
            return Err(ConfigError::invalid(key("message_out_bytes"), problem));
        }
        Ok(())
    }

    /// The longest message that rooms of this namespace can send, and the limit that decides it.
    fn longest_message(&self, limits: &Limits) -> (usize, &'static str) {
        let of_turn = limits.turn_output_bytes.saturating_sub(MESSAGE_OVERHEAD_BYTES);
        [
            (self.message_out_bytes, "message_out_bytes"),
            (limits.socket_queue_bytes, "limits.socket_queue_bytes"),
            (of_turn, "limits.turn_output_bytes"),
        ]
        .into_iter()
        .min_by_key(|(bytes, _)| *bytes)
        .expect("there are three")
    }

    /// Checks `config` and the longest message against what the component declares. `name` is the namespace's.
    pub(crate) fn check_declared(&self, name: &str, declared: &Declared, limits: &Limits) -> Result<(), ConfigError> {
        for (key, value) in &self.config {
            let invalid = |problem| ConfigError::invalid(format!("namespaces.{name}.config.{key}"), problem);
            match declared.settings.iter().find(|setting| setting.name == *key) {
                Some(setting) => setting.kind.check(value).map_err(invalid)?,
                None => return Err(invalid(self.unknown_setting(key, declared))),
            }
        }
        if self.message_in_bytes < declared.message_in_bytes {
            let (component, has, least) = (&self.component, self.message_in_bytes, declared.message_in_bytes);
            let problem =
                format!("{has} is too little for {component}, whose clients send {least}; write at least {least}");
            return Err(ConfigError::invalid(format!("namespaces.{name}.message_in_bytes"), problem));
        }
        let (most, limit) = self.longest_message(limits);
        if most < declared.message_out_bytes {
            let (component, least) = (&self.component, declared.message_out_bytes);
            let (key, has, least) = match limit {
                "message_out_bytes" => (format!("namespaces.{name}.{limit}"), most, least),
                "limits.turn_output_bytes" => {
                    (limit.to_owned(), limits.turn_output_bytes, least + MESSAGE_OVERHEAD_BYTES)
                }
                _ => (limit.to_owned(), most, least),
            };
            let problem = format!("{has} is too little for {component}, which needs {least}; write at least {least}");
            return Err(ConfigError::invalid(key, problem));
        }
        Ok(())
    }

    fn unknown_setting(&self, key: &str, declared: &Declared) -> String {
        let names = declared.settings.iter().map(|setting| setting.name.as_str());
        match nearest(key, names) {
            Some(nearest) => format!("{} has no such setting; did you mean `{nearest}`?", self.component),
            None => format!("{} has no settings; remove it", self.component),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Setting, SettingKind};

    fn check(key: &str, value: &str, message_out_bytes: usize) -> Result<(), String> {
        let keep = Setting { name: "keep_messages".into(), kind: SettingKind::Number { from: 1, to: 1_000 } };
        let title = Setting { name: "title".into(), kind: SettingKind::Text };
        let declared = Declared { settings: vec![keep, title], message_out_bytes: 4_096, ..Declared::default() };
        let config = [(key.to_owned(), value.to_owned())].into();
        let namespace = Namespace { config, message_out_bytes, ..Namespace::of("builtin:chat-room") };
        namespace.check_declared("ROOMS", &declared, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_declared_by_a_component_are_checked_by_name() {
        assert_eq!(check("keep_messages", "10", 4_096), Ok(()));
        assert_eq!(check("title", "lots", MESSAGE_BYTES), Ok(()));
        let refused = |key, value, bytes| check(key, value, bytes).unwrap_err();
        let wrong = refused("keep_messages", "lots", 4_096);
        assert_eq!(wrong, "namespaces.ROOMS.config.keep_messages: \"lots\" is not a number from 1 to 1000");
        assert!(refused("keep_messages", "0", 4_096).contains("from 1 to 1000"));
        let misspelt = refused("keep_mesages", "10", 4_096);
        assert!(misspelt.starts_with("namespaces.ROOMS.config.keep_mesages:"), "{misspelt}");
        assert!(misspelt.ends_with("did you mean `keep_messages`?"), "{misspelt}");
        let little = refused("title", "x", 4_095);
        assert!(little.starts_with("namespaces.ROOMS.message_out_bytes:") && little.contains("4096"), "{little}");
    }
}
