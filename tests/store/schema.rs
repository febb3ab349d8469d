//! The schema is made once, and only changed by programs that know it.

use dormouse::store::postgres::{SchemaError, new_node, new_room, prepare};

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_make_one_schema() {
    let database = Server::shared().empty_database().await;
    let mut starts = Vec::new();
    for _ in 0..8 {
        let mut connection = database.setup().await;
        starts.push(tokio::spawn(async move {
            let schema = prepare(&mut connection).await.unwrap();
            (schema, new_node(&connection).await.unwrap())
        }));
    }
    let (mut schemas, mut nodes) = (Vec::new(), Vec::new());
    for start in starts {
        let (schema, node) = start.await.unwrap();
        schemas.push(schema);
        nodes.push(node.0);
    }
    assert_eq!(schemas.iter().filter(|schema| schema.is_new).count(), 1);
    assert!(schemas.iter().all(|schema| schema.store == schemas[0].store && schema.version == schemas[0].version));
    nodes.sort_unstable();
    assert_eq!(nodes, (1..=8).collect::<Vec<_>>());
    let records = database.admin().await.query("SELECT key FROM dormouse.records ORDER BY key", &[]).await.unwrap();
    let records = records.iter().map(|row| row.get::<_, Vec<u8>>(0)).collect::<Vec<_>>();
    assert_eq!(records, [b"\0incarnation".to_vec(), b"\0secret".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_by_name_and_not_changed() {
    let database = Server::shared().new_database().await;
    let admin = database.admin().await;
    admin.batch_execute("UPDATE dormouse.meta SET version = 99").await.unwrap();
    let refused = prepare(&mut database.setup().await).await.unwrap_err();
    assert!(matches!(refused, SchemaError::Newer { found: 99, .. }), "{refused}");
    assert!(refused.to_string().contains("install the newer Dormouse"), "{refused}");
    let version = admin.query_one("SELECT version FROM dormouse.meta", &[]).await.unwrap();
    assert_eq!(version.get::<_, i32>(0), 99);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_something_else_is_refused() {
    let database = Server::shared().empty_database().await;
    let admin = database.admin().await;
    admin.batch_execute("CREATE SCHEMA dormouse; CREATE TABLE dormouse.mice (name text)").await.unwrap();
    let refused = prepare(&mut database.setup().await).await.unwrap_err();
    assert!(matches!(refused, SchemaError::Foreign), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_make_the_schema_for_a_user_without_rights() {
    let database = Server::shared().empty_database().await;
    let admin = database.admin().await;
    let user = format!("u{}", rand::random::<u32>());
    let grant = format!("CREATE USER {user}; CREATE SCHEMA dormouse AUTHORIZATION {user}");
    admin.batch_execute(&grant).await.unwrap();
    let target = crate::harness::target(&database.url.replace("postgres@", &format!("{user}@")));
    let mut connection =
        dormouse::store::postgres::connect(&target, dormouse::store::postgres::Purpose::Setup).await.unwrap();
    assert!(prepare(&mut connection).await.unwrap().is_new);
    assert!(!prepare(&mut connection).await.unwrap().is_new);
    assert_eq!(new_room(&connection).await.unwrap().0, 1);
}
