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
async fn the_next_version_of_the_schema_is_served_as_it_is() {
    let database = Server::shared().new_database().await;
    let admin = database.admin().await;
    let raised = "UPDATE dormouse.meta SET version = version + 1 RETURNING version";
    let newer = admin.query_one(raised, &[]).await.unwrap().get::<_, i32>(0);
    let schema = prepare(&mut database.setup().await).await.unwrap();
    assert_eq!((schema.version as i32, schema.is_new), (newer, false));
    let version = admin.query_one("SELECT version FROM dormouse.meta", &[]).await.unwrap();
    assert_eq!(version.get::<_, i32>(0), newer);
    admin.query_one(raised, &[]).await.unwrap();
    let refused = prepare(&mut database.setup().await).await.unwrap_err();
    assert!(refused.to_string().contains(&format!("this program serves versions up to {newer}")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_refused_while_a_node_lives_that_cannot_serve_it() {
    let database = Server::shared().new_database().await;
    let admin = database.admin().await;
    let ours = admin.query_one("SELECT version FROM dormouse.meta", &[]).await.unwrap().get::<_, i32>(0);
    // A database of the version before, with a node that knows the version before that.
    let older = format!(
        "UPDATE dormouse.meta SET version = {}; INSERT INTO dormouse.nodes (id, address, beat, leaving, schema) \
         VALUES (9, 'old:1', 1, false, {})",
        ours - 1,
        ours - 2
    );
    admin.batch_execute(&older).await.unwrap();
    let beats = database.admin().await;
    let beating = tokio::spawn(async move {
        loop {
            beats.batch_execute("UPDATE dormouse.nodes SET beat = beat + 1").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let refused = prepare(&mut database.setup().await).await.unwrap_err();
    let expected = format!("the node at old:1 serves versions of the schema `dormouse` up to {}", ours - 1);
    assert!(refused.to_string().contains(&expected), "{refused}");
    let version = admin.query_one("SELECT version FROM dormouse.meta", &[]).await.unwrap();
    assert_eq!(version.get::<_, i32>(0), ours - 1, "nothing was changed");
    beating.abort();
    let _ = beating.await;
    // The row of a node that has ended is no reason.
    assert_eq!(prepare(&mut database.setup().await).await.unwrap().version as i32, ours);
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
