//! Timers fire at least once, whatever happens in between.

use crate::harness::Server;

#[tokio::test]
async fn a_timer_due_during_downtime_fires_after_the_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.is_told("timer 200 put done yes; say set", "set").await;
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lobby", "bo").await;
    bo.hears_exactly("welcome").await;
    while {
        bo.says("get done").await;
        bo.hears_text().await
    } != "done=yes"
    {}
}

#[tokio::test]
async fn a_timer_of_a_room_without_clients_fires_after_the_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.is_told("timer 500 fail nobody was here; say set", "set").await;
    let server = server.crash_and_restart().await;
    // The log shows it, although no client wakes the room.
    server.logs("the room returned an error: nobody was here").await;
}

#[tokio::test]
async fn a_timer_whose_turn_fails_is_retried() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    ana.says("timer 0 fail once").await;
    server.logs("the room returned an error: once").await;
    ana.is_told("timers", "1").await;
    ana.is_told("timer 10 say better; say replaced", "replaced").await;
    ana.hears_exactly("timer t say better 0").await;
}

#[tokio::test]
async fn a_failed_attempt_is_counted_across_a_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    ana.says("timer 0 fail first").await;
    server.logs("told to fail first").await;
    // Its count is committed behind the failed turn; what is answered after it is durable with it.
    ana.is_told("put a b; say later", "later").await;
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lobby", "bo").await;
    bo.hears_exactly("welcome").await;
    while {
        bo.says("get fired").await;
        bo.hears_text().await
    } != "fired=timer t fail first 1"
    {}
}
