//! Exports one room from a snapshot. The state is that of a commit, which has whole turns, so it is one between two
//! turns. It holds no lock, and one portion of entries at a time in memory.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::VERSION;
use super::line::{Data, Header, Line};
use crate::clock;
use crate::model::{Address, StorageFailed};
use crate::store::error::{DiskError, unreadable};
use crate::store::records::{self, Part, PostHead, RoomRecord};
use crate::store::snapshot::Snapshot;

/// A portion is sent when it has this many bytes.
const PORTION_BYTES: usize = 256 << 10;

/// The code of a room, as its export names it.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The component of its namespace.
    pub component: Option<String>,
    /// The version of the contract that the component was built for.
    pub contract: Option<String>,
}

/// A room that can be exported.
pub struct Export {
    snapshot: Snapshot,
    address: Address,
    record: RoomRecord,
    about: About,
}

/// Why an export ended early.
enum Ended {
    /// The receiver has gone.
    Stopped,
    Failed(DiskError),
}

impl From<DiskError> for Ended {
    fn from(error: DiskError) -> Self {
        Ended::Failed(error)
    }
}

impl Export {
    /// The room in this snapshot; absent if it has no stored data.
    pub fn of(snapshot: Snapshot, address: &Address, about: About) -> Result<Option<Self>, StorageFailed> {
        let record = records::room(snapshot.reader(), address);
        let record = record.map_err(|error| unreadable("the record", address, &error))?;
        Ok(record.map(|record| Export { snapshot, address: address.clone(), record, about }))
    }

    /// Passes the lines to `send`, in portions, until that returns false. It blocks, and `send` may block too. Without
    /// the last line the export is incomplete.
    pub fn write(&self, send: &mut dyn FnMut(Bytes) -> bool) -> Result<(), StorageFailed> {
        let mut lines = Lines { send, portion: Vec::new(), hash: Sha256::new(), lines: 0 };
        match self.write_lines(&mut lines) {
            Ok(()) | Err(Ended::Stopped) => Ok(()),
            Err(Ended::Failed(error)) => Err(unreadable("the data", &self.address, &error)),
        }
    }

    fn write_lines(&self, lines: &mut Lines<'_>) -> Result<(), Ended> {
        lines.add(&Line::Room(self.header()?))?;
        self.each(Part::Entries, &mut |key, value| {
            lines.add(&Line::Entry { key: Data(records::behind_id(&key)), value: Data(value) })
        })?;
        self.each(Part::Timers, &mut |key, value| {
            let (_, timer) = records::read_timer(&key, value)?;
            let payload = Data(timer.payload);
            lines.add(&Line::Timer { name: timer.name, at: timer.at, attempt: timer.attempt, payload })
        })?;
        self.each(Part::Posts, &mut |key, value| {
            let (number, post) = records::read_post(&key, value).ok_or_else(|| records::damaged(&key))?;
            let (at, attempt) = (post.at, post.attempt);
            // The key follows from the secret of this store, and another store has another one.
            let key = post.key.or_else(|| Some(records::post_key(self.snapshot.secret(), &self.address, number)));
            let (request, body) = PostHead::of(post.destination, post.request, key);
            lines.add(&Line::Post { number: number.0.to_string(), at, attempt, request, body: Data(body.into()) })
        })?;
        self.each(Part::Accepted, &mut |key, value| {
            let (sender, number) = records::read_accepted(&key, &value)?;
            let (namespace, name) = (sender.namespace().to_owned(), sender.name().to_owned());
            lines.add(&Line::Accepted { namespace, name, number: number.0.to_string() })
        })?;
        lines.end()
    }

    /// Counts everything first, so that a reader knows what comes.
    fn header(&self) -> Result<Header, Ended> {
        let mut bytes = 0;
        let mut count = |part| {
            let mut count = 0;
            self.each(part, &mut |key, value| {
                count += 1;
                if part == Part::Entries {
                    bytes += (records::behind_id(&key).len() + value.len()) as u64;
                }
                Ok(())
            })?;
            Ok::<u64, Ended>(count)
        };
        let [entries, timers, posts, accepted] =
            [count(Part::Entries)?, count(Part::Timers)?, count(Part::Posts)?, count(Part::Accepted)?];
        Ok(Header {
            version: VERSION,
            namespace: self.address.namespace().into(),
            name: self.address.name().into(),
            component: self.about.component.clone(),
            contract: self.about.contract.clone(),
            dormouse: env!("CARGO_PKG_VERSION").into(),
            exported: clock::unix_millis(),
            commit: self.record.number,
            entries,
            timers,
            posts,
            accepted,
            bytes,
            data_version: self.record.data_version,
        })
    }

    fn each(&self, part: Part, visit: &mut dyn FnMut(Bytes, Bytes) -> Result<(), Ended>) -> Result<(), Ended> {
        self.snapshot.pages(records::part(part, self.record.id), &mut |page| {
            page.into_iter().try_for_each(|(key, value)| visit(key, value))
        })
    }
}

struct Lines<'a> {
    send: &'a mut dyn FnMut(Bytes) -> bool,
    portion: Vec<u8>,
    hash: Sha256,
    lines: u64,
}

impl Lines<'_> {
    fn add(&mut self, line: &Line) -> Result<(), Ended> {
        let bytes = line.to_bytes();
        self.hash.update(&bytes);
        self.lines += 1;
        self.portion.extend(bytes);
        if self.portion.len() >= PORTION_BYTES { self.flush() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Ended> {
        let sha256 = hex(&self.hash.clone().finalize());
        let end = Line::End { lines: self.lines, sha256 };
        self.portion.extend(end.to_bytes());
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Ended> {
        let portion = std::mem::take(&mut self.portion);
        if (self.send)(portion.into()) { Ok(()) } else { Err(Ended::Stopped) }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
