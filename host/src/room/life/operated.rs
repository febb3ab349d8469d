//! Carries out an operator's requests between two turns: the room shows itself, closes its sockets, sleeps, or is deleted.
//! None of this counts as an event, so that a room that is looked at falls asleep as before.

use tokio::sync::oneshot;

use super::{Broken, OpenRoom, RoomState, RoomTask};
use crate::model::Output;
use crate::room::activity::Counts;
use crate::room::details::{Parts, post_details, socket_details, timer_details};
use crate::room::operator_request::{DeleteError, Deleted, Deletion, OperatorRequest, Slept};
use crate::room::reply::Reply;

impl RoomState {
    /// The parts that only the room knows; empty before its first event.
    pub(in crate::room) fn parts(&self) -> Parts {
        self.opened.as_ref().map(OpenRoom::parts).unwrap_or_default()
    }
}

impl OpenRoom {
    fn parts(&self) -> Parts {
        let (commit, incarnation, data_version) = (self.log.number(), self.log.incarnation(), self.log.data_version());
        let mut parts = Parts { commit, incarnation, data_version, ..Parts::default() };
        parts.posts = post_details(self.posting.posts());
        parts.post_at = self.posting.posts().next().map(|(_, post)| post.at).min();
        // They are lent only while a turn runs, and this is between two turns.
        if let Some(resources) = &self.resources {
            parts.sockets = socket_details(&resources.sockets);
            parts.timers = timer_details(&resources.timers);
            parts.timer_at = resources.timers.earliest();
        }
        parts
    }
}

impl RoomTask {
    pub(super) async fn operated(&mut self, request: OperatorRequest) -> Result<(), Broken> {
        match request {
            OperatorRequest::Look(answer) => {
                // The operator may have gone, here and below.
                let _ = answer.send(self.opened().parts());
            }
            OperatorRequest::CloseSockets { code, reason, answer } => {
                let keys = self.opened().resources().sockets.iter().map(|(key, _)| key).collect::<Vec<_>>();
                let close = |socket| Output::Close { socket, code, reason: reason.clone() };
                let closes = keys.iter().map(|key| close(*key)).collect();
                self.hold(closes, Reply::Closed(keys.len(), answer));
                if self.batch.is_empty() {
                    self.release();
                }
            }
            OperatorRequest::Sleep(answer) => {
                let was_awake = self.instance.is_some();
                self.hibernate();
                self.wants_sleep = true;
                let parts = self.opened().parts();
                let address = self.state().address.clone();
                let because = self.shared.awake_because(&address, &self.mailbox, Some(&parts));
                let _ = answer.send(Slept { was_awake, asleep: true, because });
            }
            OperatorRequest::Delete { force, answer } => return self.delete(force, answer).await,
        }
        Ok(())
    }

    /// Deletes the room and ends its task. The turns before it become durable first, and their outputs leave.
    async fn delete(
        &mut self,
        force: bool,
        answer: oneshot::Sender<Result<Deleted, DeleteError>>,
    ) -> Result<(), Broken> {
        // The operator may have given up while an earlier turn ran.
        if answer.is_closed() {
            return Ok(());
        }
        let closed = self.opened().resources().sockets.len();
        if closed > 0 && !force {
            let _ = answer.send(Err(DeleteError::HasSockets(closed)));
            return Ok(());
        }
        self.submit()?;
        let mailbox = self.mailbox.clone();
        self.opened().log.delete(mailbox)?;
        let position = self.opened().log.position();
        if self.mailbox.output_gate.until_confirmed(position).await.is_err() {
            // The store has failed; the room learns it from its mailbox.
            return Ok(());
        }
        while !self.mailbox.output_gate.is_empty() {
            self.release();
            // Another thread may be releasing the last outputs.
            tokio::task::yield_now().await;
        }
        let wakes_at = self.opened().wakes_at;
        if let Some(at) = wakes_at {
            let address = self.state().address.clone();
            self.shared.timer_queue.remove(&address, at);
        }
        self.drop_instance();
        tracing::info!(closed, "the room was deleted");
        self.shared.one_deleted.notify_one();
        self.deletion = Some(Deletion { answer, closed });
        Err(Broken::Deleted)
    }

    /// Tells the numbers of the room to those who look at it from outside.
    pub(super) fn publish(&mut self) {
        let opened = self.opened();
        let (posts, storage_bytes) = (opened.posting.waiting(), opened.log.bytes());
        let resources = opened.resources();
        let (sockets, timers) = (resources.sockets.len(), resources.timers.len());
        let timer_at = resources.timers.earliest();
        self.mailbox.activity.set_counts(&Counts { sockets, timers, timer_at, posts, storage_bytes });
    }
}
