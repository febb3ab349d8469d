//! The command line: what it says when something is wrong, and what an operator can check beforehand.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::Server;

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

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The example configuration that the README shows.
fn readme_example() -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("\n## Running it\n").expect("there is such a section");
    let (_, rest) = rest.split_once("```toml\n").expect("it shows a configuration");
    rest.split_once("```").expect("the example ends").0.to_owned()
}

#[test]
fn every_piece_of_configuration_in_the_readme_is_understood() {
    let pieces = include_str!("../../README.md").split("```toml\n").skip(1).collect::<Vec<_>>();
    assert!(pieces.len() >= 2, "{}", pieces.len());
    for piece in pieces {
        let piece = piece.split_once("```").expect("it ends").0;
        let config = dormouse::config::Config::parse(piece).unwrap_or_else(|error| panic!("{piece}: {error}"));
        config.check().unwrap_or_else(|error| panic!("{piece}: {error}"));
    }
}

#[test]
fn the_example_in_the_readme_is_a_good_configuration() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    let example = readme_example();
    std::fs::write(&file, &example).unwrap();
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
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", says(&output));
    let shown = dormouse::config::Config::parse(&example).unwrap();
    assert_eq!(shown.limits, dormouse::config::Limits::default(), "the example shows the limits as they are");
}

#[test]
fn check_says_what_each_component_can_do() {
    let output = check("");
    let said = says(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("namespace ROOMS: builtin:chat-room"), "{said}");
    assert!(said.contains("imports dormouse:room/storage@0.1.2"), "{said}");
    let router = said.split("router:").nth(1).unwrap();
    assert!(!router.contains("dormouse:room/storage"), "a router has no storage:\n{said}");
}

#[test]
fn check_prints_the_routes_and_warns_of_a_namespace_without_one() {
    let namespaces = |names: &[&str]| {
        let tables = names.iter().map(|name| format!("[namespaces.{name}]\ncomponent = \"builtin:chat-room\"\n"));
        format!("page = false\n{}", tables.collect::<String>())
    };
    let output = check(&namespaces(&["ROOMS", "BIG_POLLS", "big-polls"]));
    let said = says(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "route /api/realtime/rooms/{name}: rooms of ROOMS",
        "route /api/realtime/big-polls/{name}: rooms of BIG_POLLS",
        "warning: the namespace big-polls has no route",
    ] {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    let output = check(&namespaces(&["rooms"]));
    assert!(output.status.success() && !says(&output).contains("warning"), "{}", says(&output));
    let output = check(&namespaces(&["ROOMS"]).replace("page = false", "page = true"));
    assert!(says(&output).contains("warning: the demo page needs a namespace PRESENCE"), "{}", says(&output));
}

#[test]
fn a_configuration_that_would_fail_at_the_first_request_is_refused() {
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
    ] {
        let output = check(&config);
        let said = says(&output);
        assert!(!output.status.success(), "{config}:\n{said}");
        assert!(said.contains(expected), "{config}:\n{said}");
    }
    let output = check(&format!("{chat}config.keep_messages = \"5\"\nmessage_out_bytes = 4096"));
    assert!(output.status.success(), "{}", says(&output));
}

#[test]
fn what_is_wrong_is_said_with_a_next_step() {
    let wrong = [
        ("hibernate_aftr = \"1s\"", "did you mean `hibernate_after`?"),
        ("hibernate_after = \"soon\"", "hibernate_after"),
        ("listen = 5", "listen"),
        ("[namespaces.A]\ncomponent = \"gone.wasm\"", "gone.wasm cannot be read"),
        ("tls = { cert = \"gone.pem\", key = \"gone.pem\" }", "gone.pem cannot be read"),
        ("[namespaces.A]\ncomponent = \"builtin:gone\"", "builtin:chat-room"),
        ("[namespaces.A]\ncomponent = \"dormouse.toml\"", "is no WebAssembly component"),
        ("[namespaces.A]\ncomponent = \"builtin:router\"", "this one is a router: configure it as `router`"),
        ("router = \"builtin:chat-room\"", "this one is a room: configure it as a namespace's `component`"),
        ("[identity]\nauth = \"jwt\"", "[[identity.keys]]"),
        ("[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"none\", file = \"x\" }]", "HS256, RS256, ES256 or EdDSA"),
        ("[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"HS256\", file = \"gone\" }]", "cannot be read"),
        ("[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"RS256\", file = \"dormouse.toml\" }]", "holds no key"),
    ];
    for (config, expected) in wrong {
        let output = check(config);
        let said = says(&output);
        assert!(!output.status.success(), "{config}:\n{said}");
        assert!(said.contains(expected), "{config}:\n{said}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start().await;
    let log = Server::try_in_directory(server.directory.clone(), "").await.err().expect("it does not start");
    assert!(log.contains("in use by another process"), "{log}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = Server::start().await;
    let address = server.address.to_string();
    let directory = TempDir::new().unwrap();
    let output = run(&["serve", "--listen", &address, "--data", directory.path().to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(says(&output).contains(&format!("cannot listen on {address}")), "{}", says(&output));
}

#[tokio::test]
async fn flags_beat_the_environment_and_that_beats_the_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    std::fs::write(&file, "listen = \"0.0.0.0:1\"\n[identity]\nauth = \"dev\"").unwrap();
    let token = |environment: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.args(["token", "1", "--name", "ana", "--config", file.to_str().unwrap()]).args(args);
        command.envs(environment.iter().copied());
        says(&command.output().unwrap())
    };
    // The file's dev auth on a public address is refused; what overrides it is refused for want of keys.
    assert!(token(&[], &[]).contains("loopback"));
    assert!(token(&[("DORMOUSE_AUTH", "jwt")], &[]).contains("identity.keys"));
    assert!(token(&[("DORMOUSE_AUTH", "jwt")], &["--auth", "dev"]).contains("loopback"));
}
