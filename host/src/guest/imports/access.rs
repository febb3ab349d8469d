//! `access`: the claims and permissions of the user of this turn; and `grants`, which only routers import.

use crate::guest::bindings::room::dormouse::room::access::{self, PermissionSet};
use crate::guest::bindings::router::dormouse::room::grants;
use crate::guest::convert;
use crate::guest::state::{StoreData, TurnUser};
use crate::model::{Address, Permissions};

impl access::Host for StoreData {
    fn claims_json(&mut self) -> wasmtime::Result<String> {
        Ok(match &self.turn_user {
            TurnUser::Nobody => "{}",
            TurnUser::OfSocket(key) => self.socket(*key)?.access.claims_json(),
            TurnUser::OfRequest(access) | TurnUser::OfRouted(access, _) => access.claims_json(),
        }
        .to_owned())
    }

    fn permissions(&mut self) -> wasmtime::Result<PermissionSet> {
        Ok(convert::permissions(match &self.turn_user {
            TurnUser::Nobody | TurnUser::OfRouted(..) => Permissions::NONE,
            TurnUser::OfSocket(key) => self.socket(*key)?.access.permissions(),
            TurnUser::OfRequest(access) => access.permissions(),
        }))
    }
}

impl grants::Host for StoreData {
    fn permissions_in(&mut self, namespace: String, name: String) -> wasmtime::Result<PermissionSet> {
        Ok(convert::permissions(match (&self.turn_user, Address::new(&namespace, &name)) {
            (TurnUser::OfRouted(_, Some(grants)), Ok(room)) => grants.permissions_in(&room),
            _ => Permissions::NONE,
        }))
    }
}
