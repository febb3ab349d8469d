//! Timers fire at least once, whatever happens in between.

use crate::harness::Server;

#[tokio::test]
async fn a_timer_due_during_downtime_fires_after_the_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_reply("timer 200 put done yes; say set", "set").await;
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lobby", "bo").await;
    bo.expect_text("welcome").await;
    while {
        bo.send("get done").await;
        bo.recv_text().await
    } != "done=yes"
    {}
}

#[tokio::test]
async fn a_timer_of_a_room_without_clients_fires_after_the_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_reply("timer 500 fail nobody was here; say set", "set").await;
    let server = server.crash_and_restart().await;
    // The log shows it, although no client wakes the room.
    server.wait_for_log("the room returned an error: nobody was here").await;
}

#[tokio::test]
async fn a_timer_whose_turn_fails_is_retried() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("timer 0 fail once").await;
    server.wait_for_log("the room returned an error: once").await;
    ana.expect_reply("timers", "1").await;
    ana.expect_reply("timer 10 say better; say replaced", "replaced").await;
    ana.expect_text("timer t say better 0").await;
}

#[tokio::test]
async fn a_failed_attempt_is_counted_across_a_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("timer 0 fail first").await;
    server.wait_for_log("told to fail first").await;
    // Its count is committed behind the failed turn; what is answered after it is durable with it.
    ana.expect_reply("put a b; say later", "later").await;
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lobby", "bo").await;
    bo.expect_text("welcome").await;
    while {
        bo.send("get fired").await;
        bo.recv_text().await
    } != "fired=timer t fail first 1"
    {}
}
