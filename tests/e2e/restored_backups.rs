//! A store keeps its incarnation across restarts; a restored or new store has another one.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::Server;

async fn incarnation(server: &Server) -> u64 {
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("incarnation").await;
    ana.recv_text().await.parse().expect("a number")
}

/// Copy a directory: into files that are there already, or new ones.
fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}

#[tokio::test]
async fn a_restart_keeps_the_incarnation() {
    let mut server = Server::unruly("").await;
    let first = incarnation(&server).await;
    assert_ne!(first, 0);
    for _ in 0..3 {
        server = server.crash_and_restart().await;
        assert_eq!(incarnation(&server).await, first, "after kill -9");
    }
    let (directory, config) = (server.directory.clone(), server.config().to_owned());
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    drop(server);
    let server = Server::in_directory(directory, &config).await;
    assert_eq!(incarnation(&server).await, first, "after SIGTERM");
}

#[tokio::test]
async fn a_restored_store_has_another_incarnation() {
    let mut server = Server::unruly("").await;
    let mut seen = vec![incarnation(&server).await];
    for in_place in [true, false, true] {
        let (data, backup) = (server.directory.path().join("data"), server.directory.path().join("backup"));
        server.kill();
        copy_dir(&data, &backup);
        server = server.crash_and_restart().await;
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_reply("put since the backup; say kept", "kept").await;
        server.kill();
        // The backup has the same files, but not of the same lengths.
        if in_place {
            fs::remove_dir_all(data.join("store")).expect("it is there");
        } else {
            fs::remove_dir_all(&data).expect("it is there");
        }
        copy_dir(&backup, &data);
        fs::remove_dir_all(&backup).expect("it is there");
        server = server.crash_and_restart().await;
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_reply("get since", "since=").await;
        let now = incarnation(&server).await;
        assert!(!seen.contains(&now), "restored, in place: {in_place}");
        server.wait_for_log("the data was restored from a copy").await;
        seen.push(now);
        server = server.crash_and_restart().await;
        assert_eq!(incarnation(&server).await, now, "and that stays");
    }
}

/// Run a command of the shell in the directory of a server.
fn run_shell(server: &Server, command: &str) {
    let done = Command::new("sh").args(["-ec", command]).current_dir(server.directory.path()).status();
    assert!(done.expect("a shell").success(), "{command}");
}

#[tokio::test]
async fn chmod_chown_touch_and_a_move_keep_the_incarnation() {
    let mut server = Server::unruly("").await;
    let first = incarnation(&server).await;
    for command in [
        "chmod -R g+rX data",
        "chown -R \"$(id -u)\" data",
        "find data -exec touch {} +",
        "mv data elsewhere; mv elsewhere data",
    ] {
        server.kill();
        run_shell(&server, command);
        server = server.crash_and_restart().await;
        assert_eq!(incarnation(&server).await, first, "{command}");
    }
}

#[tokio::test]
async fn a_store_restored_by_common_tools_has_another_incarnation() {
    for (back_up, restore) in [
        ("cp -a data backup", "rm -r data; cp -a backup data"),
        ("cp -a data backup", "rm -r data/store; cp -a backup/. data"),
        ("tar -cf backup.tar data", "rm -r data; tar -xpf backup.tar"),
        ("tar -cf backup.tar data", "rm -r data/store; tar -xpf backup.tar --overwrite"),
    ] {
        let mut server = Server::unruly("").await;
        let first = incarnation(&server).await;
        server.kill();
        run_shell(&server, back_up);
        server = server.crash_and_restart().await;
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_reply("put since the backup; say kept", "kept").await;
        server.kill();
        run_shell(&server, restore);
        server = server.crash_and_restart().await;
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_reply("get since", "since=").await;
        assert_ne!(incarnation(&server).await, first, "{restore}");
    }
}

#[tokio::test]
async fn a_recreated_store_has_another_incarnation() {
    let mut server = Server::unruly("").await;
    let first = incarnation(&server).await;
    server.kill();
    fs::remove_dir_all(server.directory.path().join("data")).expect("it is there");
    let server = server.crash_and_restart().await;
    assert_ne!(incarnation(&server).await, first);
}

#[tokio::test]
async fn a_store_without_its_mark_has_another_incarnation() {
    let mut server = Server::unruly("").await;
    let first = incarnation(&server).await;
    server.kill();
    // As the error about lost commits advises.
    let mark = server.directory.path().join("data/mark");

    fs::rename(&mark, server.directory.path().join("old-mark")).expect("it is there");
    let server = server.crash_and_restart().await;
    assert_ne!(incarnation(&server).await, first);
}
