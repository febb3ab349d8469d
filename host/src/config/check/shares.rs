//! Limits that are parts of others: a part above its whole limits nothing.

use super::text;
use crate::config::{ConfigError, Limits};

impl Limits {
    /// A share above its total limits nothing. A share that is left out is not refused, so that it is enough to lower
    /// the total; [`Config::warnings`](crate::config::Config::warnings) names it.
    pub(super) fn check_shares(&self) -> Result<(), ConfigError> {
        match self.shares().into_iter().find(|share| share.is_above() && !share.is_default) {
            Some(Share { key, value, total_key, total, .. }) => {
                let problem = format!(
                    "{value} is more than limits.{total_key}, {total}, of which it is a part, so it would limit \
                     nothing; write at most {total}"
                );
                Err(ConfigError::invalid(format!("limits.{key}"), problem))
            }
            None if self.turn_cpu_slow > self.turn_cpu && self.turn_cpu_slow != Limits::default().turn_cpu_slow => {
                let (slow, cpu) = (text(self.turn_cpu_slow), text(self.turn_cpu));
                let problem = format!(
                    "{slow} is more than limits.turn_cpu, {cpu}, so no turn would be reported; write at most \"{cpu}\""
                );
                Err(ConfigError::invalid("limits.turn_cpu_slow", problem))
            }
            None => Ok(()),
        }
    }

    pub(super) fn shares_above_their_total(&self, is_dev: bool, has_services: bool) -> Vec<String> {
        let holds = |share: &Share| match share.takes_all {
            Some("service") => has_services && !is_dev,
            Some(_) => !(is_dev && share.off_in_dev),
            None => false,
        };
        let counts = |share: &Share| share.is_above() && holds(share);
        let shares = self.shares().into_iter().filter(counts);
        shares
            .map(|Share { key, value, total_key, total, takes_all, .. }| {
                format!(
                    "limits.{key}: {value} is more than limits.{total_key}, {total}, so one {} may take all of them; \
                     set it lower than that",
                    takes_all.unwrap_or_default()
                )
            })
            .collect()
    }

    /// Limits that are parts of others.
    fn shares(&self) -> Vec<Share> {
        let usual = Limits::default();
        let share = |key, value: fn(&Limits) -> u64, total_key, total: fn(&Limits) -> u64| Share {
            key,
            value: value(self),
            is_default: value(self) == value(&usual),
            total_key,
            total: total(self),
            takes_all: None,
            off_in_dev: false,
        };
        let of_one = |share: Share, takes_all, off_in_dev| Share { takes_all: Some(takes_all), off_in_dev, ..share };
        let requests: fn(&Limits) -> u64 = |limits| limits.requests.into();
        let answers: fn(&Limits) -> u64 = |limits| limits.answer_bytes as u64;
        let rooms: fn(&Limits) -> u64 = |limits| limits.rooms as u64;
        vec![
            share("warm_rooms", |limits| limits.warm_rooms.into(), "awake_rooms", |limits| limits.awake_rooms.into()),
            share("awake_rooms", |limits| limits.awake_rooms.into(), "rooms", rooms),
            share("rooms_per_user", |limits| limits.rooms_per_user as u64, "rooms", rooms),
            share(
                "events_per_socket",
                |limits| limits.events_per_socket as u64,
                "events_per_room",
                |limits| limits.events_per_room as u64,
            ),
            of_one(
                share(
                    "connections_per_address",
                    |limits| limits.connections_per_address as u64,
                    "connections",
                    |limits| limits.connections as u64,
                ),
                "address",
                true,
            ),
            of_one(
                share("requests_per_user", |limits| limits.requests_per_user.into(), "requests", requests),
                "user",
                true,
            ),
            of_one(
                share("service_requests", |limits| limits.service_requests.into(), "requests", requests),
                "service",
                true,
            ),
            of_one(
                share("requests_per_address", |limits| limits.requests_per_address.into(), "requests", requests),
                "address",
                true,
            ),
            of_one(
                share("requests_per_room", |limits| limits.requests_per_room.into(), "requests", requests),
                "room",
                false,
            ),
            of_one(
                share("requests_per_namespace", |limits| limits.requests_per_namespace.into(), "requests", requests),
                "namespace",
                false,
            ),
            of_one(
                share(
                    "request_bytes_per_user",
                    |limits| limits.request_bytes_per_user as u64,
                    "request_bytes",
                    |limits| limits.request_bytes as u64,
                ),
                "user",
                true,
            ),
            of_one(
                share(
                    "service_request_bytes",
                    |limits| limits.service_request_bytes as u64,
                    "request_bytes",
                    |limits| limits.request_bytes as u64,
                ),
                "service",
                true,
            ),
            of_one(
                share("service_answer_bytes", |limits| limits.service_answer_bytes as u64, "answer_bytes", answers),
                "service",
                true,
            ),
            of_one(
                share("answer_bytes_per_user", |limits| limits.answer_bytes_per_user as u64, "answer_bytes", answers),
                "user",
                true,
            ),
            of_one(
                share(
                    "answer_bytes_per_connection",
                    |limits| limits.answer_bytes_per_connection as u64,
                    "answer_bytes",
                    answers,
                ),
                "connection",
                false,
            ),
            of_one(
                share(
                    "tickets_per_user",
                    |limits| limits.tickets_per_user as u64,
                    "tickets",
                    |limits| limits.tickets as u64,
                ),
                "user",
                true,
            ),
        ]
    }
}

/// A limit that is a part of another one.
struct Share {
    key: &'static str,
    value: u64,
    is_default: bool,
    total_key: &'static str,
    total: u64,
    /// One of these can take all others' places if the share is above the total; absent where that harms nobody else.
    takes_all: Option<&'static str>,
    /// `auth = "dev"` has no such limit.
    off_in_dev: bool,
}

impl Share {
    /// 0 means "no limit" for both.
    fn is_above(&self) -> bool {
        self.total != 0 && self.value > self.total
    }
}
