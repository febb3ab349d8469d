//! The storage engine of this process, from which open rooms are read. For the embedded truth it is also where
//! everything is committed. It knows no truth. The store and the embedded truth share it.

use std::sync::Arc;

use super::engine::StorageEngine;
use crate::lock::ReadWriteLock;
use crate::model::StorageFailed;

/// The engine. It is absent after the store was closed, so a clone of the store that still exists does not keep the
/// files open.
pub(super) struct LocalEngine(ReadWriteLock<Option<Arc<dyn StorageEngine>>>);

impl LocalEngine {
    pub(super) fn new(engine: Arc<dyn StorageEngine>) -> Arc<Self> {
        Arc::new(LocalEngine(ReadWriteLock::new(Some(engine))))
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&dyn StorageEngine) -> Result<T, StorageFailed>,
    ) -> Result<T, StorageFailed> {
        match &*self.0.read() {
            Some(engine) => read(&**engine),
            None => Err(StorageFailed("the store is closed".into())),
        }
    }

    /// Free bytes on its disk; absent if there is no such bound, and after it was closed.
    pub(super) fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        self.0.read().as_ref().and_then(|engine| engine.free_bytes())
    }

    /// Closes the files. Later reads fail.
    pub(super) fn close(&self) {
        let engine = self.0.write().take();
        drop(engine);
    }
}
