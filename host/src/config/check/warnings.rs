//! Settings that work, and that the operator may not have meant. Each warning names the key, the value, the effect, and
//! what to write instead.

use std::time::Duration;

use super::paths::Disk;
use super::text;
use crate::config::{AccessMode, Config, Limits};
use crate::pressure::machine_bytes;

/// Proxies and routers often end a connection that is quiet for longer.
const QUIET_FOR: Duration = Duration::from_secs(60);

/// Supervisors kill a process that takes longer to stop: Docker after 10 s, Kubernetes after 30 s, systemd after 90 s,
/// unless they are configured to wait.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A few of the longest chat messages with their records of retries.
const FEW_MESSAGES_BYTES: u64 = 64 << 10;

impl Config {
    /// Settings that work, and that the operator may not have meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.limits.shares_above_their_total(self.identity.is_dev(), self.identity.has_services());
        warnings.extend(self.private_outbound());
        warnings.extend(self.unused_keys());
        warnings.extend(self.trusts_everyone());
        warnings.extend(self.grants_without_claims());
        warnings.extend(self.authorizer_without_rooms());
        warnings.extend(self.tokens_of_any_issuer());
        warnings.extend(self.calls_with_one_instance());
        warnings.extend(self.page_with_one_socket());
        warnings.extend(self.fewer_rooms_than_namespaces());
        warnings.extend(self.limits.doubtful());
        warnings
    }

    /// Settings that do not fit this machine: its memory, and the disk of the data.
    pub fn machine_warnings(&self) -> Vec<String> {
        let memory = machine_bytes().and_then(|bytes| self.limits.memory_warning(bytes));
        let disk = Disk::of(&self.data).and_then(|disk| disk.warning(self.limits.min_free_bytes));
        memory.into_iter().chain(disk).collect()
    }

    fn private_outbound(&self) -> impl Iterator<Item = String> {
        self.namespaces.iter().flat_map(|(name, namespace)| {
            namespace.outbound.iter().filter(|origin| origin.is_private()).map(move |origin| {
                format!(
                    "namespaces.{name}.outbound: `{origin}` is at a private address, which `outbound` never reaches; \
                     write it in `outbound_private`"
                )
            })
        })
    }

    fn grants_without_claims(&self) -> impl Iterator<Item = String> {
        let granted = self.namespaces.keys().filter(|name| self.access(name) == AccessMode::Granted);
        granted.filter(|_| self.identity.is_dev()).map(|name| {
            format!(
                "namespaces.{name}: its access is `granted`, and a name of dev auth carries no grants, so nobody may \
                 enter; use auth = \"jwt\", unless your own code gives the grants"
            )
        })
    }

    fn authorizer_without_rooms(&self) -> Option<String> {
        let url = self.identity.authorize.as_ref()?;
        let is_asked = self.namespaces.keys().any(|name| self.access(name) == AccessMode::Granted);
        (!is_asked).then(|| {
            format!(
                "identity.authorize: {}{} is never asked, because the access of every namespace is `open`; write \
                 access = \"granted\", or remove it",
                url.origin(),
                url.path()
            )
        })
    }

    fn tokens_of_any_issuer(&self) -> Option<String> {
        let identity = &self.identity;
        let any = identity.jwks.is_some() && identity.issuer.is_none() && identity.audience.is_none();
        (any && !identity.is_dev()).then(|| {
            "identity.jwks: without `issuer` and `audience` every token counts that these keys sign, and some identity \
             providers sign the tokens of all their customers with the same keys; write the issuer or the audience of yours"
                .to_owned()
        })
    }

    fn unused_keys(&self) -> Option<String> {
        let identity = &self.identity;
        let key = match (identity.keys.is_empty(), &identity.jwks) {
            (false, _) => "keys",
            (true, Some(_)) => "jwks",
            (true, None) => return None,
        };
        identity.is_dev().then(|| {
            format!(
                "identity.{key}: auth = \"dev\" accepts every name without proof and uses no key; write auth = \"jwt\", \
                 or remove the keys"
            )
        })
    }

    fn trusts_everyone(&self) -> Option<String> {
        let everyone = self.trusted_proxies.iter().find(|network| network.prefix_len() == 0)?;
        Some(format!(
            "trusted_proxies: {everyone} is every address, so each client may claim any address for itself; list the \
             proxies alone"
        ))
    }

    fn calls_with_one_instance(&self) -> Option<String> {
        let (name, _) = self.namespaces.iter().find(|(_, namespace)| !namespace.calls.is_empty())?;
        (self.limits.awake_rooms < 2).then(|| {
            format!(
                "limits.awake_rooms: a room of {name} that calls another keeps the only instance, so each call is \
                 refused; write at least 2"
            )
        })
    }

    /// The page opens a socket to a chat room and one to a presence room.
    fn page_with_one_socket(&self) -> Option<String> {
        let Limits { sockets_per_user, rooms_per_user, connections_per_address, .. } = self.limits;
        let shares = [
            ("sockets_per_user", sockets_per_user),
            ("rooms_per_user", rooms_per_user),
            ("connections_per_address", connections_per_address),
        ];
        let (key, _) = shares.into_iter().find(|(_, value)| *value == 1)?;
        let counts = self.has_demo_page() && !self.identity.is_dev();
        counts.then(|| {
            format!(
                "limits.{key}: 1 is too little for the demo page, which opens a socket to a chat room and one to a \
                 presence room; write at least 2, or set `page = false`"
            )
        })
    }

    fn fewer_rooms_than_namespaces(&self) -> Option<String> {
        let (rooms, namespaces) = (self.limits.rooms, self.namespaces.len());
        (1..namespaces).contains(&rooms).then(|| {
            format!(
                "limits.rooms: {rooms} is less than the number of namespaces, {namespaces}, so a room of one keeps \
                 those of the others out; write more, or 0 for no limit"
            )
        })
    }
}

impl Limits {
    fn doubtful(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, value) in [("connections", self.connections), ("sockets_per_room", self.sockets_per_room)] {
            if value < 2 {
                warnings.push(format!("limits.{key}: with {value} no two clients can meet; write at least 2"));
            }
        }
        if (1..FEW_MESSAGES_BYTES).contains(&self.room_bytes) {
            warnings.push(format!(
                "limits.room_bytes: a room is full after a few messages of {} bytes in all, and then refuses each \
                 further one; write at least {FEW_MESSAGES_BYTES}, or 0 for no limit",
                self.room_bytes
            ));
        }
        if self.ping_every > QUIET_FOR {
            warnings.push(format!(
                "limits.ping_every: proxies end connections that are quiet for {}, and a lost client is noticed only \
                 after {}; write at most \"{0}\"",
                text(QUIET_FOR),
                text(self.ping_every)
            ));
        }
        let shutdown = self.drain_delay.saturating_add(self.drain_timeout);
        if shutdown > STOPPED_WITHIN {
            let (key, together) = match self.drain_delay {
                Duration::ZERO => ("drain_timeout", ""),
                _ => ("drain_delay", " together with limits.drain_timeout"),
            };
            warnings.push(format!(
                "limits.{key}: a shutdown may take {}, and most supervisors kill the process before that; write at most \
                 \"{}\"{together}, or tell the supervisor to wait",
                text(shutdown),
                text(STOPPED_WITHIN)
            ));
        }
        warnings
    }

    pub(super) fn memory_warning(&self, machine: u64) -> Option<String> {
        let least = self.least_memory();
        if self.memory_total_bytes > machine {
            return Some(format!(
                "limits.memory_total_bytes: {} is more than this machine or its control group has, {machine}, so the \
                 process is killed before the limit is met; write less, or 0 for four fifths of it",
                self.memory_total_bytes
            ));
        }
        let usable = machine / 100 * crate::pressure::MAX_PERCENT;
        (self.memory_total_bytes == 0 && usable < least).then(|| {
            format!(
                "limits.memory_total_bytes: four fifths of the memory of this machine or its control group are \
                 {usable}, and the process needs {least} to serve anything; give it more memory, or lower \
                 limits.store_cache_bytes"
            )
        })
    }
}
