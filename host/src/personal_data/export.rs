//! Exports what all rooms keep about a user, as lines. The reader decides how fast: a line waits until it is read, and a
//! reader that goes away ends the export.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::record::{FailedRoom, Undeclared};
use super::walk::{Walk, namespaces};
use super::{PersonalData, PersonalDataError, check};
use crate::clock;
use crate::limits::{EXPORT_LINES, PARTS_OF_A_ROOM, USER_DATA_PAUSE, USER_DATA_ROOMS_AT_ONCE};
use crate::model::{Address, DataOf};

/// A line of an export.
#[derive(Debug)]
pub enum ExportLine {
    /// The rooms of a namespace are not asked.
    Undeclared(Undeclared),
    /// Something that a room keeps about the user, as JSON of one line.
    Item {
        /// Its room.
        room: Address,
        /// The JSON.
        item: String,
    },
    /// A room could not say what it keeps.
    Failed(FailedRoom),
    /// So many rooms were asked up to now.
    Progress {
        /// The number.
        rooms: u64,
    },
    /// All rooms were asked. It is the last line; without it the export broke off.
    End {
        /// How many rooms there were.
        rooms: u64,
    },
}

/// An export under way.
pub struct Exporting(mpsc::Receiver<ExportLine>);

impl Exporting {
    /// Waits for the next line; absent at the end.
    pub fn blocking_next(&mut self) -> Option<ExportLine> {
        self.0.blocking_recv()
    }
}

/// The reader has gone, or the host ends.
struct Gone;

impl PersonalData {
    /// Begins to export a user from all rooms.
    pub async fn export(&self, user: &str) -> Result<Exporting, PersonalDataError> {
        check(user)?;
        let rooms = self.0.rooms.clone();
        let found = tokio::task::spawn_blocking(move || namespaces(&rooms)).await;
        let (declared, undeclared) = found.expect("reading reports its errors and does not panic")?;
        let (lines, exporting) = mpsc::channel(EXPORT_LINES);
        let (this, user) = (self.clone(), Arc::from(user));
        tokio::spawn(async move {
            // A reader that has gone needs no answer.
            let _ = this.export_all(declared, undeclared, user, lines).await;
        });
        Ok(Exporting(exporting))
    }

    async fn export_all(
        &self,
        declared: Vec<String>,
        undeclared: Vec<Undeclared>,
        user: Arc<str>,
        lines: mpsc::Sender<ExportLine>,
    ) -> Result<(), Gone> {
        for undeclared in undeclared {
            say(&lines, ExportLine::Undeclared(undeclared)).await?;
        }
        let mut walk = Walk::new(self.0.rooms.clone(), declared, None);
        let mut asked = 0;
        loop {
            let (rooms, is_last) = match walk.next().await {
                Ok(Some((rooms, place))) => (rooms, place.is_none()),
                Ok(None) => return say(&lines, ExportLine::End { rooms: asked }).await,
                Err(error) => {
                    tracing::error!(%error, "an export of a user broke off");
                    return Err(Gone);
                }
            };
            if !self.may_go_on().await {
                return Err(Gone);
            }
            asked += rooms.len() as u64;
            self.ask(rooms, &user, &lines).await?;
            if !is_last {
                say(&lines, ExportLine::Progress { rooms: asked }).await?;
            }
        }
    }

    /// Asks some rooms, a few at once.
    async fn ask(&self, rooms: Vec<Address>, user: &Arc<str>, lines: &mpsc::Sender<ExportLine>) -> Result<(), Gone> {
        let mut rooms = rooms.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < USER_DATA_ROOMS_AT_ONCE
                && let Some(room) = rooms.next()
            {
                let (this, user, lines) = (self.clone(), user.clone(), lines.clone());
                asked.spawn(async move { this.export_from(room, user, &lines).await });
            }
            let Some(answered) = asked.join_next().await else { return Ok(()) };
            answered.expect("a visit does not panic and is not aborted")?;
        }
    }

    /// Exports a user from one room, part by part, and rests as long as the room took.
    async fn export_from(&self, room: Address, user: Arc<str>, lines: &mpsc::Sender<ExportLine>) -> Result<(), Gone> {
        let mut after = None;
        let mut failed = Some(format!("it has more than {PARTS_OF_A_ROOM} parts"));
        for _ in 0..PARTS_OF_A_ROOM {
            let began = clock::monotonic();
            let exported = self.0.rooms.export_user(&room, DataOf { user: user.clone(), after }).await;
            let took = clock::since(began);
            let exported = match exported {
                Ok(exported) => exported,
                Err(_) if self.has_stopped() => return Err(Gone),
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            };
            for item in exported.items {
                say(lines, ExportLine::Item { room: room.clone(), item }).await?;
            }
            clock::sleep(took.min(USER_DATA_PAUSE)).await;
            after = exported.next;
            if after.is_none() {
                failed = None;
                break;
            }
        }
        match failed {
            Some(error) => say(lines, ExportLine::Failed(FailedRoom { room: room.to_string(), error })).await,
            None => Ok(()),
        }
    }
}

async fn say(lines: &mpsc::Sender<ExportLine>, line: ExportLine) -> Result<(), Gone> {
    lines.send(line).await.map_err(|_| Gone)
}
