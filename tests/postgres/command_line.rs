//! The command line, and the password of the database.

use std::process::{Command, Output};
use std::sync::Arc;

use hyper::Method;
use tempfile::TempDir;

use crate::cluster::Server as Database;
use crate::databases::use_store;
use crate::harness::{self, Server};

const PASSWORD: &str = "a-password-that-nobody-may-see";

/// Runs a command without a database.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args, None)
}

/// Runs a command with a database in its environment.
pub(crate) fn run_with_store(args: &[&str], store: &str) -> Output {
    command(args, Some(store))
}

fn command(args: &[&str], store: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.args(args).envs(store.map(|store| ("DORMOUSE_STORE", store)));
    command.current_dir(std::env::temp_dir()).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A database whose user needs a password, and its address with that.
async fn with_password() -> String {
    let database = Database::shared().empty_database().await;
    let admin = database.admin().await;
    let role = format!("role_{}", database.name());
    // Its members need their passwords.
    let group = "DO $$ BEGIN CREATE ROLE with_password; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    let make = format!(
        "{group}; CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT with_password TO {role}; \
         GRANT CREATE ON DATABASE {} TO {role}",
        database.name()
    );
    admin.batch_execute(&make).await.unwrap();
    let (_, place) = database.url.split_once('@').unwrap();
    format!("postgres://{role}:{PASSWORD}@{place}")
}

#[tokio::test]
async fn check_says_what_the_database_promises() {
    let database = Database::shared().empty_database().await;
    let output = command(&["check"], Some(&database.url));
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(": PostgreSQL "), "{said}");
    assert!(said.contains("  warning: the database has no standby"), "{said}");
    let schemas = database.admin().await.query("SELECT FROM pg_namespace WHERE nspname = 'dormouse'", &[]).await;
    assert!(schemas.unwrap().is_empty(), "check changes nothing");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    std::fs::write(&file, "[store]\nrequire_synchronous = true\n").unwrap();
    let output = command(&["check", "--config", file.to_str().unwrap()], Some(&database.url));
    assert!(
        !output.status.success() && text(&output).contains("`require_synchronous` is set, but"),
        "{}",
        text(&output)
    );
}

#[tokio::test]
async fn the_password_of_the_database_is_nowhere() {
    let url = with_password().await;
    let mut said = String::new();
    for args in [&["check"][..], &["check", "--store", &url], &["serve", "--help"], &["check", "--store", "mysql:x"]] {
        said += &text(&command(args, Some(&url)));
    }
    // Wrong in each part.
    for wrong in [
        url.replace("postgres:", "mysql:"),
        format!("{url}?x=y"),
        url.replace('@', "wrong@"),
        url.replace("127.0.0.1", "no-such-host.invalid"),
    ] {
        let output = command(&["check"], Some(&wrong));
        assert!(!output.status.success(), "{}", text(&output));
        said += &text(&output);
    }
    let directory = Arc::new(TempDir::new().unwrap());
    let file = directory.path().join("dormouse.toml");
    for config in [
        format!("[store]\nurl = \"{url}\" x"),
        format!("[store]\nulr = \"{url}\""),
        format!("[store]\nurl = \"{}\"", url.replace("postgres:", "mysql:")),
    ] {
        std::fs::write(&file, config).unwrap();
        let output = command(&["check", "--config", file.to_str().unwrap()], None);
        assert!(!output.status.success(), "{}", text(&output));
        said += &text(&output);
    }
    use_store(directory.path(), &url);
    let server = Server::with_trace_log(directory, "").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send_chat("hello").await;
    ana.recv_content().await;
    for path in ["/overview", "/metrics", "/rooms", "/rooms/ROOMS/lobby", "/deploys", "/backup"] {
        let answer = harness::request(server.admin_address(), Method::GET, path, &[], "").await;
        said += &String::from_utf8_lossy(&answer.body);
    }
    said += &server.log();
    let log = said.lines().filter(|line| line.contains(PASSWORD)).collect::<Vec<_>>();
    assert_eq!(log, Vec::<&str>::new());
    assert!(server.log().contains("rooms in postgres://role_"), "{}", server.log());
}

#[tokio::test]
async fn a_data_directory_with_rooms_is_refused_with_advice() {
    let directory = Arc::new(TempDir::new().unwrap());
    // An embedded store.
    let data = directory.path().join("data");
    drop(dormouse::store::Store::open(&data, Default::default()).unwrap());
    let refused = Server::try_in_directory(directory.clone(), "").await.err().expect("it is refused");
    assert!(refused.contains("carry them over with `dormouse move`"), "{refused}");
    assert!(data.join("store").exists());
}
