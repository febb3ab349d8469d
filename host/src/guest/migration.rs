//! The optional export `migration` of a room: finds it in a component, and calls it. It does not know where the version
//! of a room's data is kept; `instance` calls it in a turn.

use std::sync::{Arc, OnceLock};

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, Store};

use super::bindings::migration::{MigrationComponent, MigrationComponentIndices};
use super::failure::TurnFailure;
use super::state::StoreData;
use crate::model::Answer;

/// The name of the interface, without its version.
const INTERFACE: &str = "dormouse:room/migration@";

/// The export of a component.
#[derive(Clone)]
pub(super) struct Migration {
    indices: MigrationComponentIndices,
    /// The version of its data, since it was first asked. The component says that it is a constant.
    data_version: Arc<OnceLock<u32>>,
}

impl Migration {
    /// The export of a component; absent if it has none.
    pub(super) fn of(engine: &Engine, pre: &InstancePre<StoreData>) -> wasmtime::Result<Option<Self>> {
        let component = pre.component();
        if !component.component_type().exports(engine).any(|(name, _)| name.starts_with(INTERFACE)) {
            return Ok(None);
        }
        let indices = MigrationComponentIndices::new(pre)?;
        Ok(Some(Migration { indices, data_version: Arc::default() }))
    }

    /// The version of its data, if it was asked before.
    pub(super) fn data_version(&self) -> Option<u32> {
        self.data_version.get().copied()
    }

    fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> wasmtime::Result<MigrationComponent> {
        self.indices.load(store, instance)
    }
}

/// Makes data of the version `from` data of the version of the component, and returns that. Without `from` there is no
/// data yet. The guest can reach no room and no server.
pub(super) async fn migrate(
    export: Option<&Migration>,
    instance: &Instance,
    store: &mut Store<StoreData>,
    from: Option<u32>,
) -> wasmtime::Result<Result<Answer, String>> {
    let Some(export) = export else { return Ok(Ok(Answer::Migrated(0))) };
    store.data_mut().deny_outbound();
    let known = &export.data_version;
    let export = export.load(store, instance)?;
    let guest = export.dormouse_room_migration();
    let version = match known.get() {
        Some(version) => *version,
        None => guest.call_data_version(&mut *store).await?,
    };
    // Two rooms may ask at the same time; both get the same answer.
    let version = *known.get_or_init(|| version);
    let migrated = match from {
        Some(from) if from != version => guest.call_migrate(&mut *store, from).await?,
        _ => Ok(()),
    };
    Ok(migrated.map(|()| Answer::Migrated(version)))
}

/// Whether a component without the export may run on data of this version.
pub(super) fn check_undeclared(stored: Option<u32>) -> Result<u32, TurnFailure> {
    match stored {
        None | Some(0) => Ok(0),
        Some(version) => Err(TurnFailure::DataVersion { version }),
    }
}
