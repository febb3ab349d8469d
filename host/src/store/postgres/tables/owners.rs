//! The owners of rooms, as their rows name them now.

use super::{Problem, Tables, TablesError, in_time};
use crate::cluster::ownership::NodeId;
use crate::model::Address;

impl Tables {
    /// The node that the row of a room names; absent if no node has the room, and if the room has no row. The node may
    /// have ended.
    pub async fn owner(&self, address: &Address) -> Result<Option<NodeId>, TablesError> {
        let owner = match in_time(self.read_owner(address)).await {
            // The connection may have been lost long ago.
            Err(Problem::Lost(_)) => in_time(self.read_owner(address)).await,
            read => read,
        };
        owner.map_err(Problem::into_error)
    }

    async fn read_owner(&self, address: &Address) -> Result<Option<NodeId>, Problem> {
        let query = "SELECT owner FROM dormouse.rooms WHERE namespace = $1 AND name = $2";
        let held = self.take().await?;
        let read = held.connection.client().query_opt(query, &[&address.namespace(), &address.name()]).await;
        let row = held.give_back(read.map_err(Problem::from))?;
        let owner = row.and_then(|row| row.get::<_, Option<i64>>(0));
        Ok(owner.map(|owner| NodeId(owner.cast_unsigned())))
    }
}
