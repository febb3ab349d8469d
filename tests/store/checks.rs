//! The settings of a real database, in sentences.

use dormouse::store::postgres::{Promises, Purpose, Refused, connect, promises};

use crate::harness::{Server, target, until};

async fn asked(server: &Server) -> Promises {
    promises(&server.database("postgres").setup().await).await.unwrap()
}

fn warnings(promises: &Promises) -> Vec<String> {
    let sentences = promises.sentences().into_iter().filter(|sentence| sentence.is_warning);
    sentences.map(|sentence| sentence.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_is_a_promise_and_its_absence_is_refused_if_one_is_required() {
    let primary = Server::start(&[]);
    let alone = asked(&primary).await;
    assert!(alone.version >= 140_000 && alone.encoding == "UTF8" && alone.fsync && alone.full_page_writes);
    assert!(warnings(&alone)[0].contains("no standby"), "{alone:?}");
    assert_eq!(alone.check(false), Ok(()));
    let refused = alone.check(true).unwrap_err();
    assert!(matches!(&refused, Refused::NotSynchronous(_)) && refused.to_string().contains("require_synchronous"));

    let _standby = primary.standby().await;
    let asynchronous = asked(&primary).await;
    assert!(warnings(&asynchronous)[0].contains("a failover to a standby loses"), "{asynchronous:?}");
    let admin = primary.admin("postgres").await;
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("the standby is synchronous", async || asked(&primary).await.synchronous == Some(1)).await;
    let synchronous = asked(&primary).await;
    assert_eq!((warnings(&synchronous), synchronous.check(true)), (vec![], Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_lose_commits_are_told() {
    let weak = Server::start(&["fsync=off", "full_page_writes=off", "synchronous_commit=off"]);
    let promises = asked(&weak).await;
    let told = warnings(&promises).join("; ");
    for setting in ["`fsync` is off", "`full_page_writes` is off", "`synchronous_commit` is off", "no standby"] {
        assert!(told.contains(setting), "{told}");
    }
    assert!(promises.check(true).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_utf_8_is_refused() {
    let server = Server::shared();
    let name = format!("d{}", rand::random::<u32>());
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0");
    server.admin("postgres").await.batch_execute(&create).await.unwrap();
    let promises = promises(&server.database(&name).setup().await).await.unwrap();
    assert_eq!(promises.check(false), Err(Refused::Encoding("LATIN1".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_see_standbys_is_told_so() {
    let primary = Server::start(&["synchronous_standby_names=standby"]);
    let _standby = primary.standby().await;
    primary.admin("postgres").await.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    let url = format!("postgres://plain@127.0.0.1:{}/postgres", primary.port());
    let connection = connect(&target(&url), Purpose::Setup).await.unwrap();
    let promises = promises(&connection).await.unwrap();
    assert_eq!(promises.synchronous, None);
    assert!(promises.sentences()[0].text.contains("pg_monitor"), "{:?}", promises.sentences());
}
