//! The one owner of a room's log in this process. A second owner is refused while the first one, or one of its commits,
//! exists. A truth with several processes also gives the owner a tenure, which is what the others see of it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cluster::ownership::Tenure;
use crate::lock::Lock;
use crate::model::{Address, StorageFailed, TenureId};

/// The addresses of rooms with an owner, or with commits on their way.
pub(super) type Owned = Arc<Lock<HashSet<Address>>>;

/// The right to open a room in this process. It ends when it is dropped.
pub(super) struct OwnedAddress {
    address: Address,
    owned: Owned,
}

impl OwnedAddress {
    pub(super) fn of(address: &Address, owned: &Owned) -> Result<Self, StorageFailed> {
        if !owned.lock().insert(address.clone()) {
            return Err(StorageFailed(format!("{address} has an owner already")));
        }
        Ok(OwnedAddress { address: address.clone(), owned: owned.clone() })
    }
}

impl Drop for OwnedAddress {
    fn drop(&mut self) {
        self.owned.lock().remove(&self.address);
    }
}

/// The ownership of a room. It ends when its log and all its commits are dropped: only then is the number of the last
/// commit on disk.
pub(super) struct Owner {
    address: OwnedAddress,
    /// The id of the room.
    #[cfg_attr(not(test), expect(dead_code, reason = "the embedded truth finds rooms by their records"))]
    pub(super) room: u64,
    /// Absent if no other process can own rooms.
    pub(super) tenure: Option<Tenure>,
}

/// A tenure as rooms and other nodes know it.
pub(super) fn name_of(tenure: Tenure) -> TenureId {
    TenureId { epoch: tenure.0.epoch, token: tenure.0.token }
}

impl Owner {
    pub(super) fn new(address: OwnedAddress, room: u64, tenure: Option<Tenure>) -> Self {
        Owner { address, room, tenure }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address.address
    }
}
