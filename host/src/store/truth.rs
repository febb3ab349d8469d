//! The truth about all rooms: who owns each of them, and what is committed. This is its interface, which the embedded
//! truth implements on a storage engine of this process.
//!
//! A truth speaks the records of `records`: a commit is a list of keys with their new values, and all rooms are read as
//! ordered keys. It knows no guest, no socket and no turn. The store has one truth, chosen when it opens.
//!
//! Two kinds of reads stay apart. One **open room** is read from the [`LocalEngine`](super::local::LocalEngine) of this
//! process, without waiting; `open` has seen to it that everything of the room is there. **All rooms**, and rooms that
//! are not open, are read through [`Truth::read`], which may wait for another machine.
//!
//! - **Invariant: a tenure has one owner.** After a room was opened here, each commit and each proof of another owner
//!   either came before the opening, or makes all later ones of this owner fail with [`CommitError::Fenced`].
//! - **Invariant: a receipt comes after its statement.** A statement is confirmed by something that happened after it
//!   was handed in, and the statements of one owner are confirmed in their order, without a gap.
//! - **Invariant: a confirmed commit can be read** from the local engine before its receipt is given.
//! - **Invariant: after `failed` nothing of that owner is confirmed any more.**

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::commit::{Commit, Proof};
use super::engine::StorageReader;
use super::error::{CommitError, NotOpened};
use super::membership::Membership;
use super::owner::Owner;
use super::postgres::Tables;
use super::records::RoomRecord;
use crate::clock::UnixMillis;
use crate::cluster::ownership::Tenure;
use crate::histogram::Counts;
use crate::model::{Address, Posts, StorageFailed, Timers};

/// An answer that may take a while.
pub(super) type Waits<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer to [`Truth::open`].
pub(super) enum Opening {
    /// It needs no wait, so it costs no allocation.
    Done(Result<Opened, NotOpened>),
    /// If this is dropped, the truth lets go of the room by itself.
    Waits(Waits<'static, Result<Opened, NotOpened>>),
}

/// A room that this process owns now. What is stored of it can be read from the local engine.
pub(super) struct Opened {
    /// Its id, which the truth gives out, and its last commit.
    pub(super) record: RoomRecord,
    /// Its name is stored, so it has data.
    pub(super) is_stored: bool,
    /// Its timers.
    pub(super) timers: Timers,
    /// Its posts that are not accepted yet.
    pub(super) posts: Posts,
    /// The tenure that has begun; absent if no other process can own rooms.
    pub(super) tenure: Option<Tenure>,
    /// The tenure before, if its node has handed the room over to this one, with its sockets, and nothing was between.
    pub(super) continues: Option<Tenure>,
}

/// An open room, told when its tenure ends without a statement of its own: another owner has it. None of these
/// functions is called while the truth holds a lock.
pub trait TenureListener: Send + Sync {
    /// Called at most once.
    fn ended(&self, error: &CommitError);

    /// Another node shall own the room: no further turn may run. The room calls
    /// [`RoomLog::paused`](super::RoomLog::paused) when its last turn was handed in and confirmed.
    fn pause(&self);

    /// The room stays here: turns run again.
    fn resume(&self);
}

/// The truth about all rooms.
pub(super) trait Truth: Send + Sync {
    /// Makes this process the owner of a room, which it does not own now, and reads what is stored of it. `listener` is
    /// told if the tenure ends later; it is absent if the truth [wants no proofs](Self::wants_proofs).
    fn open(&self, address: &Address, listener: Option<Arc<dyn TenureListener>>) -> Opening;

    /// Takes the next commit of a room, or one of the store itself. It does not wait: the listener is told when it is
    /// durable.
    ///
    /// Fails: if nothing is committed any more. Then the listener is not told.
    fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Whether outputs of turns that wrote nothing must wait for a proof, because another owner may have the room.
    fn wants_proofs(&self) -> bool {
        false
    }

    /// Takes the next proof of a room, like [`commit`](Self::commit).
    fn prove(&self, proof: Proof) -> Result<(), CommitError>;

    /// The log of a room was closed: the process will open the room again before it commits to it. Commits may still be
    /// on their way; each holds the owner. It must not block, and must not call rooms.
    fn let_go(&self, _: &Owner) {}

    /// The room runs no more turns, as its [listener](TenureListener::pause) was asked for. It must not block.
    fn paused(&self, _: &Owner) {}

    /// Passes a reader of everything that is committed to `read`, once. It blocks, perhaps on another machine.
    ///
    /// Fails: if the truth is closed. Then `read` is not called.
    fn read(&self, read: &mut dyn FnMut(&dyn StorageReader)) -> Result<(), StorageFailed>;

    /// All that is committed, as it is at this moment, for backups and exports.
    fn snapshot(&self) -> Result<Box<dyn StorageReader>, StorageFailed>;

    /// Every room with a timer or a post, and when the first is due. A room with both may appear twice. It blocks.
    fn due(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed>;

    /// The reason why nothing can be committed now, if there is one.
    fn refuses(&self) -> Option<CommitError>;

    /// Whether turns may write. It is asked before each of them, so it must be quick.
    fn has_space(&self) -> bool;

    /// Whether so many bytes fit besides. Something large asks here before each part.
    fn has_space_for(&self, bytes: u64) -> bool;

    /// Whether so many bytes are on their way that rooms should wait.
    fn is_behind(&self) -> bool;

    /// Waits until it is no longer [behind](Self::is_behind).
    fn caught_up(&self) -> Waits<'_, ()>;

    /// Waits until the threads that commit have answered, which they do between two statements.
    ///
    /// Fails: if nothing is committed any more.
    fn answers(&self) -> Waits<'_, Result<(), CommitError>>;

    /// The cluster of which this process is a node; absent if it shares its rooms with none.
    fn membership(&self) -> Option<Membership> {
        None
    }

    /// The tables that it shares with other servers; absent if it has none.
    fn tables(&self) -> Option<Tables> {
        None
    }

    /// Registers its metrics.
    fn register(&self, registry: &mut Registry);

    /// How long commits of rooms took until now.
    fn commit_times(&self) -> Counts;

    /// Commits what waits, and ends. Later commits fail.
    fn close(&self);
}
