//! Bytes that change on the disk: found, named and refused, or of no consequence. Never silently wrong.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dormouse::model::{Address, Range, Storage};
use dormouse::store::{OpenError, Store, StoreOptions};
use futures_util::FutureExt;
use hyper::Method;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Server, within};
use crate::seeds::{random_choices, rounds, seed};

/// The bytes with which fjall ends each batch.
const TRAILER: &[u8] = b"FJL\x03";

/// All that a store holds, room by room.
type StoreContent = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// A data directory with tables, and a journal that two servers wrote to before they were killed.
async fn prepare_data() -> Arc<TempDir> {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    for part in ["first", "second", "third"] {
        let mut server = Server::in_directory(directory.clone(), "").await;
        // The first part fills several blocks of a table, so that some of them are not read at the start.
        for number in 0..if part == "first" { 30 } else { 12 } {
            for room in ["lobby", "garden"] {
                let body = json!({ "content": format!("{part} {number} {}", "x".repeat(number * 20)) }).to_string();
                let answer = server.api(Method::POST, &format!("/rooms/{room}/messages"), "ana", &body).await;
                assert_eq!(answer.json()["success"], true);
            }
        }
        server.kill();
        if part == "first" {
            flush_journal(&directory.path().join("data/store"));
        }
    }
    directory
}

/// Have the engine move what is in its journal into a table, as it does when there is enough.
fn flush_journal(store: &Path) {
    let options = || fjall::KeyspaceCreateOptions::default().manual_journal_persist(true);
    let database =
        fjall::Database::builder(store).manual_journal_persist(true).open().expect("it is not open elsewhere");
    let rooms = database.keyspace("rooms", options).expect("it is there");
    rooms.rotate_memtable_and_wait().expect("the disk works");
}

fn read_store(store: &Store) -> Result<StoreContent, String> {
    let mut everything = StoreContent::new();
    let all = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
    for name in store.names("ROOMS", None, 100).map_err(|error| error.to_string())? {
        let address = Address::new("ROOMS", &name).expect("it was one");
        let opened = store.open_room(&address, None).now_or_never().expect("an embedded store opens rooms at once");
        let room = opened.map_err(|error| error.to_string())?;
        // The number of its last commit shows commits that left nothing else.
        everything.insert((name.clone(), b"commits".into()), room.log.number().to_be_bytes().into());
        let reader = room.log.reader();
        let mut visit = |key: &_, value: &_| {
            let (key, value): (&bytes::Bytes, &bytes::Bytes) = (key, value);
            everything.insert((name.clone(), key.to_vec()), value.to_vec());
            true
        };
        reader.scan(&all, &mut visit).map_err(|error| error.to_string())?;
    }
    Ok(everything)
}

/// Every file below a directory, and what is in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

/// A copy of a data directory, with other bytes in one file.
fn copy_with_change(from: &BTreeMap<PathBuf, Vec<u8>>, root: &Path, changed: &Path, bytes: &[u8]) -> TempDir {
    let copy = TempDir::new().expect("a temporary directory");
    for (path, original) in from {
        let target = copy.path().join(path.strip_prefix(root).expect("it is below"));
        fs::create_dir_all(target.parent().expect("it has one")).expect("a directory");
        fs::write(target, if path == changed { bytes } else { original }).expect("a file");
    }
    copy
}

/// The result of opening a store with one changed byte.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It does not open, says why, and everything is as it was.
    Refused,
    /// It opens, and what cannot be read is not read.
    RefusedInPart,
    /// All is there.
    Intact,
}

fn open_changed(root: &Path, changed: &Path, truth: &StoreContent) -> Outcome {
    let before = files(root);
    let name = changed.to_str().expect("it is text");
    match Store::open(root, StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() }) {
        Err(error @ (OpenError::Damaged { .. } | OpenError::Behind { .. })) => {
            let text = error.to_string();
            assert!(text.contains(name) || (name == "store/version" && text.contains("Version")), "{name}: {text}");
            assert!(files(root) == before, "{name} is refused, and something was changed");
            Outcome::Refused
        }
        Err(error) => panic!("{name}: {error}: {:?}", std::error::Error::source(&error)),
        Ok(store) => {
            let read = read_store(&store);
            store.close();
            match read {
                Ok(found) => {
                    assert!(found == *truth, "{name} has a changed byte, and something else is read without a word");
                    Outcome::Intact
                }
                Err(text) => {
                    assert!(text.contains("ROOMS") && text.contains("backup"), "{name}: {text}");
                    Outcome::RefusedInPart
                }
            }
        }
    }
}

/// Where a journal's batches have their sequence numbers, which no checksum of the engine's covers.
fn sequence_numbers(journal: &[u8]) -> Vec<usize> {
    let ends = journal.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
    let ends = ends.map(|(at, _)| at + TRAILER.len());
    ends.filter(|end| journal.get(*end) == Some(&1)).map(|end| end + 5).collect()
}

#[tokio::test]
async fn a_changed_byte_is_refused_by_file_name_or_changes_nothing() {
    let (seed, rounds) = (seed(), rounds(12));
    let mut rng = random_choices(seed, 0);
    let directory = prepare_data().await;
    let root = directory.path().join("data");
    let mut original = files(&root);
    // Compiled code guards itself (`code_cache.rs`), and there is nothing in the lock.
    original.retain(|path, bytes| {
        !path.starts_with(root.join("compiled")) && (!bytes.is_empty() || path.ends_with("lock"))
    });
    let whole = copy_with_change(&original, &root, Path::new(""), &[]);
    let store = Store::open(whole.path(), StoreOptions::default()).unwrap();
    let truth = read_store(&store).unwrap();
    store.close();
    assert!(truth.len() > 72, "{}", truth.len());

    let mut outcomes = BTreeMap::<(String, Outcome), u64>::new();
    for (path, bytes) in original.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let mut places = (0..rounds).map(|_| rng.random_range(0..used)).collect::<Vec<_>>();
        if path.extension() == Some("jnl".as_ref()) {
            let numbers = sequence_numbers(bytes);
            assert!(numbers.len() > 24, "each message is a batch of its own");
            places.extend((0..rounds).map(|_| numbers[rng.random_range(0..numbers.len())] + rng.random_range(0..8)));
        }
        for at in places {
            let mut changed = bytes.clone();
            changed[at] ^= random_change(&mut rng);
            let copy = copy_with_change(&original, &root, path, &changed);
            let name = path.strip_prefix(&root).expect("it is below");
            println!("byte {at} of {}", name.display());
            let outcome = open_changed(copy.path(), name, &truth);
            *outcomes.entry((name.display().to_string(), outcome)).or_default() += 1;
        }
    }
    println!("{outcomes:#?}");
}

#[tokio::test]
async fn only_a_torn_commit_is_cut_off_after_a_power_loss() {
    let (seed, rounds) = (seed(), rounds(30));
    let directory = prepare_data().await;
    let root = directory.path().join("data");
    let original = files(&root);
    let open = |root: &Path| Store::open(root, StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() });
    let read_and_close = |store: Store| {
        let found = read_store(&store).unwrap();
        store.close();
        found
    };
    let whole = copy_with_change(&original, &root, Path::new(""), &[]);
    let truth = read_and_close(open(whole.path()).unwrap());
    for round in 0..rounds {
        let copy = copy_with_change(&original, &root, Path::new(""), &[]);
        assert!(tear_journal(copy.path(), &mut random_choices(seed, round)), "there is a journal");
        // Writes behind the cut are found too: the second start sees those of the first.
        for start in 1..=2 {
            let store =
                open(copy.path()).unwrap_or_else(|error| panic!("round {round} of {seed}, start {start}: {error}"));
            assert!(read_and_close(store) == truth, "round {round} of {seed}, start {start}");
        }
    }
}

#[tokio::test]
async fn a_table_with_billions_of_sections_is_refused_by_name() {
    let directory = prepare_data().await;
    let root = directory.path().join("data");
    let tables = files(&root.join("store/keyspaces")).into_iter();
    let tables = tables.filter(|(path, _)| path.parent().is_some_and(|parent| parent.ends_with("tables")));
    let mut refused = 0;
    for (path, original) in tables {
        let mut changed = original.clone();
        let list = changed.windows(4).rposition(|bytes| bytes == b"TOC!").expect("each table has one");
        changed[list + 7] = 0xff;
        fs::write(&path, changed).unwrap();
        let text = Store::open(&root, StoreOptions::default()).err().expect("it is refused").to_string();
        assert!(text.contains(path.to_str().expect("it is text")), "{text}");
        fs::write(&path, original).unwrap();
        refused += 1;
    }
    assert!(refused > 0, "there are tables");
    Store::open(&root, StoreOptions::default()).unwrap_or_else(|error| panic!("{error}")).close();
}

/// One bit, or several.
fn random_change(rng: &mut StdRng) -> u8 {
    if rng.random_range(0..2) == 0 { 1 << rng.random_range(0..8) } else { rng.random_range(1..=255) }
}

#[tokio::test]
async fn an_unreadable_record_is_named_and_other_rooms_go_on() {
    let directory = prepare_data().await;
    let root = directory.path().join("data");
    let (path, bytes) = files(&root.join("store/keyspaces/1/tables")).pop_first().expect("there is a table");
    // A byte of a message in a part of the table that is not read when the store is opened, as its beginning and its
    // end are.
    let starts = bytes.windows(6).enumerate().filter(|(_, window)| *window == b"first ").map(|(at, _)| at);
    let opens_with_damage_at = |at: &usize| {
        let mut changed = bytes.clone();
        changed[*at] ^= 1;
        fs::write(&path, changed).unwrap();
        Store::open(&root, StoreOptions::default()).map(|store| store.close()).is_ok()
    };
    starts
        .collect::<Vec<_>>()
        .iter()
        .find(|at| opens_with_damage_at(at))
        .expect("a message is read when it is asked for");
    let server = Server::in_directory(directory, "").await;
    let mut damaged = 0;
    for room in ["lobby", "garden"] {
        let all = format!("/rooms/{room}/messages?limit=500&after=0");
        let asked = within(server.api(Method::GET, &all, "ana", "")).await;
        if asked.status != 200 {
            damaged += 1;
            asked.is_problem(500);
            server.wait_for_log(&format!("of ROOMS/{room} cannot be read")).await;
        }
    }
    assert!(damaged > 0, "no room has the damaged message");
    let names_the_key = |line: &str| line.contains("entry number") && line.contains("from `m\\x00");
    assert!(server.log().lines().any(names_the_key), "{}", server.log());
    assert!(server.log().contains("restore the data directory from a backup"), "{}", server.log());
    // Other data are served, and new data are stored.
    let body = json!({ "content": "new" }).to_string();
    let answer = server.api(Method::POST, "/rooms/elsewhere/messages", "ana", &body).await;
    assert_eq!(answer.json()["message"]["seq"], 1);
}

/// Do to a journal what a power loss may do behind the last durable commit: cut it, or leave some pages of the next
/// batch as they were, or as they never were. False where nothing was written yet.
pub(crate) fn tear_journal(data: &Path, rng: &mut StdRng) -> bool {
    let Some((journal, durable, end)) = newest_journal(data) else { return false };
    let mut file = OpenOptions::new().read(true).write(true).open(journal).expect("a journal");
    // Where the crash came between two commits, the power may have gone in the middle of the next one: it looks as the
    // last one did.
    let mut tail = vec![0; end - durable];
    file.seek(SeekFrom::Start(durable as u64)).expect("it is so long");
    file.read_exact(&mut tail).expect("it is so long");
    if tail.is_empty() {
        tail = last_batch(&mut file, durable);
    }
    let page = rng.random_range(1..=64);
    match rng.random_range(0..4) {
        // The rest never came.
        0 => tail.truncate(rng.random_range(0..tail.len())),
        // Some of it came, and some did not.
        1 => tail.chunks_mut(page).for_each(|page| {
            if rng.random_range(0..3) == 0 {
                page.fill(0)
            }
        }),
        // Some of it is what the disk had there before.
        2 => tail.chunks_mut(page).for_each(|page| {
            if rng.random_range(0..3) == 0 {
                rng.fill(page)
            }
        }),
        _ => rng.fill(&mut tail[..]),
    }
    // Complete writes are there; another test checks that.
    let last = tail.len().saturating_sub(TRAILER.len());
    if let Some(last) = tail.get_mut(last..) {
        last.fill(0);
    }
    file.set_len(durable as u64).expect("it can be cut");
    file.seek(SeekFrom::Start(durable as u64)).expect("it is so long");
    file.write_all(&tail).expect("it can be written");
    // A new journal is made longer than it is needed; one that was opened again is not.
    if rng.random_range(0..2) == 0 {
        file.set_len(64 << 20).expect("it can be longer");
    }
    true
}

/// The newest journal, where the last durable commit ends in it, and where all that was written does.
fn newest_journal(data: &Path) -> Option<(PathBuf, usize, usize)> {
    let mark = fs::read(data.join("mark")).ok().filter(|mark| mark.len() == 16)?;
    let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    let files = fs::read_dir(data.join("store")).ok()?.map(|file| file.expect("a file").path());
    let journal = files.filter(|path| path.extension() == Some("jnl".as_ref())).max_by_key(number)?;
    let bytes = fs::read(&journal).expect("a journal");
    let group = [b"\0group", &mark[..8]].concat();
    let at = bytes.windows(group.len()).rposition(|window| window == group)?;
    let durable = at + bytes[at..].windows(TRAILER.len()).position(|window| window == TRAILER)? + TRAILER.len();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Some((journal, durable, end.max(durable)))
}

/// The bytes of the batch that ends at `end`.
fn last_batch(file: &mut File, end: usize) -> Vec<u8> {
    let mut bytes = vec![0; end];
    file.seek(SeekFrom::Start(0)).expect("a file");
    file.read_exact(&mut bytes).expect("it is so long");
    let body = &bytes[..end - TRAILER.len()];
    let start = body.windows(TRAILER.len()).rposition(|window| window == TRAILER).map_or(0, |at| at + TRAILER.len());
    bytes.split_off(start)
}
