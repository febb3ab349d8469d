//! Compiled code that is kept from start to start.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::harness::Server;

/// The cached files by name: inode and content. A component that was compiled again is another file.
fn cached_files(directory: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let mut kept = BTreeMap::new();
    for file in fs::read_dir(directory).expect("it is there") {
        let file = file.expect("it is there");
        let content = (file.metadata().unwrap().ino(), fs::read(file.path()).unwrap());
        kept.insert(file.file_name().into_string().unwrap(), content);
    }
    kept
}

#[tokio::test]
async fn a_component_is_recompiled_only_if_its_cached_code_is_damaged() {
    let data = Arc::new(TempDir::new().unwrap());
    let directory = data.path().join("data/compiled");
    // Code that other tests have compiled is not provided if the directory has content already.
    DirBuilder::new().mode(0o700).recursive(true).create(&directory).unwrap();
    let server = Server::in_directory(data, "").await;
    let first = cached_files(&directory);
    assert_eq!(first.len(), 3, "the chat room, the presence tracker and the router");

    let server = server.crash_and_restart().await;
    assert_eq!(cached_files(&directory), first, "nothing was compiled again");

    let (name, (file, mut content)) = first.first_key_value().map(|(name, kept)| (name.clone(), kept.clone())).unwrap();
    let good = content.clone();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(directory.join(&name), content).unwrap();
    let server = server.crash_and_restart().await;
    let healed = cached_files(&directory);
    assert!(healed[&name].0 != file && healed[&name].1 == good, "the damaged one is another, and good");
    assert_eq!(server.join("lobby", "ana").await.recv().await["type"], "history");
}
