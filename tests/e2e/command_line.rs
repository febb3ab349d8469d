//! The command line: what it says when something is wrong, and what an operator can check beforehand.

use std::process::{Command, Output};

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tempfile::TempDir;

use crate::admin::{command, printed};
use crate::harness::Server;

/// A configuration that does not exist, so that a server whose other arguments are accepted ends too.
const MISSING_CONFIG: &str = "/nowhere/dormouse.toml";

/// Run the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dormouse")).args(args).output().expect("the binary starts")
}

fn check(config: &str) -> Output {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    std::fs::write(&file, config).unwrap();
    run(&["check", "--config", file.to_str().unwrap()])
}

fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The first configuration in a section of a document.
fn example(document: &str, section: &str) -> String {
    let (_, rest) = document.split_once(&format!("\n## {section}\n")).expect("there is such a section");
    let (_, rest) = rest.split_once("```toml\n").expect("it shows a configuration");
    rest.split_once("```").expect("the example ends").0.to_owned()
}

#[test]
fn every_configuration_snippet_in_the_documents_is_accepted() {
    let documents = [
        include_str!("../../README.md"),
        include_str!("../../docs/configuration.md"),
        include_str!("../../docs/postgres.md"),
        include_str!("../../docs/telemetry.md"),
    ];
    let pieces = documents.iter().flat_map(|text| text.split("```toml\n").skip(1)).collect::<Vec<_>>();
    assert!(pieces.len() >= 3, "{}", pieces.len());
    for piece in pieces {
        let piece = piece.split_once("```").expect("it ends").0;
        let config = dormouse::config::Config::parse(piece).unwrap_or_else(|error| panic!("{piece}: {error}"));
        config.check().unwrap_or_else(|error| panic!("{piece}: {error}"));
    }
}

#[test]
fn the_documented_configurations_pass_the_check() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    let complete = example(include_str!("../../docs/configuration.md"), "Every setting");
    std::fs::write(directory.path().join("jwt.secret"), "a secret of at least thirty-two bytes").unwrap();
    std::fs::write(directory.path().join("poll.wasm"), dormouse_bundle::UNRULY).unwrap();
    let set = r#"{"keys":[{"kty":"oct","k":"YSBzZWNyZXQgb2YgYXQgbGVhc3QgdGhpcnR5LXR3byBieXRlcw"}]}"#;
    std::fs::write(directory.path().join("keys.json"), set).unwrap();
    std::fs::write(directory.path().join("admin.token"), "a-token-of-at-least-thirty-two-characters").unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for file in ["company-ca.pem", "cert.pem"] {
        std::fs::write(directory.path().join(file), certified.cert.pem()).unwrap();
    }
    std::fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    for example in [&example(include_str!("../../README.md"), "Running it"), &complete] {
        std::fs::write(&file, example).unwrap();
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", output_text(&output));
    }
    let shown = dormouse::config::Config::parse(&complete).unwrap();
    assert_eq!(shown.limits, dormouse::config::Limits::default(), "the example shows the limits as they are");
}

#[test]
fn check_lists_the_capabilities_of_each_component() {
    let output = check("");
    let text = output_text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("namespace ROOMS: builtin:chat-room"), "{text}");
    let storage = format!("imports dormouse:room/storage@{}", dormouse::guest::CONTRACT);
    assert!(text.contains(&storage), "{text}");
    let router = text.split("router:").nth(1).unwrap();
    assert!(!router.contains("dormouse:room/storage"), "a router has no storage:\n{text}");
}

#[test]
fn check_prints_the_routes_and_warns_of_a_namespace_without_one() {
    let namespaces = |names: &[&str]| {
        let tables = names.iter().map(|name| format!("[namespaces.{name}]\ncomponent = \"builtin:chat-room\"\n"));
        format!("page = false\n{}", tables.collect::<String>())
    };
    let output = check(&namespaces(&["ROOMS", "BIG_POLLS", "big-polls"]));
    let text = output_text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "route /api/realtime/rooms/{name}: rooms of ROOMS",
        "route /api/realtime/big-polls/{name}: rooms of BIG_POLLS",
        "warning: the namespace big-polls has no route",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let output = check(&namespaces(&["rooms"]));
    assert!(output.status.success() && !output_text(&output).contains("warning"), "{}", output_text(&output));
    let at_the_root = format!("base_path = \"/\"\n{}", namespaces(&["ROOMS", "CLIENT"]));
    assert!(
        output_text(&check(&at_the_root)).contains("route /client/{name}: rooms of CLIENT"),
        "without the page it answers"
    );
    let text = output_text(&check(&at_the_root.replace("page = false", "page = true")));
    assert!(text.contains("warning: the namespace CLIENT has no route: the demo page answers"), "{text}");
    assert!(!text.contains("route /client/"), "{text}");
    let swapped = "[namespaces.ROOMS]\ncomponent = \"builtin:presence-tracker\"\n\
                   [namespaces.PRESENCE]\ncomponent = \"builtin:presence-tracker\"\n";
    let text = output_text(&check(swapped));
    assert!(text.contains("warning: namespaces.ROOMS.component: the demo page expects builtin:chat-room"), "{text}");
    let output = check(&namespaces(&["ROOMS"]).replace("page = false", "page = true"));
    assert!(
        output_text(&output).contains("warning: the demo page needs the namespace PRESENCE"),
        "{}",
        output_text(&output)
    );
}

/// A directory with a configuration that takes tokens, and its path.
fn with_tokens(namespaces: &str) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("secret"), crate::tokens::SECRET).unwrap();
    let identity = "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"HS256\", file = \"secret\" }]\n";
    let file = directory.path().join("dormouse.toml");
    std::fs::write(&file, format!("{identity}{namespaces}")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

const CHAT_AND_LOUNGE: &str = "[namespaces.ROOMS]\ncomponent = \"builtin:chat-room\"\n\
                               [namespaces.LOUNGE]\ncomponent = \"builtin:chat-room\"\naccess = \"open\"\n";

#[test]
fn check_prints_the_access_of_each_namespace() {
    let (_directory, file) = with_tokens(CHAT_AND_LOUNGE);
    let text = output_text(&run(&["check", "--config", &file]));
    assert!(text.contains("namespace ROOMS: builtin:chat-room\n  access granted\n"), "{text}");
    assert!(text.contains("namespace LOUNGE: builtin:chat-room\n  access open\n"), "{text}");
    let text = output_text(&check(""));
    assert!(text.contains("namespace ROOMS: builtin:chat-room\n  access open\n"), "{text}");
    let text = output_text(&check("identity.access = \"granted\""));
    assert!(text.contains("warning: namespaces.ROOMS: its access is `granted`, and a name of dev auth"), "{text}");
}

#[test]
fn a_namespace_that_grants_cannot_name_is_refused() {
    let twins = "[namespaces.A_B]\ncomponent = \"builtin:chat-room\"\n\
                 [namespaces.a-b]\ncomponent = \"builtin:chat-room\"\n";
    let (_directory, file) = with_tokens(twins);
    let output = run(&["check", "--config", &file]);
    let text = output_text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("namespaces.A_B: grants cannot tell it from `a-b`, because both are `a-b` in a path"),
        "{text}"
    );
    let (_directory, file) = with_tokens(&twins.replace("-room\"\n", "-room\"\naccess = \"open\"\n"));
    let output = run(&["check", "--config", &file]);
    assert!(output.status.success(), "{}", output_text(&output));
    let text = output_text(&check("identity.grants_claim = \"\""));
    assert!(text.contains("identity.grants_claim: must not be empty"), "{text}");
}

#[test]
fn check_says_what_a_token_may_do_in_a_room_and_why() {
    let (_directory, file) = with_tokens(CHAT_AND_LOUNGE);
    let print = |args: &[&str]| {
        let output = run(&[args, &["--config", &file]].concat());
        (output.status.success(), output_text(&output).trim().to_owned())
    };
    let token = |args: &[&str]| {
        let (is_good, token) = print(&[&["token", "ana"], args].concat());
        assert!(is_good, "{token}");
        token
    };
    let grants = ["--grant", "rooms/team-*=read,write", "--grant", "rooms/lo*=read", "--grant", "rooms/*by=read,admin"];
    let some = token(&grants);
    let none = token(&[]);
    for (token, room, lines) in [
        (
            &some,
            "rooms/team-7",
            ["ana in rooms/team-7", "may: read, write", "may not: presence", "`rooms/team-*` decides"],
        ),
        (
            &some,
            "ROOMS/team-7",
            ["ana in rooms/team-7", "may: read, write", "may not: presence", "`rooms/team-*` decides"],
        ),
        (&some, "rooms/lobby", ["may: read\n", "may not: write", "`rooms/*by`, `rooms/lo*`", "equally specific"]),
        (&some, "rooms/x", ["may: nothing", "may not: read, write", "no grant of the token matches", "`rooms/lo*`"]),
        (&none, "rooms/x", ["may: nothing", "may not: read, write", "the token has no claim `rooms`", "not looked at"]),
        (&none, "lounge/x", ["may: read, write, presence\n", "may not: moderate, admin", "because", "is open"]),
    ] {
        let (is_good, text) = print(&["check", "--as", token, room]);
        assert!(is_good, "{room}: {text}");
        for line in lines {
            assert!(text.contains(line), "{room}: {line}:\n{text}");
        }
    }
    for (args, says) in [
        (&["check", "--as", &none, "polls/x"][..], "the configuration has no namespace `polls`"),
        (&["check", "--as", &none, "rooms"], "`rooms` is not a room"),
        (&["check", "--as", "nonsense", "rooms/x"], "--as: the token is not valid"),
        (&["check", "--as", &none], "ROOM"),
        (&["check", "rooms/x"], "--as"),
    ] {
        let (is_good, text) = print(args);
        assert!(!is_good && text.contains(says), "{says}:\n{text}");
    }
}

/// Runs the binary with a text on stdin.
fn run_with_stdin(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("stdin is piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn check_reads_a_token_from_stdin() {
    let (_directory, file) = with_tokens(CHAT_AND_LOUNGE);
    let token = output_text(&run(&["token", "ana", "--grant", "rooms/a=read", "--config", &file]));
    let check = |stdin: &str| {
        let output = run_with_stdin(&["check", "--as", "-", "rooms/a", "--config", &file], stdin);
        (output.status.success(), output_text(&output))
    };
    for stdin in [token.clone(), format!("  {}\r\n\n", token.trim())] {
        let (is_good, text) = check(&stdin);
        assert!(is_good && text.contains("ana in rooms/a") && text.contains("may: read\n"), "{text}");
    }
    for (stdin, says) in [
        ("", "stdin is empty"),
        (" \n", "stdin is empty"),
        ("nonsense", "--as: the token is not valid"),
        (&"x".repeat(1 << 20), "--as: the token is longer than"),
    ] {
        let (is_good, text) = check(stdin);
        assert!(!is_good && text.contains(says), "{says}: {text}");
    }
}

#[test]
fn check_knows_who_was_revoked_or_sent_out() {
    let (directory, file) = with_tokens(CHAT_AND_LOUNGE);
    let token = |user: &str| {
        let output = run(&["token", user, "--grant", "rooms/*=read,write", "--config", &file]);
        output_text(&output).trim().to_owned()
    };
    let [ana, bo] = ["ana", "bo"].map(token);
    let check = |token: &str, room: &str| {
        let output = run(&["check", "--as", token, room, "--config", &file]);
        assert!(output.status.success(), "{}", output_text(&output));
        output_text(&output)
    };
    let says = |token: &str, room: &str, lines: &[&str]| {
        let text = check(token, room);
        lines.iter().for_each(|line| assert!(text.contains(line), "{line}:\n{text}"));
    };
    let data = directory.path().join("dormouse-data");
    says(&ana, "rooms/a", &["may: read, write\n", "revocations were not looked at: there is no data directory"]);
    std::fs::create_dir(&data).unwrap();
    says(&ana, "rooms/a", &["may: read, write\n", "no revocation in", "dormouse-data concerns this token here"]);
    let revocations = data.join("revocations.json");
    let list = r#"{"version":1,"revocations":[
        {"user":"ana","room":"rooms/a"},{"user":"ana","room":"lounge/a"},{"user":"bo","before":9999999999}]}"#;
    std::fs::write(&revocations, list).unwrap();
    for room in ["rooms/a", "ROOMS/a", "lounge/a"] {
        says(&ana, room, &["may: nothing\n", "because the user was sent out of this room"]);
    }
    says(&ana, "rooms/b", &["may: read, write\n", "no revocation in"]);
    says(&bo, "rooms/b", &["may: nothing\n", "because the token or its user was revoked"]);
    std::fs::write(&revocations, "{").unwrap();
    says(&ana, "rooms/b", &["may: read, write\n", "revocations were not looked at", "cannot be read"]);
}

#[test]
fn token_warns_of_long_claims_or_refuses_them() {
    let long = format!("groups={}", "g".repeat(4_096));
    let token = |identity: &str, args: &[&str]| {
        let (directory, file) = with_tokens("");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{identity}")).unwrap();
        let output = run(&[&["token", "ana", "--config", &file], args].concat());
        drop(directory);
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_good, printed, warned) = token("", &["--claim", &long]);
    assert!(is_good && claims_of(printed.trim())["groups"].is_string(), "{warned}");
    assert!(warned.contains("warning: the claims are longer than 4096 bytes, so rooms get none of them"), "{warned}");
    let (is_good, printed, warned) = token("claims = [\"groups\"]", &["--claim", &long]);
    assert!(!is_good && printed.is_empty(), "{printed}");
    assert!(warned.contains("identity.claims chooses are longer than 4096 bytes"), "{warned}");
    for (identity, claim) in [("claims = [\"role\"]", long.as_str()), ("claims = []", &long), ("", "role=host")] {
        let (is_good, _, warned) = token(identity, &["--claim", claim]);
        assert!(is_good && warned.is_empty(), "{identity}: {warned}");
    }
}

/// The claims of a printed token.
fn claims_of(token: &str) -> serde_json::Value {
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, token.split('.').nth(1).unwrap());
    serde_json::from_slice(&claims.unwrap()).unwrap()
}

#[test]
fn a_token_of_a_service_is_signed_with_the_key_of_services() {
    let (directory, file) = with_tokens("");
    std::fs::write(directory.path().join("service.secret"), "the secret of the back ends, which no user sees").unwrap();
    let print = |args: &[&str]| {
        let output = run(&[args, &["--config", &file]].concat());
        (output.status.success(), output_text(&output).trim().to_owned())
    };
    let configure = |keys: &[&str]| {
        let keys = keys.iter().map(|key| format!("{{ algorithm = \"HS256\", {key} }}")).collect::<Vec<_>>().join(", ");
        std::fs::write(&file, format!("[identity]\nauth = \"jwt\"\nkeys = [{keys}]\n{CHAT_AND_LOUNGE}")).unwrap();
    };
    let users = "file = \"secret\"";
    let services = "file = \"service.secret\", id = \"s\", service = true";

    configure(&[users]);
    let (is_good, text) = print(&["token", "backend", "--service"]);
    assert!(!is_good && text.contains("no key with `service = true` that can sign"), "{text}");

    // The server tells by the key that signed: an ordinary key could not have signed the role.
    configure(&[services, users]);
    let args = ["token", "backend", "--service", "--act", "ana", "--grant", "rooms/*=write"];
    let (is_good, of_service) = print(&args);
    assert!(is_good, "{of_service}");
    let claims = claims_of(&of_service);
    assert_eq!(claims["act"], serde_json::json!({ "sub": "ana", "name": "ana" }));
    let (is_good, text) = print(&["check", "--as", &of_service, "rooms/team-7"]);
    for says in ["ana in rooms/team-7", "backend is a service, which acts for ana", "may: write\n"] {
        assert!(is_good && text.contains(says), "{says}: {text}");
    }
    let (_, own) = print(&["token", "backend", "--service"]);
    let (is_good, text) = print(&["check", "--as", &own, "rooms/team-7"]);
    assert!(is_good && text.contains("backend is a service, which acts for itself"), "{text}");
    let (is_good, text) = print(&["check"]);
    assert!(is_good && text.contains("service.secret (HS256) for tokens with the kid \"s\": may sign"), "{text}");

    // A user's token is signed with a key of services only if there is no other.
    let (_, of_user) = print(&["token", "ana"]);
    configure(&[services]);
    let (is_good, text) = print(&["check", "--as", &of_user, "rooms/team-7"]);
    assert!(!is_good && text.contains("not signed with a key that this server knows"), "{text}");
    let (_, of_user) = print(&["token", "ana"]);
    let (is_good, text) = print(&["check", "--as", &of_user, "rooms/team-7"]);
    assert!(is_good && text.contains("ana in rooms/team-7") && !text.contains("is a service"), "{text}");

    for (args, says) in [
        (&["token", "ana", "--claim", "role=service"][..], "use --service alone"),
        (&["token", "ana", "--service", "--claim", "role=host"], "use --service alone"),
        (&["token", "ana", "--service", "--claim", "act=bo"], "`act` has a meaning of its own"),
        (&["token", "ana", "--act", "bo"], "--service"),
        (&["token", "ana", "--service", "--auth", "dev"], "never a service's"),
    ] {
        let (is_good, text) = print(args);
        assert!(!is_good && text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_printed_token_has_its_grants_and_claims() {
    let (_directory, file) = with_tokens("");
    let token = |args: &[&str]| run(&[&["token", "ana", "--config", &file], args].concat());
    let args =
        ["--grant", "rooms/team-7=read,write", "--grant", "ROOMS/secret=", "--claim", "role=host", "--claim", "n=[1]"];
    let output = token(&args);
    let text = output_text(&output);
    assert!(output.status.success(), "{text}");
    let claims = claims_of(&text);
    assert_eq!(claims["rooms"], serde_json::json!({ "rooms/team-7": ["read", "write"], "rooms/secret": [] }));
    assert_eq!(
        (&claims["role"], &claims["n"], &claims["sub"]),
        (&"host".into(), &serde_json::json!([1]), &"ana".into())
    );
    for (args, says) in [
        (&["--grant", "rooms/a"][..], "--grant: \"rooms/a\" is not a grant; write"),
        (&["--grant", "rooms/a=reed"], "\"reed\" is not a permission"),
        (&["--claim", "role"], "write NAME=VALUE"),
        (&["--claim", "sub=bo"], "`sub` has a meaning of its own"),
        (&["--claim", "rooms={}"], "use --grant"),
        (&["--claim", "a=1", "--claim", "a=2"], "`a` is given twice"),
        (&["--auth", "dev", "--grant", "rooms/a=read"], "carries no grants"),
    ] {
        let output = token(args);
        assert!(!output.status.success() && output_text(&output).contains(says), "{says}:\n{}", output_text(&output));
    }
}

#[test]
fn a_configuration_that_would_fail_later_is_refused() {
    let chat = "[namespaces.ROOMS]\ncomponent = \"builtin:chat-room\"\n";
    let presence = "[namespaces.PRESENCE]\ncomponent = \"builtin:presence-tracker\"\n";
    for (config, expected) in [
        (format!("{chat}config.keep_messages = \"lots\""), "\"lots\" is not a number from 1 to"),
        (format!("{chat}config.keep_messages = \"0\""), "\"0\" is not a number from 1 to"),
        (format!("{chat}config.keep_mesages = \"5\""), "did you mean `keep_messages`?"),
        (format!("{presence}config.patience = \"5\""), "builtin:presence-tracker has no settings"),
        (format!("{chat}message_out_bytes = 0"), "namespaces.ROOMS.message_out_bytes: must not be 0"),
        (format!("{chat}message_out_bytes = 100"), "builtin:chat-room, which needs 4096"),
        (format!("{presence}message_out_bytes = 100"), "builtin:presence-tracker, which needs 4096"),
        (format!("{chat}[limits]\nturn_output_bytes = 0"), "limits.turn_output_bytes: must not be 0"),
        (format!("{chat}message_in_bytes = 1"), "builtin:chat-room, whose clients send 256; write at least 256"),
        (format!("{presence}message_in_bytes = 1"), "builtin:presence-tracker, whose clients send 64"),
        (
            format!("{chat}[limits]\nmemory_bytes = 1_179_648"),
            "limits.memory_bytes: 1179648 is too little for builtin:",
        ),
        (format!("{chat}[limits]\nmemory_total_bytes = 33554432"), "limits.memory_total_bytes: 33554432 is less than"),
        (format!("{chat}[limits]\nmin_free_bytes = 9000000000000000000"), "is not less than the whole disk"),
        (format!("{chat}[limits]\nanswer_timeout = \"1ms\""), "limits.answer_timeout: 1ms is too short"),
        (format!("{chat}[limits]\nrequests = 1000000000"), "lower `limits.awake_rooms`, `limits.requests`"),
    ] {
        let output = check(&config);
        let text = output_text(&output);
        assert!(!output.status.success(), "{config}:\n{text}");
        assert!(text.contains(expected), "{config}:\n{text}");
    }
    let output = check(&format!("{chat}config.keep_messages = \"5\"\nmessage_out_bytes = 4096"));
    assert!(output.status.success(), "{}", output_text(&output));
}

#[test]
fn errors_of_the_operator_end_in_a_next_step() {
    let wrong = [
        ("hibernate_aftr = \"1s\"", "did you mean `hibernate_after`?"),
        ("hibernate_after = \"soon\"", "hibernate_after"),
        ("listen = 5", "listen"),
        ("[namespaces.A]\ncomponent = \"gone.wasm\"", "gone.wasm cannot be read"),
        ("tls = { cert = \"gone.pem\", key = \"gone.pem\" }", "gone.pem cannot be read"),
        ("[namespaces.A]\ncomponent = \"builtin:gone\"", "builtin:chat-room"),
        ("[namespaces.A]\ncomponent = \"dormouse.toml\"", "is not a WebAssembly component"),
        (
            "[namespaces.A]\ncomponent = \"builtin:router\"",
            "namespaces.A.component: the component cannot be used: builtin:router is a router, and a room is needed here; configure it as `router`",
        ),
        (
            "router = \"builtin:chat-room\"",
            "router: the component cannot be used: builtin:chat-room is a room, and a router is needed here; configure it",
        ),
        ("[identity]\nauth = \"jwt\"", "[[identity.keys]]"),
        (
            "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"none\", file = \"x\" }]",
            "identity.keys.algorithm: no token is signed with `none`, as the key in ",
        ),
        ("[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"HS256\", file = \"gone\" }]", "cannot be read"),
        ("[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"RS256\", file = \"dormouse.toml\" }]", "holds no key"),
    ];
    for (config, expected) in wrong {
        let output = check(config);
        let text = output_text(&output);
        assert!(!output.status.success(), "{config}:\n{text}");
        assert!(text.contains(expected), "{config}:\n{text}");
    }
}

#[test]
fn an_unusable_file_is_reported_with_its_setting_and_reason() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let file = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    file("cert.pem", &certified.cert.pem());
    file("key.pem", &certified.signing_key.serialize_pem());
    file("nonsense", "nonsense");
    file("empty", "");
    file("torn.pem", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n");
    file("none.json", "{\"keys\":[]}");
    file("odd.json", r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},{"kty":"RSA","kid":"b","use":"enc"}]}"#);
    let jwt = "identity.auth = \"jwt\"\n";
    for (config, expected) in [
        ("router = \"gone.wasm\"", &["router: ", "gone.wasm cannot be read: it does not exist"][..]),
        (
            "namespaces.A.component = \"gone.wasm\"",
            &["namespaces.A.component: ", "gone.wasm cannot be read: it does not"],
        ),
        ("namespaces.A.component = \".\"", &["namespaces.A.component: ", "it is a directory, and must be a file"]),
        ("namespaces.A.component = \"empty/x.wasm\"", &["a part of its path is a file, and must be a directory"]),
        ("namespaces.A.component = \"builtin:gone\"", &["namespaces.A.component: there is no builtin:gone"]),
        (
            "tls = { cert = \"gone.pem\", key = \"key.pem\" }",
            &["tls.cert: ", "gone.pem cannot be read: it does not exist"],
        ),
        (
            "tls = { cert = \"cert.pem\", key = \"gone.pem\" }",
            &["tls.key: ", "gone.pem cannot be read: it does not exist"],
        ),
        ("tls = { cert = \"nonsense\", key = \"key.pem\" }", &["tls.cert: ", "it holds no certificate in PEM"]),
        ("tls = { cert = \"cert.pem\", key = \"empty\" }", &["tls.key: ", "it holds no private key in PEM"]),
        ("outbound_ca = \"gone.pem\"", &["outbound_ca: ", "gone.pem cannot be trusted: it does not exist"]),
        ("outbound_ca = \"nonsense\"", &["outbound_ca: ", "it holds no certificate in PEM; name a file"]),
        ("outbound_ca = \"empty\"", &["outbound_ca: ", "it holds no certificate in PEM"]),
        ("outbound_ca = \"torn.pem\"", &["outbound_ca: ", "its certificate 1 is damaged"]),
        ("admin = { listen = \"127.0.0.1:0\", token_file = \"gone\" }", &["admin.token_file: ", "it does not exist"]),
        (
            "identity.keys = [{ algorithm = \"HS256\", file = \"gone\" }]",
            &["identity.keys.file: ", "it does not exist"],
        ),
        ("identity.jwks = \"gone\"", &["identity.jwks: ", "it does not exist"]),
        ("identity.jwks = \"none.json\"", &["identity.jwks: ", "its list `keys` is empty"]),
        (
            "identity.jwks = \"odd.json\"",
            &["key 1 (\"a\"): a secret has at least 32 bytes; key 2 (\"b\"): its `use` is not `sig`"],
        ),
        (
            "limits.memory_bytes = 65536",
            &["limits.memory_bytes: 65536 is too little for builtin:", "; write at least "],
        ),
        ("limits.table_elements = 1", &["limits.table_elements: 1 is too little for builtin:"]),
        ("limits.socket_queue_bytes = 2000", &["limits.socket_queue_bytes: 2000 is too little", "write at least 4096"]),
        ("limits.turn_output_bytes = 4096", &["limits.turn_output_bytes: 4096 is too little", "write at least 4288"]),
        ("data = \"empty\"", &["data: ", "empty is a file; name a directory"]),
        ("data = \"\"", &["data: must not be empty"]),
    ] {
        let config = if config.starts_with("identity") { format!("{jwt}{config}") } else { config.to_owned() };
        file("dormouse.toml", &config);
        for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let output = run(&[command, &["--config", path("dormouse.toml").to_str().unwrap()]].concat());
            let text = output_text(&output);
            assert!(!output.status.success(), "{command:?} {config}:\n{text}");
            for part in expected {
                assert!(text.contains(part), "{command:?} {config}, without {part}:\n{text}");
            }
            assert!(!text.contains("os error"), "{command:?} {config}:\n{text}");
        }
    }
}

#[test]
fn a_cause_is_printed_once() {
    let keys = "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"HS256\", file = \"gone\" }]";
    for config in
        [keys, "[namespaces.A]\ncomponent = \"gone.wasm\"", "tls = { cert = \"gone.pem\", key = \"gone.pem\" }"]
    {
        let text = output_text(&check(config));
        assert_eq!(text.matches("it does not exist").count(), 1, "{text}");
        assert!(!text.contains("os error"), "{text}");
    }
    let text = output_text(&run(&["check", "--config", "/nowhere/dormouse.toml"]));
    assert_eq!(text.matches("it does not exist").count(), 1, "{text}");
}

#[test]
fn a_log_filter_without_a_known_target_is_refused() {
    for (filter, expected) in [
        ("dormouse::stoer=debug", "did you mean `dormouse::store`?"),
        ("[span]=info", "there is no span `span`"),
        ("hyperr=debug", "did you mean `hyper`?"),
        ("[room{rom=x}]=debug", "the fields are `room`"),
    ] {
        let output = run(&["serve", "--config", MISSING_CONFIG, "--log", filter]);
        assert!(!output.status.success() && output_text(&output).contains(expected), "{}", output_text(&output));
    }
}

#[test]
fn an_error_names_the_variable_or_the_flag_that_was_set() {
    let serve = |variable: (&str, &str), args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.args(["serve", "--config", MISSING_CONFIG]).args(args).env(variable.0, variable.1);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{variable:?}");
        output_text(&output)
    };
    for (name, value, flag) in [
        ("DORMOUSE_LOG", "verbose", "--log"),
        ("DORMOUSE_LISTEN", "localhost", "--listen"),
        ("DORMOUSE_HIBERNATE_AFTER", "soon", "--hibernate-after"),
        ("DORMOUSE_AUTH", "none", "--auth"),
        ("DORMOUSE_LOG_FORMAT", "xml", "--log-format"),
    ] {
        let text = serve((name, value), &[]);
        assert!(text.contains(&format!("invalid value '{value}' for '{name}'")), "{text}");
        assert!(!text.contains(&format!("{flag} <")), "{text}");
        for passed in [&[flag, value][..], &[&format!("{flag}={value}")]] {
            let text = serve((name, "ignored"), passed);
            assert!(text.contains(&format!("invalid value '{value}' for '{flag} <")), "{text}");
        }
    }
    assert!(serve(("DORMOUSE_TLS_CERT", "cert.pem"), &[]).contains("set DORMOUSE_TLS_KEY as well"));
    assert!(serve(("DORMOUSE_TLS_KEY", "key.pem"), &[]).contains("set DORMOUSE_TLS_CERT as well"));
}

#[test]
fn an_unknown_log_level_is_refused_with_the_list_of_levels() {
    for word in ["warning", "verbose", "infos", "info,dormouse::store=loud"] {
        let output = run(&["serve", "--config", MISSING_CONFIG, "--log", word]);
        let text = output_text(&output);
        assert!(!output.status.success(), "{word}");
        assert!(text.contains("off, error, warn, info, debug and trace"), "{text}");
    }
}

#[test]
fn an_invalid_allowed_origin_is_refused_by_name() {
    let good = check("identity.allowed_origins = [\"https://App.Example\", \"https://two.example:443\"]");
    assert!(good.status.success(), "{}", output_text(&good));
    for bad in ["https://app.example/chat", "app.example", "null"] {
        let text = output_text(&check(&format!("identity.allowed_origins = [\"https://app.example\", \"{bad}\"]")));
        assert!(text.contains(&format!("no browser sends `{bad}`")), "{text}");
    }
}

/// A server that the test starts itself, with the lines of its stderr.
struct StartedServer {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    stderr: Vec<String>,
}

impl StartedServer {
    fn start(directory: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.arg("serve").args(args).envs(environment.iter().copied()).current_dir(directory);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        StartedServer { child, lines, stderr: Vec::new() }
    }

    fn wait_until_ready(&mut self) -> String {
        for line in self.lines.by_ref() {
            let line = line.expect("it is text");
            self.stderr.push(line.clone());
            if line.contains("ready") {
                return line;
            }
        }
        panic!("it was never ready: {:?}", self.stderr)
    }

    /// Sends SIGTERM, and returns its whole stderr.
    fn stop(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.stderr.extend(self.lines.by_ref().map(|line| line.expect("it is text")));
        assert!(self.child.wait().expect("it was started here").success(), "{:?}", self.stderr);
        std::mem::take(&mut self.stderr)
    }
}

impl Drop for StartedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn data_is_relative_to_the_configuration_and_a_flag_to_the_cwd() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (etc, elsewhere) = (root.join("etc"), root.join("elsewhere"));
    std::fs::create_dir(&etc).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(etc.join("dormouse.toml"), "listen = \"localhost:0\"\ndata = \"./kept\"\n").unwrap();
    let config = etc.join("dormouse.toml");
    let config = config.to_str().unwrap();
    for from in [&etc, &elsewhere] {
        let mut server = StartedServer::start(from, &["--config", config], &[]);
        let ready = server.wait_until_ready();
        assert!(ready.contains(&format!("(data in {}/kept,", etc.display())), "{ready}");
        server.stop();
    }
    assert!(etc.join("kept/mark").exists() && !elsewhere.join("kept").exists());
    let flag: &[&str] = &["--config", config, "--data", "kept"];
    let variable: &[&str] = &["--config", config];
    for (args, environment) in [(flag, &[][..]), (variable, &[("DORMOUSE_DATA", "kept")][..])] {
        let mut server = StartedServer::start(&elsewhere, args, environment);
        let ready = server.wait_until_ready();
        assert!(ready.contains(&format!("(data in {}/kept,", elsewhere.display())), "{ready}");
        server.stop();
    }
    assert!(elsewhere.join("kept/mark").exists());
    // A path with detours is shown without them.
    let mut server = StartedServer::start(&elsewhere, &["--config", "../elsewhere/../etc/dormouse.toml"], &[]);
    let ready = server.wait_until_ready();
    assert!(ready.contains(&format!("(data in {}/kept,", etc.display())), "{ready}");
    server.stop();
}

#[test]
fn an_empty_variable_counts_as_unset_and_a_name_is_resolved() {
    let directory = TempDir::new().unwrap();
    let empty = [
        "DORMOUSE_CONFIG",
        "DORMOUSE_AUTH",
        "DORMOUSE_LISTEN",
        "DORMOUSE_DATA",
        "DORMOUSE_TLS_CERT",
        "DORMOUSE_TLS_KEY",
        "DORMOUSE_HIBERNATE_AFTER",
        "DORMOUSE_LOG",
        "DORMOUSE_LOG_FORMAT",
    ]
    .map(|name| (name, ""));
    let mut server = StartedServer::start(directory.path(), &["--listen", "localhost:0"], &empty);
    let ready = server.wait_until_ready();
    assert!(ready.contains("ready on http://127.0.0.1:") && ready.contains("dormouse-data, auth dev"), "{ready}");
    assert!(ready.contains(", access open)"), "{ready}");
    server.stop();
    let output = run(&["serve", "--listen", "localhost"]);
    assert!(output_text(&output).contains("it has no port"), "{}", output_text(&output));
}

#[test]
fn a_json_log_has_only_json_lines() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("dormouse.toml"), "admin.listen = \"localhost:0\"\n").unwrap();
    for level in ["info", "error"] {
        let args = ["--listen", "127.0.0.1:0", "--log-format", "json", "--log", level];
        let mut server = StartedServer::start(directory.path(), &args, &[]);
        let ready = serde_json::from_str::<serde_json::Value>(&server.wait_until_ready()).expect("it is JSON");
        assert_eq!(ready["fields"]["message"], "ready");
        for address in ["url", "admin"] {
            assert!(ready["fields"][address].as_str().is_some_and(|it| it.starts_with("http://127.0.0.1:")), "{ready}");
        }
        for line in server.stop() {
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok_and(|line| line.is_object()), "{line}");
        }
    }
    std::fs::write(directory.path().join("dormouse.toml"), "nonsense = 1\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let output = command.args(["serve", "--log-format", "json"]).current_dir(directory.path()).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let entry = serde_json::from_str::<serde_json::Value>(text.trim()).expect("the reason is one line of JSON");
    assert!(entry["fields"]["error"].as_str().unwrap().contains("nonsense"), "{entry}");
}

/// Everything in a directory that others than its owner may read, write or enter.
fn readable_by_others(path: &Path) -> Vec<String> {
    let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode();
    let mut open = Vec::new();
    if mode & 0o077 != 0 {
        open.push(format!("{} {:o}", path.display(), mode & 0o777));
    }
    if path.is_dir() {
        open.extend(std::fs::read_dir(path).unwrap().flat_map(|entry| readable_by_others(&entry.unwrap().path())));
    }
    open
}

#[tokio::test]
async fn data_is_private_and_an_open_store_is_closed_at_start() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let mut server = StartedServer::start(directory.path(), &["--listen", "127.0.0.1:0", "--data", "data"], &[]);
    server.wait_until_ready();
    assert_eq!(readable_by_others(&data), Vec::<String>::new());
    server.stop();
    let code = std::fs::read_dir(data.join("compiled")).unwrap().next().expect("compiled code").unwrap().path();
    for (path, mode) in [("", 0o755), ("store", 0o755), ("mark", 0o644), ("compiled", 0o755)] {
        std::fs::set_permissions(data.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::in_directory(Arc::new(directory), "").await;
    server.wait_for_log("other users could read the data").await;
    server.wait_for_log("other users could read compiled code").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send_chat("hello").await;
    ana.recv_content().await;
    let ours =
        ["", "store", "mark"].map(|path| std::fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o777);
    assert_eq!(ours, [0o700, 0o700, 0o600]);
    assert_eq!(readable_by_others(&data), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let server = Server::with(admin).await;
    // A configuration that is warned about, and a deploy that goes on after a restart.
    let deploy = ["deploy", "PRESENCE", "builtin:chat-room"];
    printed(&command(&server, &deploy).await);
    let config = format!("trusted_proxies = [\"0.0.0.0/0\"]\n{admin}");
    let log = Server::try_in_directory(server.directory.clone(), &config).await.err().expect("it does not start");
    assert!(log.contains("in use by another process"), "{log}");
    assert_eq!(log.lines().count(), 1, "the refusal comes before anything that a start says:\n{log}");
}

#[tokio::test]
async fn a_port_in_use_is_named_in_the_error() {
    let server = Server::start().await;
    let address = server.address.to_string();
    let directory = TempDir::new().unwrap();
    let output = run(&["serve", "--listen", &address, "--data", directory.path().to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(output_text(&output).contains(&format!("cannot listen on {address}")), "{}", output_text(&output));
}

#[tokio::test]
async fn flags_override_the_environment_and_that_the_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    std::fs::write(&file, "listen = \"0.0.0.0:1\"\n[identity]\nauth = \"dev\"").unwrap();
    let token = |environment: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.args(["token", "1", "--name", "ana", "--config", file.to_str().unwrap()]).args(args);
        command.envs(environment.iter().copied());
        output_text(&command.output().unwrap())
    };
    // The file's dev auth on a public address is refused; what overrides it is refused for want of keys.
    assert!(token(&[], &[]).contains("loopback"));
    assert!(token(&[("DORMOUSE_AUTH", "jwt")], &[]).contains("identity.keys"));
    assert!(token(&[("DORMOUSE_AUTH", "jwt")], &["--auth", "dev"]).contains("loopback"));
}
