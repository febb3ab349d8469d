//! The one owner of a room's log. A second owner is refused while the first one, or one of its commits, exists.

use std::collections::HashSet;
use std::sync::Arc;

use crate::lock::Lock;
use crate::model::{Address, StorageFailed};

/// The ownership of a room. It ends when its log and all its commits are dropped: only then is the number of the last
/// commit on disk.
pub(super) struct Owner {
    pub(super) address: Address,
    owned: Arc<Lock<HashSet<Address>>>,
}

impl Owner {
    pub(super) fn of(address: &Address, owned: &Arc<Lock<HashSet<Address>>>) -> Result<Self, StorageFailed> {
        if !owned.lock().insert(address.clone()) {
            return Err(StorageFailed(format!("{address} has an owner already")));
        }
        Ok(Owner { address: address.clone(), owned: owned.clone() })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.owned.lock().remove(&self.address);
    }
}
