//! Configurations that are refused, each with its reason, and some that are good.
#![expect(clippy::disallowed_methods, reason = "tests make files")]

use std::path::PathBuf;

use super::full_path;
use crate::config::Config;

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
        ("base_path = \"/readyz/api\"", "base_path: ", "the readiness check"),
        ("base_path = \"/client/api\"", "base_path: ", "the demo page"),
        ("hibernate_after = \"0s\"", "hibernate_after: must not be 0", "at least \"1ms\""),
        ("router = \"\"", "router: ", "builtin:router"),
        ("identity.cookie = \"\"", "identity.cookie: ", "`dormouse_token`"),
        ("identity.cookie = \"my token\"", "identity.cookie: ", "no browser sends a cookie with the name \"my token\""),
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
            "namespaces.A = { component = \"x\", message_in_bytes = 1048577 }",
            "namespaces.A.message_in_bytes: ",
            "1048576",
        ),
        ("telemetry = { otlp = \"http://a:1\", sample = 1.01 }", "telemetry.sample: 1.01", "from 0 to 1"),
        ("telemetry = { otlp = \"http://a:1\", sample = -0.1 }", "telemetry.sample: -0.1", "from 0 to 1"),
        ("telemetry = { otlp = \"http://a:1\", sample = nan }", "telemetry.sample: NaN", "from 0 to 1"),
        ("telemetry = { otlp = \"http://a:1\", service = \" \" }", "telemetry.service: ", "such as `dormouse`"),
        (
            "telemetry = { otlp = \"http://a:1\", headers_file = \"x\" }",
            "telemetry.otlp: http://a:1 is not encrypted",
            "https",
        ),
        ("limits.memory_bytes = 100", "limits.memory_bytes: 100", "write 65536"),
        ("limits.memory_bytes = 2147483648", "limits.memory_bytes: ", "write 1073741824"),
        ("limits.turn_output_bytes = 1", "limits.turn_output_bytes: 1 bytes", "write at least 1024"),
        ("limits.socket_queue_bytes = 1", "limits.socket_queue_bytes: 1 bytes", "write at least 1024"),
        ("limits.room_bytes = 1", "limits.room_bytes: 1 bytes", "write at least 1024"),
        (
            "limits.memory_total_bytes = 33554432",
            "limits.memory_total_bytes: 33554432 is less than the process needs to serve anything",
            "write at least 125829120, or lower limits.store_cache_bytes",
        ),
        (
            "limits.memory_total_bytes = 125829120\nlimits.store_cache_bytes = 67108865",
            "limits.memory_total_bytes: 125829120 is less than",
            "67108865 for limits.store_cache_bytes",
        ),
        ("limits.body_bytes = 1", "limits.body_bytes: 1 bytes is too little", "write at least 256"),
        ("limits.turn_cpu = \"1ms\"", "limits.turn_cpu: 1ms is too short", "write at least \"5ms\""),
        ("limits.answer_timeout = \"1ms\"", "limits.answer_timeout: 1ms is too short", "write at least \"100ms\""),
        ("limits.drain_timeout = \"99ms\"", "limits.drain_timeout: 99ms is too short", "write at least \"100ms\""),
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
            "write at most 3904",
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
        "limits.drain_delay = \"0s\"",
        "limits.drain_delay = \"15s\"",
        "limits.turn_cpu = \"5ms\"\nlimits.answer_timeout = \"100ms\"\nlimits.body_bytes = 256",
        "limits.memory_total_bytes = 125829120",
        "limits.memory_total_bytes = 60000000\nlimits.store_cache_bytes = 1000000",
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
    let proxies = Config::parse("trusted_proxies = [\"127.0.0.1\", \"::1\", \"10.0.0.0/8\"]").unwrap().trusted_proxies;
    let proxies = proxies.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(proxies, ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]);
}

/// All limits, as the documents show them.
fn limits() -> toml::Table {
    let document = include_str!("../../../../docs/configuration.md");
    let (_, limits) = document.split_once("\n[limits]").expect("it shows the limits");
    let limits = limits.split_once("```").expect("they end").0;
    let limits = format!("[limits]{limits}").parse::<toml::Table>().expect("it is TOML");
    limits["limits"].as_table().expect("it is a table").clone()
}

#[test]
fn zero_is_refused_or_means_no_limit() {
    const OFF: [&str; 25] = [
        "answer_bytes_per_connection",
        "answer_bytes_per_user",
        "connections_per_address",
        "connects_per_second_per_address",
        "drain_delay",
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
        "service_answer_bytes",
        "service_messages_per_second",
        "service_request_bytes",
        "service_requests",
        "service_sockets",
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
        ("service_requests", "requests"),
        ("service_answer_bytes", "answer_bytes"),
    ];
    for (share, total) in shares {
        let problem = check(&format!("[limits]\n{total} = 5\n{share} = 6")).expect_err(share);
        assert!(problem.starts_with(&format!("limits.{share}: 6 is more than limits.{total}, 5")), "{problem}");
        assert!(problem.ends_with("write at most 5"), "{problem}");
        assert_eq!(check(&format!("[limits]\n{total} = 5")), Ok(()), "it is enough to lower the total");
    }
    assert_eq!(check("limits.requests = 5\nlimits.requests_per_user = 0"), Ok(()), "0 is no limit");
    let bodies = "[limits]\nbody_bytes = 500\nrequest_bytes = 500\nrequest_bytes_per_user = 501";
    assert!(check(bodies).unwrap_err().starts_with("limits.request_bytes_per_user: 501 is more than"));
    let warned = |text: &str| Config::parse(text).unwrap().warnings();
    assert_eq!(warned(""), Vec::<String>::new());
    let warnings = warned("identity.auth = \"jwt\"\nlimits.requests = 100").join("\n");
    assert!(warnings.contains("limits.requests_per_user: 128 is more than limits.requests, 100"), "{warnings}");
    assert!(warnings.contains("one user may take all of them"), "{warnings}");
    assert!(!warnings.contains("service"), "no key is a service's: {warnings}");
    let services =
        "identity.auth = \"jwt\"\nidentity.keys = [{ algorithm = \"HS256\", file = \"key\", service = true }]";
    let warnings = warned(&format!("{services}\nlimits.requests = 100")).join("\n");
    assert!(warnings.contains("limits.service_requests: 256 is more than limits.requests, 100"), "{warnings}");
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
fn an_outbound_origin_is_refused_with_its_line() {
    for key in ["outbound", "outbound_private"] {
        for bad in ["https://a.example:0", "x"] {
            let problem = check(&format!("[namespaces.A]\ncomponent = \"x\"\n{key} = [\"https://b\", \"{bad}\"]"));
            let problem = problem.expect_err(bad);
            assert!(problem.starts_with("line 3, column ") && problem.ends_with(&format!(", in `{key}`")), "{problem}");
            assert!(problem.contains(&format!("`{bad}` is not an origin")), "{problem}");
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
fn a_wait_in_which_no_client_can_be_served_is_refused() {
    let waits = limits().into_iter().filter(|(key, value)| value.is_str() && key.ends_with("_timeout"));
    let waits = waits.map(|(key, _)| key).chain(["ping_every".into()]).collect::<Vec<_>>();
    assert!(waits.len() > 8, "{waits:?}");
    for key in waits {
        let problem = check(&format!("limits.{key} = \"1ms\"")).expect_err(&key);
        assert!(problem.starts_with(&format!("limits.{key}: 1ms is too short")), "{problem}");
        assert!(problem.ends_with("write at least \"100ms\""), "{problem}");
        assert_eq!(check(&format!("limits.{key} = \"100ms\"")), Ok(()), "{key}");
    }
}

#[test]
fn a_doubtful_value_is_a_warning_with_a_better_one() {
    let calls = "namespaces.A = { component = \"x\", calls = [\"A\"] }\n";
    let jwt = "identity.auth = \"jwt\"\nidentity.keys = [{ algorithm = \"HS256\", file = \"x\" }]\n";
    let keys_in_dev = jwt.replace("\"jwt\"", "\"dev\"");
    for (text, key, says) in [
        ("trusted_proxies = [\"0.0.0.0/0\"]", "trusted_proxies: 0.0.0.0/0 is every address", "list the proxies alone"),
        (&keys_in_dev, "identity.keys: auth = \"dev\" ", "write auth = \"jwt\""),
        (
            "identity.auth = \"jwt\"\nidentity.jwks = \"x\"",
            "identity.jwks: without `issuer` and `audience`",
            "write the issuer or the audience",
        ),
        (
            "[identity]\nauthorize = \"http://127.0.0.1:1/a\"\nauthorize_secret = \"x\"",
            "identity.authorize: http://127.0.0.1:1/a is never asked",
            "write access = \"granted\"",
        ),
        ("identity.jwks = \"x\"", "identity.jwks: auth = \"dev\" ", "or remove the keys"),
        (&format!("{calls}limits.awake_rooms = 1"), "limits.awake_rooms: a room of A that calls", "write at least 2"),
        (&format!("{jwt}limits.sockets_per_user = 1"), "limits.sockets_per_user: 1 is too little", "write at least 2"),
        (&format!("{jwt}limits.rooms_per_user = 1"), "limits.rooms_per_user: 1 is too little", "`page = false`"),
        ("limits.rooms = 1", "limits.rooms: 1 is less than the number of namespaces, 2", "or 0 for no limit"),
        ("limits.connections = 1", "limits.connections: with 1 no two clients can meet", "write at least 2"),
        ("limits.sockets_per_room = 1", "limits.sockets_per_room: with 1 no two", "write at least 2"),
        ("limits.room_bytes = 2000", "limits.room_bytes: a room is full after a few", "write at least 65536"),
        ("limits.ping_every = \"1h\"", "limits.ping_every: proxies end connections", "write at most \"1m\""),
        ("limits.drain_timeout = \"1h\"", "limits.drain_timeout: a shutdown may take 1h", "write at most \"1m\""),
        (
            "limits.drain_delay = \"1h\"",
            "limits.drain_delay: a shutdown may take 1h 8s",
            "together with limits.drain_time",
        ),
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
        let warnings = Config::parse(text).unwrap().warnings();
        let found = warnings.iter().find(|warning| warning.starts_with(key));
        assert!(found.is_some_and(|warning| warning.contains(says)), "{text}: {warnings:?}");
    }
}

#[test]
fn a_machine_without_enough_memory_is_a_warning() {
    const MEGABYTE: u64 = 1_000_000;
    let warning = |text: &str, machine| Config::parse(text).unwrap().limits.memory_warning(machine).unwrap_or_default();
    assert_eq!(warning("", 1_000 * MEGABYTE), "");
    assert!(warning("", 100 * MEGABYTE).contains("are 80000000, and the process needs 125829120"));
    assert_eq!(warning("limits.store_cache_bytes = 1000000", 100 * MEGABYTE), "");
    let total = "limits.memory_total_bytes = 500000000";
    assert!(warning(total, 400 * MEGABYTE).contains("500000000 is more than this machine or its control group has"));
    assert_eq!(warning(total, 600 * MEGABYTE), "");
}

#[test]
fn a_reserve_of_the_whole_disk_is_refused() {
    let directory = tempfile::TempDir::new().unwrap();
    let with = |min_free_bytes| {
        let limits = crate::config::Limits { min_free_bytes, ..Default::default() };
        Config { data: directory.path().join("new"), limits, ..Config::default() }
    };
    let stat = rustix::fs::statvfs(directory.path()).unwrap();
    let total = stat.f_blocks * stat.f_frsize;
    for too_much in [total, u64::MAX] {
        let problem = with(too_much).check_data().unwrap_err().to_string();
        assert!(problem.starts_with(&format!("limits.min_free_bytes: {too_much} is not less than")), "{problem}");
        assert!(problem.ends_with("write less, such as 67108864"), "{problem}");
    }
    assert!(with(total - 1).check_data().is_ok());
    let warnings = with(total - 1).machine_warnings().join("\n");
    assert!(warnings.contains("so no turn may write; free some space, or write less"), "{warnings}");
    assert!(with(0).check_data().is_ok());
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
