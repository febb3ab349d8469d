//! Runs the turns that export or erase the data of a user. They are events of the room like others, but they do not keep
//! it awake: a job asks a million rooms, and the rooms that clients use need the instances.

use tokio::sync::oneshot;

use super::turn::Cause;
use super::{Broken, RoomTask};
use crate::model::{Answer, Event};
use crate::room::error::UserDataError;

impl RoomTask {
    pub(super) async fn user_data(
        &mut self,
        event: Event,
        answer: oneshot::Sender<Result<Answer, UserDataError>>,
    ) -> Result<(), Broken> {
        // The job may have been cancelled while earlier turns ran.
        if answer.is_closed() {
            return Ok(());
        }
        let was_awake = self.instance.is_some();
        self.follow_clock();
        self.let_disk_catch_up().await?;
        self.turn(event, Cause::UserData { answer }).await?;
        if !was_awake && !self.mailbox.has_events() {
            self.hibernate();
            self.wants_sleep = true;
        }
        Ok(())
    }
}
