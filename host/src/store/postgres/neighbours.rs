//! Programs of neighbouring releases on one database: which of them may serve it together.
//!
//! A schema only grows, and what one version adds, the program of the next one uses first. So a program serves the
//! schema that it knows and the next one, and nodes can be replaced one by one. A step of two is refused while a node
//! lives that could not take it. It knows no link; its caller passes the versions that the links of this program speak.

use std::time::Duration;

use tokio_postgres::{GenericClient, Row};

use super::connect::Connection;
use super::failure::describe;
use crate::clock;
use crate::cluster::members::BEAT_MS;
use crate::cluster::ownership::NodeId;

/// A program serves schemas that are so many versions newer than its own.
pub(super) const NEWER: usize = 1;

/// The versions of the first programs that were nodes, whose rows do not name any.
const FIRST_SCHEMA: i32 = 2;
const FIRST_LINKS: (i32, i32) = (1, 1);

/// A node that lives beats at least once in this time.
const ALIVE_WITHIN: Duration = Duration::from_millis(4 * BEAT_MS);

/// Whether there are nodes, and whether they name their versions: older schemas have no place for them.
const HAS: &str = "SELECT to_regclass('dormouse.nodes') IS NOT NULL, EXISTS (SELECT FROM pg_attribute \
    WHERE attrelid = to_regclass('dormouse.nodes') AND attname = 'links_newest')";

/// A node with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Neighbour {
    id: i64,
    beat: i64,
    address: String,
    schema: i32,
    links: (i32, i32),
}

impl Neighbour {
    fn of(row: &Row) -> Self {
        Neighbour {
            id: row.get(0),
            beat: row.get(1),
            address: row.get(2),
            schema: row.get::<_, Option<i32>>(3).unwrap_or(FIRST_SCHEMA),
            links: (
                row.get::<_, Option<i32>>(4).unwrap_or(FIRST_LINKS.0),
                row.get::<_, Option<i32>>(5).unwrap_or(FIRST_LINKS.1),
            ),
        }
    }

    /// The newest schema that its program serves.
    fn newest_schema(&self) -> usize {
        usize::try_from(self.schema).unwrap_or(0) + NEWER
    }

    /// Whether its program serves a schema of this version.
    fn serves(&self, version: usize) -> bool {
        self.newest_schema() >= version
    }

    /// Whether it and a program that speaks these versions have one in common.
    fn speaks(&self, links: (u32, u32)) -> bool {
        let number = |version: i32| u32::try_from(version).unwrap_or(0);
        number(self.links.0) <= links.1 && links.0 <= number(self.links.1)
    }
}

/// The first node that lives and is one of those in question. Rows of nodes that have ended stay for a while, so it looks
/// twice, if there are any.
async fn living<C: GenericClient>(
    client: &C,
    is_in_question: impl Fn(&Neighbour) -> bool,
) -> Result<Option<Neighbour>, tokio_postgres::Error> {
    let row = client.query_one(HAS, &[]).await?;
    let versions = match (row.get::<_, bool>(0), row.get::<_, bool>(1)) {
        (false, _) => return Ok(None),
        (true, false) => "NULL::int, NULL::int, NULL::int",
        (true, true) => "schema, links_oldest, links_newest",
    };
    let query = format!("SELECT id, beat, address, {versions} FROM dormouse.nodes ORDER BY id");
    let read = async || {
        let rows = client.query(&query, &[]).await?;
        Ok::<_, tokio_postgres::Error>(rows.iter().map(Neighbour::of).filter(|node| is_in_question(node)).collect())
    };
    let before: Vec<Neighbour> = read().await?;
    if before.is_empty() {
        return Ok(None);
    }
    clock::sleep(ALIVE_WITHIN).await;
    let after: Vec<Neighbour> = read().await?;
    let is_as_before = |node: &Neighbour| before.iter().any(|old| (old.id, old.beat) == (node.id, node.beat));
    Ok(after.into_iter().find(|node| !is_as_before(node)))
}

/// The reason why the schema of a database cannot be made version `to` now, if there is one.
pub(super) async fn refuses_migration<C: GenericClient>(
    client: &C,
    to: usize,
) -> Result<Option<String>, tokio_postgres::Error> {
    let refused = living(client, |node| !node.serves(to)).await?;
    Ok(refused.map(|node| {
        format!(
            "the node at {} serves versions of the schema `dormouse` up to {}, and this program needs version {to}; \
             replace that node by one of a release between, or stop all nodes first",
            node.address,
            node.newest_schema()
        )
    }))
}

/// Writes the versions of this node, which knows this version of the schema, into its row, and looks for one that lives and that it could not talk to.
///
/// Fails: with the reason. Then the row is removed.
pub(super) async fn join(connection: &Connection, me: NodeId, schema: usize, links: (u32, u32)) -> Result<(), String> {
    let client = connection.client();
    let id = me.0.cast_signed();
    let known = i32::try_from(schema).unwrap_or(i32::MAX);
    let number = |version: u32| i32::try_from(version).unwrap_or(i32::MAX);
    let write = "UPDATE dormouse.nodes SET schema = $2, links_oldest = $3, links_newest = $4 WHERE id = $1";
    let written = client.execute(write, &[&id, &known, &number(links.0), &number(links.1)]).await;
    written.map_err(|error| describe(&error))?;
    let found = living(client, |node| node.id != id && !node.speaks(links)).await;
    let Some(Neighbour { address, links: theirs, .. }) = found.map_err(|error| describe(&error))? else {
        return Ok(());
    };
    let removed = client.execute("DELETE FROM dormouse.nodes WHERE id = $1", &[&id]).await;
    removed.map_err(|error| describe(&error))?;
    Err(format!(
        "the node at {address} speaks the versions {} to {} of the links between nodes, and this program {} to {}; install \
         programs of neighbouring releases, or stop all nodes first",
        theirs.0, theirs.1, links.0, links.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(schema: i32, links: (i32, i32)) -> Neighbour {
        Neighbour { id: 1, beat: 1, address: String::new(), schema, links }
    }

    #[test]
    fn a_program_serves_its_own_schema_and_the_next() {
        let serves = |known, version| node(known, (1, 1)).serves(version);
        assert_eq!([2, 3, 4, 5].map(|version| serves(3, version)), [true, true, true, false]);
    }

    #[test]
    fn two_programs_need_one_version_of_links_in_common() {
        let speaks = |theirs, ours| node(2, theirs).speaks(ours);
        assert!(speaks((1, 1), (1, 2)) && speaks((2, 3), (1, 2)) && speaks((1, 5), (3, 3)));
        assert!(!speaks((1, 1), (2, 3)) && !speaks((3, 4), (1, 2)));
    }
}
