//! Refuses a configuration that cannot work: each key alone, and keys that must fit each other. Each refusal names the
//! key, the value, the reason, and what to write instead.
//!
//! Except for the directory of the data, nothing is opened here. `dormouse check` and each start call it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::{Admin, Auth, Config, ConfigError, Encoding, Identity, Limits, Namespace, nearest};
use crate::limits::{MESSAGE_BYTES, NEVER_FROM_ROOMS, OUTPUT_BYTES, RESPONSE_HEADERS};
use crate::model::{Address, Declared};
use crate::outbound::{Allowed, is_private_origin};
use crate::web_origin;

/// The highest number of rooms, sockets, requests and the like. More fit into no machine, and would overflow counters.
const MOST_THINGS: u64 = 1_000_000_000;
/// The highest limit in bytes: 1 PiB.
const MOST_BYTES: u64 = 1 << 50;
/// The shortest duration. Timers of the host count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration. Points in time that are much farther away cannot be represented on every system.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The highest leeway. Clocks that differ by more are wrong, and an expired token would be accepted for that long.
const MOST_LEEWAY: Duration = Duration::from_secs(5 * 60);
/// The least memory of the process: the program alone needs more, so every request would be refused.
const LEAST_PROCESS_BYTES: u64 = 4 << 20;
/// The least that a turn may send, that may wait for a socket, and that a room may store, in bytes. An error frame, and
/// the state of the smallest room, fit into it.
const LEAST_BYTES: u64 = 1_024;

/// Headers that reach beyond their answer: to all pages of the origin, to later requests of the browser, or to the
/// proxy in front and its files. One room must not decide for those. Each stands beside its effect.
const BEYOND_THE_ANSWER: [(&str, &str); 27] = [
    ("accept-ch", "changes all later requests of the browser to this origin"),
    ("activate-storage-access", "gives frames of other origins their cookies"),
    ("alt-svc", "sends all later requests of the browser to another server"),
    ("clear-site-data", "deletes cookies and data of the whole origin"),
    ("critical-ch", "changes all later requests of the browser to this origin"),
    ("expect-ct", "applies to all connections to this host"),
    ("idp-signin-status", "changes whether the browser takes the user for logged in at this origin"),
    ("nel", "makes browsers report all requests to this origin elsewhere"),
    ("origin-agent-cluster", "applies to all pages of the origin"),
    ("public-key-pins", "applies to all connections to this host"),
    ("refresh", "sends the page to another address"),
    ("report-to", "makes browsers send reports about the whole origin elsewhere"),
    ("reporting-endpoints", "makes browsers send reports elsewhere"),
    ("secure-session-registration", "binds sessions of the whole origin to the browser"),
    ("service-worker-allowed", "lets a script answer requests for the whole origin"),
    ("set-cookie2", "sets cookies for the whole origin"),
    ("set-login", "changes whether the browser takes the user for logged in at this origin"),
    ("speculation-rules", "makes the browser load other pages of this origin"),
    ("strict-transport-security", "applies to all connections to this host"),
    ("surrogate-control", "is an instruction to the proxy in front"),
    ("use-as-dictionary", "applies to later answers of the whole origin"),
    ("www-authenticate", "makes the browser ask for a password in the name of this origin"),
    ("x-lighttpd-send-file", "makes the proxy in front send one of its files"),
    ("x-lighttpd-send-tempfile", "makes the proxy in front send one of its files"),
    ("x-reproxy-url", "makes the proxy in front send something else"),
    ("x-sendfile", "makes the proxy in front send one of its files"),
    ("x-sendfile2", "makes the proxy in front send one of its files"),
];

/// The beginnings of names of headers that proxies obey, whatever follows.
const TO_PROXIES: [&str; 6] = ["cdn-", "surrogate-", "x-accel-", "x-lighttpd-", "x-litespeed-", "x-reproxy-"];

impl Config {
    /// Checks everything that can be checked without opening anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_base_path()?;
        duration("hibernate_after", self.hibernate_after)?;
        if self.namespaces.is_empty() {
            return Err(ConfigError::invalid("namespaces", "at least one is needed, such as [namespaces.ROOMS]"));
        }
        self.limits.check()?;
        for (name, namespace) in &self.namespaces {
            namespace.check(name, self)?;
        }
        if self.router.is_empty() {
            return Err(ConfigError::invalid("router", "must not be empty; write `builtin:router` or name a file"));
        }
        check_response_headers("response_headers", &self.response_headers)?;
        if let Some(admin) = &self.admin {
            admin.check(self.listen)?;
        }
        self.identity.check(self.listen)
    }

    /// Checks that the data can be stored in the configured directory. A host that is given a store needs no directory.
    pub fn check_data(&self) -> Result<(), ConfigError> {
        let invalid = |problem: String| Err(ConfigError::invalid("data", problem));
        let data = &self.data;
        let shown = data.display();
        if data.as_os_str().is_empty() {
            return invalid("must not be empty; name a directory such as `./dormouse-data`".into());
        }
        let data = std::path::absolute(data).unwrap_or_else(|_| data.clone());
        if data.parent().is_none() {
            return invalid(format!(
                "{shown} is the root of all files; name a directory in it that only dormouse uses"
            ));
        }
        let there = data.ancestors().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
        let Some((there, metadata)) = there else { return Ok(()) };
        if !metadata.is_dir() && there == data {
            return invalid(format!("{shown} is a file; name a directory"));
        }
        if !metadata.is_dir() {
            return invalid(format!(
                "{} is a file, so {shown} cannot be a directory; name another one",
                there.display()
            ));
        }
        use rustix::fs::{Access, access};
        if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let there = there.display();
            return invalid(format!(
                "the user of this process may not write into {there}; change that, or name another"
            ));
        }
        Ok(())
    }

    /// Settings that work, and that the operator may not have meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.limits.shares_above_their_total(self.identity.is_dev());
        for (name, namespace) in &self.namespaces {
            for origin in namespace.outbound.iter().filter(|origin| is_private_origin(origin)) {
                warnings.push(format!(
                    "namespaces.{name}.outbound: `{origin}` is at a private address, which `outbound` never reaches; \
                     write it in `outbound_private`"
                ));
            }
        }
        warnings
    }

    fn check_base_path(&self) -> Result<(), ConfigError> {
        let path = &self.base_path;
        let invalid = |problem: &str| {
            let example = "write `/`, or a path such as `/api/realtime`";
            Err(ConfigError::invalid("base_path", format!("`{path}` {problem}; {example}")))
        };
        if path == "/" {
            return Ok(());
        }
        let Some(segments) = path.strip_prefix('/') else { return invalid("does not begin with a slash") };
        if path.ends_with('/') {
            return invalid("ends with a slash");
        }
        // Browsers percent-encode all other characters, and routes are compared as they arrive.
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
        if let Some(odd) = segments.chars().find(|char| *char != '/' && !u8::try_from(*char).is_ok_and(may_be)) {
            return invalid(&format!("has the character {odd:?}, which no browser sends in a path as it is"));
        }
        if segments.split('/').any(str::is_empty) {
            return invalid("has two slashes in a row");
        }
        if segments.split('/').any(|segment| matches!(segment, "." | "..")) {
            return invalid("has a part `.` or `..`, which browsers remove");
        }
        match segments.split('/').next() {
            Some("healthz") => invalid("begins with the path of the health check"),
            Some("client" | "config.json") if self.page => invalid("begins with a path of the demo page"),
            _ => Ok(()),
        }
    }
}

impl Admin {
    fn check(&self, public: SocketAddr) -> Result<(), ConfigError> {
        if collide(self.listen, public) {
            let problem = format!(
                "{} takes the port of `listen`, {public}; write another port, such as 127.0.0.1:{}",
                self.listen,
                public.port().checked_add(1).unwrap_or(8788)
            );
            return Err(ConfigError::invalid("admin.listen", problem));
        }
        if self.listen.ip().is_loopback() || self.token_file.is_some() {
            return Ok(());
        }
        let problem = format!(
            "{} can be reached from other machines, so clients there must show a token: name a file with one, such as \
             `openssl rand -hex 32` prints, or listen on 127.0.0.1",
            self.listen
        );
        Err(ConfigError::invalid("admin.token_file", problem))
    }
}

/// Whether no two listeners can have these addresses. A listener on `[::]` takes the port of IPv4 as well.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0 && one.port() == other.port() && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

impl Identity {
    fn check(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        self.check_leeway()?;
        self.check_cookie()?;
        for (key, value) in [("identity.audience", &self.audience), ("identity.issuer", &self.issuer)] {
            if value.as_deref() == Some("") {
                return Err(ConfigError::invalid(key, "must not be empty; leave it out to accept tokens with any"));
            }
        }
        match self.auth {
            Auth::Dev if !listen.ip().is_loopback() => Err(ConfigError::invalid(
                "identity.auth",
                format!(
                    "\"dev\" accepts every name without proof, so it works only on a loopback address, and {listen} is \
                     not one; use --auth jwt, or --listen 127.0.0.1:{}",
                    listen.port()
                ),
            )),
            Auth::Jwt if self.keys.is_empty() && self.jwks.is_none() => Err(ConfigError::invalid(
                "identity.keys",
                "auth = \"jwt\" needs at least one key or a file of keys, `jwks`, such as\n\n[[identity.keys]]\n\
                 algorithm = \"HS256\"\nfile = \"jwt.secret\"",
            )),
            _ => self.check_keys().and_then(|()| self.check_origins()).and_then(|()| self.check_hosts()),
        }
    }

    fn check_leeway(&self) -> Result<(), ConfigError> {
        if self.leeway <= MOST_LEEWAY {
            return Ok(());
        }
        let (leeway, most) = (text(self.leeway), text(MOST_LEEWAY));
        let problem =
            format!("{leeway} would accept tokens for that long after they expired; write at most \"{most}\"");
        Err(ConfigError::invalid("identity.leeway", problem))
    }

    fn check_cookie(&self) -> Result<(), ConfigError> {
        if is_token(&self.cookie) {
            return Ok(());
        }
        let problem = format!(
            "no browser sends a cookie with the name {:?}: a name has letters, digits and some of -_.!#$%&'*+^`|~; \
             write one such as `dormouse_token`",
            self.cookie
        );
        Err(ConfigError::invalid("identity.cookie", problem))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        match self.keys.iter().find(|key| key.encoding == Encoding::Base64 && key.algorithm != "HS256") {
            Some(key) => Err(ConfigError::invalid(
                "identity.keys",
                format!("a key for {} is in PEM; `encoding` is for the secrets of HS256", key.algorithm),
            )),
            None => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), ConfigError> {
        for origin in &self.allowed_origins {
            web_origin::normal(origin).map_err(|problem| {
                let problem = format!(
                    "no browser sends `{origin}`: {problem}; write scheme and host, and the port unless it is the \
                     default, such as `https://example.org`"
                );
                ConfigError::invalid("identity.allowed_origins", problem)
            })?;
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), ConfigError> {
        for host in &self.hosts {
            if web_origin::normal_host(host).is_none() {
                let problem =
                    format!("`{host}` is not a host name; write it without scheme and port, such as `rooms.example`");
                return Err(ConfigError::invalid("identity.hosts", problem));
            }
        }
        Ok(())
    }
}

impl Namespace {
    fn check(&self, name: &str, config: &Config) -> Result<(), ConfigError> {
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
        Allowed::new(&self.outbound, &[]).map_err(|error| ConfigError::invalid(key("outbound"), error.to_string()))?;
        Allowed::new(&[], &self.outbound_private)
            .map_err(|error| ConfigError::invalid(key("outbound_private"), error.to_string()))?;
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
        let of_turn = limits.turn_output_bytes.saturating_sub(OUTPUT_BYTES);
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
        let (most, limit) = self.longest_message(limits);
        if most < declared.message_out_bytes {
            let (component, least) = (&self.component, declared.message_out_bytes);
            let (key, has, least) = match limit {
                "message_out_bytes" => (format!("namespaces.{name}.{limit}"), most, least),
                "limits.turn_output_bytes" => (limit.to_owned(), limits.turn_output_bytes, least + OUTPUT_BYTES),
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

impl Limits {
    /// Every limit is named here, so that none that is added is forgotten.
    fn check(&self) -> Result<(), ConfigError> {
        let Limits {
            awake_rooms,
            warm_rooms,
            memory_bytes,
            table_elements,
            turn_cpu_slow,
            turn_cpu,
            turn_output_bytes,
            turn_log_lines,
            log_lines_per_second,
            turn_calls,
            turn_calls_timeout,
            uncommitted_turns,
            rooms,
            room_bytes,
            memory_total_bytes,
            sockets_per_room,
            socket_queue_bytes,
            events_per_socket,
            events_per_room,
            messages_per_second,
            messages_per_second_per_user,
            sockets_per_user,
            rooms_per_user,
            ping_every,
            pong_timeout,
            close_timeout,
            connections,
            connections_per_address,
            connects_per_second_per_address,
            requests,
            requests_per_user,
            requests_per_address,
            requests_per_room,
            requests_per_namespace,
            anonymous_requests,
            request_bytes,
            request_bytes_per_user,
            answer_bytes,
            answer_bytes_per_user,
            answer_bytes_per_connection,
            header_timeout,
            idle_timeout,
            body_timeout,
            write_timeout,
            answer_timeout,
            body_bytes,
            tickets,
            tickets_per_user,
            drain_timeout,
            // Any number means something: 0 turns it off, and above the size of the disk no turn writes.
            min_free_bytes: _,
            commit_queue_bytes,
            slow_sync,
            store_cache_bytes,
        } = self;
        // 0 would refuse everything.
        for (key, value) in [
            ("limits.awake_rooms", u64::from(*awake_rooms)),
            ("limits.warm_rooms", u64::from(*warm_rooms)),
            ("limits.table_elements", *table_elements as u64),
            ("limits.turn_log_lines", u64::from(*turn_log_lines)),
            ("limits.turn_calls", u64::from(*turn_calls)),
            ("limits.uncommitted_turns", *uncommitted_turns as u64),
            ("limits.sockets_per_room", *sockets_per_room as u64),
            ("limits.events_per_socket", *events_per_socket as u64),
            ("limits.events_per_room", *events_per_room as u64),
            ("limits.connections", *connections as u64),
            ("limits.requests", u64::from(*requests)),
            ("limits.anonymous_requests", u64::from(*anonymous_requests)),
            ("limits.tickets", *tickets as u64),
        ] {
            number(key, value, 1, MOST_THINGS)?;
        }
        // 0 means "no limit".
        for (key, value) in [
            ("limits.log_lines_per_second", u64::from(*log_lines_per_second)),
            ("limits.rooms", *rooms as u64),
            ("limits.messages_per_second", u64::from(*messages_per_second)),
            ("limits.messages_per_second_per_user", u64::from(*messages_per_second_per_user)),
            ("limits.sockets_per_user", *sockets_per_user as u64),
            ("limits.rooms_per_user", *rooms_per_user as u64),
            ("limits.connections_per_address", *connections_per_address as u64),
            ("limits.connects_per_second_per_address", u64::from(*connects_per_second_per_address)),
            ("limits.requests_per_user", u64::from(*requests_per_user)),
            ("limits.requests_per_address", u64::from(*requests_per_address)),
            ("limits.requests_per_room", u64::from(*requests_per_room)),
            ("limits.requests_per_namespace", u64::from(*requests_per_namespace)),
            ("limits.tickets_per_user", *tickets_per_user as u64),
        ] {
            number(key, value, 0, MOST_THINGS)?;
        }
        let page = 64 << 10;
        if !memory_bytes.is_multiple_of(page) || !(page..=1 << 30).contains(memory_bytes) {
            let near = memory_bytes.next_multiple_of(page).clamp(page, 1 << 30);
            let problem = format!(
                "{memory_bytes} must be a multiple of 65536, wasm's page, and at most {}; write {near} or the like",
                1 << 30
            );
            return Err(ConfigError::invalid("limits.memory_bytes", problem));
        }
        for (key, value, least, most) in [
            ("limits.turn_output_bytes", *turn_output_bytes as u64, LEAST_BYTES, MOST_BYTES),
            ("limits.socket_queue_bytes", *socket_queue_bytes as u64, LEAST_BYTES, MOST_BYTES),
            ("limits.request_bytes", *request_bytes as u64, 1, MOST_BYTES),
            ("limits.answer_bytes", *answer_bytes as u64, 1, MOST_BYTES),
            ("limits.body_bytes", *body_bytes as u64, 1, 1 << 20),
            ("limits.commit_queue_bytes", *commit_queue_bytes as u64, 1, MOST_BYTES),
            ("limits.store_cache_bytes", *store_cache_bytes, 1, MOST_BYTES),
        ] {
            bytes(key, value, least, most)?;
        }
        for (key, value, least) in [
            ("limits.room_bytes", *room_bytes, LEAST_BYTES),
            ("limits.memory_total_bytes", *memory_total_bytes, LEAST_PROCESS_BYTES),
            ("limits.request_bytes_per_user", *request_bytes_per_user as u64, 1),
            ("limits.answer_bytes_per_user", *answer_bytes_per_user as u64, 1),
            ("limits.answer_bytes_per_connection", *answer_bytes_per_connection as u64, 1),
        ] {
            if value != 0 {
                bytes(key, value, least, MOST_BYTES)?;
            }
        }
        for (key, value) in [
            ("limits.turn_cpu_slow", turn_cpu_slow),
            ("limits.turn_cpu", turn_cpu),
            ("limits.turn_calls_timeout", turn_calls_timeout),
            ("limits.ping_every", ping_every),
            ("limits.pong_timeout", pong_timeout),
            ("limits.close_timeout", close_timeout),
            ("limits.header_timeout", header_timeout),
            ("limits.idle_timeout", idle_timeout),
            ("limits.body_timeout", body_timeout),
            ("limits.write_timeout", write_timeout),
            ("limits.answer_timeout", answer_timeout),
            ("limits.drain_timeout", drain_timeout),
            ("limits.slow_sync", slow_sync),
        ] {
            duration(key, *value)?;
        }
        self.check_bodies()?;
        self.check_shares()
    }

    /// The longest body that is allowed must also fit.
    fn check_bodies(&self) -> Result<(), ConfigError> {
        let all = [
            ("limits.request_bytes", self.request_bytes),
            ("limits.request_bytes_per_user", self.request_bytes_per_user),
        ];
        if let Some((key, value)) = all.into_iter().find(|(_, value)| (1..self.body_bytes).contains(value)) {
            let body_bytes = self.body_bytes;
            let problem = format!(
                "{value} is less than limits.body_bytes, {body_bytes}, so a body of that length could never be read; \
                 write at least {body_bytes}, or lower limits.body_bytes"
            );
            return Err(ConfigError::invalid(key, problem));
        }
        Ok(())
    }

    /// A share above its total limits nothing. A share that is left out is not refused, so that it is enough to lower
    /// the total; [`Config::warnings`] names it.
    fn check_shares(&self) -> Result<(), ConfigError> {
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

    fn shares_above_their_total(&self, is_dev: bool) -> Vec<String> {
        let counts = |share: &Share| share.is_above() && share.takes_all.is_some() && !(is_dev && share.off_in_dev);
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

/// A limit that counts things.
fn number(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    within(key, value, least, most, "")
}

/// A limit in bytes.
fn bytes(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    within(key, value, least, most, " bytes")
}

/// 0 means "no limit" where a limit can be off. Where it cannot, 0 would stop everything, and is refused.
fn within(key: &str, value: u64, least: u64, most: u64, unit: &str) -> Result<(), ConfigError> {
    let problem = match value {
        0 if least > 0 => {
            format!("must not be 0, which would refuse everything; write at least {least}{unit}, or leave it out")
        }
        _ if value < least => {
            format!("{value}{unit} is too little for anything to work; write at least {least}")
        }
        _ if value > most => {
            format!("{value} is more than {most}{unit}, the most that is possible; write that or less")
        }
        _ => return Ok(()),
    };
    Err(ConfigError::invalid(key, problem))
}

fn duration(key: &str, value: Duration) -> Result<(), ConfigError> {
    let least = text(SHORTEST);
    let problem = if value.is_zero() {
        format!("must not be 0: it cannot be turned off; write at least \"{least}\", or leave it out for the default")
    } else if value < SHORTEST {
        format!("{} is less than the shortest time that works; write at least \"{least}\"", text(value))
    } else if value > LONGEST {
        format!("{} is more than the longest time that works; write at most \"365d\"", text(value))
    } else {
        return Ok(());
    };
    Err(ConfigError::invalid(key, problem))
}

/// A duration as the configuration has it.
fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The operator may let rooms send more headers, but none that frame the answer, and none that reach beyond it.
fn check_response_headers(key: &str, names: &[String]) -> Result<(), ConfigError> {
    let invalid = |problem: String| Err(ConfigError::invalid(key, problem));
    for name in names {
        if !is_token(name) {
            return invalid(format!("`{name}` is not a header name; write one such as `link`"));
        }
        if name.contains('*') {
            return invalid(format!("`{name}` would be a pattern, and there are none; write each header by its name"));
        }
        let lower = name.to_ascii_lowercase();
        if NEVER_FROM_ROOMS.contains(&lower.as_str()) || lower.starts_with("access-control-") {
            return invalid(format!("`{name}` is the host's to set, and no room may send it; remove it from the list"));
        }
        let beyond = BEYOND_THE_ANSWER.iter().find(|(name, _)| *name == lower).map(|(_, effect)| *effect);
        let to_proxy = TO_PROXIES.iter().any(|prefix| lower.starts_with(prefix));
        let to_proxy = to_proxy.then_some("is an instruction to the proxy in front");
        if let Some(effect) = beyond.or(to_proxy) {
            return invalid(format!(
                "`{name}` {effect}, so no room may send it; remove it from the list, and let the proxy in front set it \
                 where you want it"
            ));
        }
    }
    number(key, names.len() as u64, 0, RESPONSE_HEADERS as u64)
}

/// Whether a text is a token as RFC 9110 has it: a name of a header, and of a cookie (RFC 6265).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// An absolute path without links, `.` and `..`.
pub fn full_path(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, mut full)) = existing else { return Ok(path) };
    // A path that does not exist yet has no links, so `..` is its parent.
    for part in path.strip_prefix(there).expect("it is one of its ancestors").components() {
        match part {
            Component::ParentDir => drop(full.pop()),
            part => full.push(part),
        }
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let config = Config::parse(text)?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn an_invalid_value_is_refused_with_its_key_and_a_better_one() {
        let jwt = "identity.auth = \"jwt\"\nidentity.keys = [{ algorithm = \"HS256\", file = \"x\" }]\n";
        for (text, key, says) in [
            ("base_path = \"/a b\"", "base_path: `/a b`", "the character ' '"),
            ("base_path = \"/a/../b\"", "base_path: ", "a part `.` or `..`"),
            ("base_path = \"/a//b\"", "base_path: ", "two slashes in a row"),
            ("base_path = \"//\"", "base_path: ", "ends with a slash"),
            ("base_path = \"/a?b\"", "base_path: ", "the character '?'"),
            ("base_path = \"/a#b\"", "base_path: ", "the character '#'"),
            ("base_path = \"/a%20b\"", "base_path: ", "the character '%'"),
            ("base_path = \"/é\"", "base_path: ", "write `/`, or a path such as `/api/realtime`"),
            ("base_path = \"/a\\\\b\"", "base_path: ", "which no browser sends"),
            ("base_path = \"\"", "base_path: ", "does not begin with a slash"),
            ("base_path = \"/healthz\"", "base_path: ", "the health check"),
            ("base_path = \"/client/api\"", "base_path: ", "the demo page"),
            ("hibernate_after = \"0s\"", "hibernate_after: must not be 0", "at least \"1ms\""),
            ("router = \"\"", "router: ", "builtin:router"),
            ("identity.cookie = \"\"", "identity.cookie: ", "`dormouse_token`"),
            (
                "identity.cookie = \"my token\"",
                "identity.cookie: ",
                "no browser sends a cookie with the name \"my token\"",
            ),
            ("identity.cookie = \"a;b\"", "identity.cookie: ", "no browser"),
            ("identity.cookie = \"a=b\"", "identity.cookie: ", "no browser"),
            ("identity.cookie = \"caf\u{e9}\"", "identity.cookie: ", "no browser"),
            ("identity.leeway = \"6m\"", "identity.leeway: 6m", "write at most \"5m\""),
            ("identity.audience = \"\"", "identity.audience: must not be empty", "leave it out"),
            ("identity.issuer = \"\"", "identity.issuer: must not be empty", "leave it out"),
            (
                "identity.allowed_origins = [\"https://a.example:x\"]",
                "identity.allowed_origins: ",
                "its port is not a number",
            ),
            ("identity.allowed_origins = [\"https://a.example:0\"]", "identity.allowed_origins: ", "from 1 to 65535"),
            (
                "identity.allowed_origins = [\"https://a.example:\"]",
                "identity.allowed_origins: ",
                "its port is not a number",
            ),
            ("identity.allowed_origins = [\"https://a<b\"]", "identity.allowed_origins: ", "its host is neither"),
            ("namespaces.A.component = \"\"", "namespaces.A.component: ", "builtin:chat-room"),
            (
                "namespaces.A = { component = \"x\", outbound = [\"https://a.example:0\"] }",
                "namespaces.A.outbound: ",
                ":0",
            ),
            (
                "namespaces.A = { component = \"x\", outbound_private = [\"x\"] }",
                "namespaces.A.outbound_private: ",
                "`x`",
            ),
            (
                "namespaces.A = { component = \"x\", message_in_bytes = 1048577 }",
                "namespaces.A.message_in_bytes: ",
                "1048576",
            ),
            ("limits.memory_bytes = 100", "limits.memory_bytes: 100", "write 65536"),
            ("limits.memory_bytes = 2147483648", "limits.memory_bytes: ", "write 1073741824"),
            ("limits.turn_output_bytes = 1", "limits.turn_output_bytes: 1 bytes", "write at least 1024"),
            ("limits.socket_queue_bytes = 1", "limits.socket_queue_bytes: 1 bytes", "write at least 1024"),
            ("limits.room_bytes = 1", "limits.room_bytes: 1 bytes", "write at least 1024"),
            ("limits.memory_total_bytes = 1", "limits.memory_total_bytes: 1 bytes", "write at least 4194304"),
            ("limits.body_bytes = 1048577", "limits.body_bytes: 1048577 is more than 1048576", "that or less"),
            (
                "limits.request_bytes = 1000",
                "limits.request_bytes: 1000 is less than limits.body_bytes",
                "at least 1048576",
            ),
            ("limits.request_bytes_per_user = 9", "limits.request_bytes_per_user: 9 is less than", "limits.body_bytes"),
            ("limits.turn_cpu_slow = \"2s\"", "limits.turn_cpu_slow: 2s", "write at most \"1s\""),
            (
                "namespaces.A = { component = \"x\", message_out_bytes = 5000 }\nlimits.socket_queue_bytes = 4096",
                "namespaces.A.message_out_bytes: 5000 is more than limits.socket_queue_bytes",
                "write at most 4096, or raise limits.socket_queue_bytes",
            ),
            (
                "namespaces.A = { component = \"x\", message_out_bytes = 5000 }\nlimits.turn_output_bytes = 4096",
                "namespaces.A.message_out_bytes: 5000 is more than limits.turn_output_bytes",
                "write at most 4032",
            ),
            ("admin.listen = \"127.0.0.1:8787\"", "admin.listen: 127.0.0.1:8787 takes the port", "127.0.0.1:8788"),
            ("admin = { listen = \"0.0.0.0:8787\", token_file = \"x\" }", "admin.listen: ", "`listen`, 127.0.0.1:8787"),
            ("admin = { listen = \"[::]:8787\", token_file = \"x\" }", "admin.listen: ", "another port"),
        ] {
            let problem = check(text).expect_err(text);
            assert!(problem.starts_with(key) && problem.contains(says), "{text}:\n{problem}");
        }
        for good in [
            "base_path = \"/\"",
            "base_path = \"/api/v1.0/~rooms\"",
            "page = false\nbase_path = \"/client\"",
            "identity.cookie = \"__Host-token\"",
            "identity.leeway = \"5m\"",
            "admin.listen = \"[::1]:8787\"",
            "listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"",
            // A limit that a namespace leaves out becomes as much as fits.
            "limits.socket_queue_bytes = 4096\nlimits.turn_output_bytes = 8192",
            "limits.turn_cpu = \"10ms\"",
            jwt,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_malformed_value_is_refused_with_its_line() {
        for (text, says) in [
            ("identity.leeway = \"-1s\"", "`-1s` is negative"),
            ("identity.leeway = \"30\"", "`30` has no unit; write \"30s\""),
            ("identity.leeway = 30", "a duration with its unit, such as \"10s\""),
            ("identity.leeway = \"\"", "must not be empty"),
            ("hibernate_after = \"soon\"", "`soon` is not a duration"),
            ("trusted_proxies = [\"10.0.0.1/8\"]", "write `10.0.0.0/8` for all of it, or `10.0.0.1` alone"),
            ("trusted_proxies = [\"fd00::1/8\"]", "write `fd00::/8` for all of it, or `fd00::1` alone"),
            ("trusted_proxies = [\"proxy.example\"]", "neither an address nor a network"),
        ] {
            let problem = check(text).expect_err(text);
            assert!(problem.contains(says) && problem.contains("line 1"), "{text}:\n{problem}");
        }
        let proxies =
            Config::parse("trusted_proxies = [\"127.0.0.1\", \"::1\", \"10.0.0.0/8\"]").unwrap().trusted_proxies;
        let proxies = proxies.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(proxies, ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]);
    }

    /// All limits, as the documents show them.
    fn limits() -> toml::Table {
        let document = include_str!("../../../docs/configuration.md");
        let (_, limits) = document.split_once("\n[limits]").expect("it shows the limits");
        let limits = limits.split_once("```").expect("they end").0;
        let limits = format!("[limits]{limits}").parse::<toml::Table>().expect("it is TOML");
        limits["limits"].as_table().expect("it is a table").clone()
    }

    #[test]
    fn zero_is_refused_or_means_no_limit() {
        const OFF: [&str; 19] = [
            "answer_bytes_per_connection",
            "answer_bytes_per_user",
            "connections_per_address",
            "connects_per_second_per_address",
            "log_lines_per_second",
            "memory_total_bytes", // a part of what the machine has
            "messages_per_second",
            "messages_per_second_per_user",
            "min_free_bytes",
            "request_bytes_per_user",
            "requests_per_address",
            "requests_per_namespace",
            "requests_per_room",
            "requests_per_user",
            "room_bytes",
            "rooms",
            "rooms_per_user",
            "sockets_per_user",
            "tickets_per_user",
        ];
        let mut off = Vec::new();
        for (key, usual) in limits() {
            let zero = if usual.is_str() { "\"0s\"" } else { "0" };
            match check(&format!("[limits]\n{key} = {zero}")) {
                Ok(()) => off.push(key),
                Err(problem) if key == "memory_bytes" => assert!(problem.contains("multiple of 65536"), "{problem}"),
                Err(problem) => assert!(problem.starts_with(&format!("limits.{key}: must not be 0")), "{problem}"),
            }
        }
        off.sort_unstable();
        assert_eq!(off, OFF);
    }

    #[test]
    fn a_number_that_would_overflow_is_refused() {
        for (key, usual) in limits() {
            let values = if usual.is_str() { ["\"1ns\"", "\"2000y\""] } else { ["-1", "9223372036854775807"] };
            for value in values {
                let checked = check(&format!("[limits]\n{key} = {value}"));
                // A disk may be of any size.
                let is_fine = key == "min_free_bytes" && value != "-1";
                assert_eq!(checked.is_ok(), is_fine, "{key} = {value}: {checked:?}");
                let problem = checked.err().unwrap_or_default();
                assert!(!usual.is_str() || problem.contains("write at"), "{key} = {value}: {problem}");
            }
        }
    }

    #[test]
    fn a_share_above_its_total_fails_or_warns_if_defaulted() {
        let shares = [
            ("warm_rooms", "awake_rooms"),
            ("awake_rooms", "rooms"),
            ("rooms_per_user", "rooms"),
            ("events_per_socket", "events_per_room"),
            ("connections_per_address", "connections"),
            ("requests_per_user", "requests"),
            ("requests_per_address", "requests"),
            ("requests_per_room", "requests"),
            ("requests_per_namespace", "requests"),
            ("answer_bytes_per_user", "answer_bytes"),
            ("answer_bytes_per_connection", "answer_bytes"),
            ("tickets_per_user", "tickets"),
        ];
        for (share, total) in shares {
            let problem = check(&format!("[limits]\n{total} = 5\n{share} = 6")).expect_err(share);
            assert!(problem.starts_with(&format!("limits.{share}: 6 is more than limits.{total}, 5")), "{problem}");
            assert!(problem.ends_with("write at most 5"), "{problem}");
            assert_eq!(check(&format!("[limits]\n{total} = 5")), Ok(()), "it is enough to lower the total");
        }
        assert_eq!(check("limits.requests = 5\nlimits.requests_per_user = 0"), Ok(()), "0 is no limit");
        let bodies = "[limits]\nbody_bytes = 5\nrequest_bytes = 5\nrequest_bytes_per_user = 6";
        assert!(check(bodies).unwrap_err().starts_with("limits.request_bytes_per_user: 6 is more than"));
        let warned = |text: &str| Config::parse(text).unwrap().warnings();
        assert_eq!(warned(""), Vec::<String>::new());
        let warnings = warned("identity.auth = \"jwt\"\nlimits.requests = 100").join("\n");
        assert!(warnings.contains("limits.requests_per_user: 128 is more than limits.requests, 100"), "{warnings}");
        assert!(warnings.contains("one user may take all of them"), "{warnings}");
        assert_eq!(warned("limits.connections = 100"), Vec::<String>::new(), "\"dev\" has no such share");
    }

    #[test]
    fn a_header_that_reaches_beyond_its_answer_is_refused() {
        for name in [
            "Clear-Site-Data",
            "alt-svc",
            "X-Accel-Redirect",
            "x-accel-buffering",
            "X-Sendfile",
            "www-authenticate",
            "refresh",
            "NEL",
            "report-to",
            "service-worker-allowed",
            "strict-transport-security",
            "X-LiteSpeed-Location",
            "x-reproxy-file",
            "cdn-cache-control",
            "surrogate-key",
            "speculation-rules",
            "use-as-dictionary",
            "activate-storage-access",
            "secure-session-registration",
        ] {
            for key in ["response_headers", "namespaces.A.response_headers"] {
                let problem = check(&format!("namespaces.A.component = \"x\"\n{key} = [\"link\", \"{name}\"]"));
                let problem = problem.expect_err(name);
                assert!(problem.starts_with(&format!("{key}: `{name}` ")), "{problem}");
                assert!(problem.contains("no room may send it; remove it from the list"), "{problem}");
            }
        }
    }

    #[test]
    fn an_address_that_outbound_never_reaches_is_a_warning() {
        let outbound = |origin: &str| {
            let text = format!("namespaces.A = {{ component = \"x\", outbound = [\"{origin}\"] }}");
            Config::parse(&text).unwrap().warnings().join("\n")
        };
        for private in ["http://10.0.0.5:9000", "https://localhost", "http://[::1]"] {
            let warning = outbound(private);
            assert!(warning.contains(&format!("`{private}`")) && warning.contains("`outbound_private`"), "{warning}");
        }
        for public in ["https://api.example", "https://*.example", "https://1.1.1.1"] {
            assert_eq!(outbound(public), "", "{public}");
        }
    }

    #[test]
    fn data_is_a_directory_or_can_become_one() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let data = |data: PathBuf| Config { data, ..Config::default() }.check_data().map_err(|error| error.to_string());
        assert_eq!(data(directory.path().into()), Ok(()));
        assert_eq!(data(directory.path().join("new/er")), Ok(()));
        for (path, says) in [
            (PathBuf::new(), "data: must not be empty"),
            ("/".into(), "data: / is the root of all files"),
            (file.clone(), "is a file; name a directory"),
            (file.join("below"), "is a file, so"),
        ] {
            let problem = data(path).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
        let mut config = Config::parse("data = \"\"").unwrap();
        config.resolve(directory.path());
        assert!(config.check_data().is_err(), "{}", config.data.display());
    }

    #[test]
    fn a_full_path_has_no_links_and_no_dots() {
        let directory = tempfile::TempDir::new().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        for (path, full) in [
            ("link/../real/./data", "real/data"),
            ("link/data", "real/data"),
            ("gone/../data", "data"),
            ("real/../../nowhere/..", ".."),
        ] {
            let expected = if full == ".." { root.parent().unwrap().into() } else { root.join(full) };
            assert_eq!(full_path(&root.join(path)).unwrap(), expected, "{path}");
        }
    }
}
