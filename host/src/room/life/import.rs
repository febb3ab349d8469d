//! Fills a room without data from an exported room, between two events. The room is then opened again, as after a start:
//! its timers and posts are those of the import.

use tokio::sync::oneshot;

use super::{Broken, RoomTask};
use crate::store::transfer::{CheckedImport, ImportError, Imported};

impl RoomTask {
    /// Refuses a room that has data, or that somebody uses. Events that come meanwhile wait.
    pub(super) async fn import(
        &mut self,
        import: CheckedImport,
        answer: oneshot::Sender<Result<Imported, ImportError>>,
    ) -> Result<(), Broken> {
        let is_settled = self.batch.is_empty() && self.mailbox.output_gate.is_empty();
        let opened = self.opened();
        let is_unused = opened.resources().sockets.is_empty() && opened.waiting_closes.is_empty();
        if !is_settled || !is_unused || !opened.log.is_new() {
            // The operator may have gone.
            let _ = answer.send(Err(ImportError::Exists));
            return Ok(());
        }
        // Its memory is that of an empty room.
        self.instance = None;
        self.mailbox.not_idle();
        self.data_is_checked = false;
        let opened = self.state().opened.take().expect("opened before its first event");
        let mut log = opened.log;
        // The log is dropped there, so that the room can be opened again.
        let stored = tokio::task::spawn_blocking(move || log.import(import)).await;
        self.open().await?;
        let failed = |_| Err(ImportError::Failed("the host's own code panicked; please report this".into()));
        let _ = answer.send(stored.unwrap_or_else(failed));
        Ok(())
    }
}
