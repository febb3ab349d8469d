//! The plans of the statements on the hot path: they look rows up, and hash the set of rooms that a round changes.

use dormouse::store::postgres::{Purpose, sql};

use crate::harness::Server;

/// The generic plan of a statement, in a session that has the options of a lane.
async fn plan(admin: &tokio_postgres::Client, statement: &str) -> String {
    let parameters = (1..).take_while(|number| statement.contains(&format!("${number}"))).count();
    let values = vec!["NULL"; parameters].join(", ");
    admin.batch_execute(&format!("PREPARE plan AS {statement}")).await.unwrap();
    let lines = admin.simple_query(&format!("EXPLAIN (COSTS off) EXECUTE plan({values})")).await.unwrap();
    admin.batch_execute("DEALLOCATE plan").await.unwrap();
    let lines = lines.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_look_rows_up_whether_their_tables_are_empty_or_full() {
    let database = Server::shared().new_database().await;
    let admin = database.admin().await;
    for (name, value) in Purpose::Lane.options() {
        admin.batch_execute(&format!("SET {name} = '{value}'")).await.unwrap();
    }
    let tables = "dormouse.rooms, dormouse.entries, dormouse.timers, dormouse.posts, dormouse.taken, dormouse.records, \
                  dormouse.deleted";
    for is_full in [false, true] {
        if is_full {
            let fill = "INSERT INTO dormouse.rooms (namespace, name) SELECT 'R', i::text FROM generate_series(1, 5000) i; \
                        INSERT INTO dormouse.entries SELECT i, 'k', 'v' FROM generate_series(1, 50000) i";
            admin.batch_execute(fill).await.unwrap();
        }
        admin.batch_execute(&format!("ANALYZE {tables}")).await.unwrap();
        let (all, write) = (sql::round_all(), sql::write());
        let others = [sql::CLAIM, sql::INSERT, sql::READ, sql::RESOLVE, sql::LET_GO, &write];
        for statement in [sql::ROUND_ENTRIES, &all].into_iter().chain(others) {
            let plan = plan(&admin, statement).await;
            for slow in ["Seq Scan", "Index Scan using", "Index Only Scan", "Hash Join", "Merge Join", "Memoize"] {
                assert!(!plan.contains(slow), "{slow} in\n{plan}");
            }
            // Each scan of a table has a condition on the columns of its index.
            let scans = plan.matches("Bitmap Index Scan").count();
            assert_eq!(scans, plan.matches("Index Cond").count(), "\n{plan}");
        }
        for (statement, sets) in [(sql::ROUND_ENTRIES, 2), (&all, 10)] {
            let plan = plan(&admin, statement).await;
            assert_eq!(plan.matches("hashed SubPlan").count(), sets, "\n{plan}");
            // Rooms are locked in the order in which they are sent.
            let update = plan.split("Update on rooms").nth(1).unwrap();
            let lines = update.lines().map(str::trim).skip(1).take(3).collect::<Vec<_>>();
            assert!(lines[0].contains("Nested Loop") && lines[1].contains("Function Scan"), "\n{plan}");
            assert!(lines[2].contains("Bitmap Heap Scan on rooms"), "\n{plan}");
        }
        // Without `IS TRUE` the planner makes a join of it.
        let joined = plan(&admin, &sql::ROUND_ENTRIES.replace("IS TRUE", "")).await;
        assert!(!joined.contains("hashed SubPlan"), "\n{joined}");
    }
}
