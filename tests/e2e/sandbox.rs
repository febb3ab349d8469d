//! A room that misbehaves costs itself its turn, and nobody else anything.

use std::time::Duration;

use crate::harness::{Client, Server};

async fn welcome(server: &Server, room: &str, name: &str) -> Client {
    let mut client = server.join(room, name).await;
    client.hears_exactly("welcome").await;
    client
}

/// The misdeed ends its turn; the sender is told, the socket stays open, and the log names room and cause.
async fn costs_its_turn(deed: &str, cause: &str) {
    let server = Server::unruly("").await;
    let mut ana = welcome(&server, "bad", "ana").await;
    ana.says(&format!("put lost yes; {deed}")).await;
    assert_eq!(ana.hears().await["code"], "room_failed");
    server.logs(cause).await;
    assert!(server.log().lines().any(|line| line.contains("ROOMS/bad") && line.contains(cause)), "{}", server.log());
    ana.is_told("list; say alive", "alive").await;
}

#[tokio::test]
async fn a_room_that_panics_costs_its_turn() {
    costs_its_turn("panic", "told to panic").await;
}

#[tokio::test]
async fn a_room_that_loops_for_ever_costs_its_turn() {
    costs_its_turn("loop", "used its 1s of CPU").await;
}

#[tokio::test]
async fn a_room_that_allocates_for_ever_costs_its_turn() {
    costs_its_turn("hoard", "used its 67108864 B of memory").await;
}

#[tokio::test]
async fn a_request_to_a_room_that_fails_is_answered_with_500() {
    let server = Server::unruly("").await;
    let answer = server.api(hyper::Method::POST, "/rooms/bad/messages", "ana", "fail with a secret").await;
    answer.is_problem(500);
    assert!(!answer.json().to_string().contains("secret"));
    server.logs("fail").await;
}

#[tokio::test]
async fn a_connect_that_fails_is_answered_with_500_and_leaves_nobody_behind() {
    let server = Server::unruly("").await;
    let path = format!("{}/rooms/bad/ws?token=1:ana&deed=panic", crate::harness::BASE);
    server.connect(&path, &[]).await.err().unwrap().is_problem(500);
    let mut bo = welcome(&server, "bad", "bo").await;
    bo.is_told("count", "1").await;
}

#[tokio::test]
async fn rooms_that_loop_do_not_stall_the_others() {
    let server = Server::unruly("").await;
    let mut good = welcome(&server, "good", "ana").await;
    let mut bad = Vec::new();
    for number in 0..4 {
        let mut client = welcome(&server, &format!("bad{number}"), "bo").await;
        // Two each: more work than there are threads for it, for seconds.
        client.says("loop").await;
        client.says("loop").await;
        bad.push(client);
    }
    // All of these are answered while the others loop: the last of eight seconds of work ends long after them.
    for number in 0..100 {
        let said = format!("still {number}");
        good.is_told(&format!("say {said}"), &said).await;
    }
    let failures = server.log().matches("used its 1s of CPU").count();
    assert!(failures < 8, "the good room waited for all the bad ones");
    for client in &mut bad {
        assert_eq!(client.hears().await["code"], "room_failed");
    }
}

#[tokio::test]
async fn a_long_turn_of_a_good_room_waits_for_no_bad_ones_end() {
    let server = Server::unruly("").await;
    let mut good = welcome(&server, "good", "ana").await;
    let mut bad = Vec::new();
    for number in 0..8 {
        let mut client = welcome(&server, &format!("bad{number}"), "bo").await;
        client.says("loop").await;
        client.says("loop").await;
        bad.push(client);
    }
    // Many ticks of work, among eight rooms that want a second each, and then another one.
    good.says("work 30; say done").await;
    while good.hears_text().await != "done" {}
    let failures = server.log().matches("used its 1s of CPU").count();
    assert!(failures < 8, "the good room waited until {failures} bad turns had ended");
}

#[tokio::test]
async fn keys_that_nothing_can_have_harm_neither_the_room_nor_its_disk() {
    let server = Server::unruly("").await;
    let mut bad = welcome(&server, "bad", "bo").await;
    bad.is_told("put a 1; put z 2; oversize", "false 1 0 true").await;
    bad.is_told("list", "a,z").await;
}

#[tokio::test]
async fn a_room_that_is_closed_by_its_guest_tells_the_client_why() {
    let server = Server::unruly("").await;
    let mut ana = welcome(&server, "lobby", "ana").await;
    let mut bo = welcome(&server, "lobby", "bo").await;
    ana.says("note x; say before; leave good night").await;
    ana.hears_exactly("before").await;
    assert_eq!(ana.is_closed().await, (4000, "good night".into()));
    ana.ends().await;
    bo.hears_exactly("gone id-ana 4000 true x").await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_known_to_be_gone() {
    let server = Server::unruly("").await;
    let ana = welcome(&server, "lobby", "ana").await;
    let mut bo = welcome(&server, "lobby", "bo").await;
    drop(ana);
    bo.hears_exactly("gone id-ana 1006 false ").await;
}

#[tokio::test]
async fn a_client_that_falls_silent_is_closed_with_4408() {
    let server =
        Server::unruly("[limits]\nping_every = \"200ms\"\npong_within = \"200ms\"\nclose_within = \"200ms\"\n").await;
    let mut bo = welcome(&server, "lobby", "bo").await;
    // Its socket stays open and it answers nothing: nobody reads what the server sends it.
    let silent = welcome(&server, "lobby", "ana").await;
    bo.hears_exactly("gone id-ana 4408 false ").await;
    drop(silent);
    bo.is_told("say still here", "still here").await;
    tokio::time::timeout(Duration::from_secs(1), bo.ends()).await.expect_err("who answers pings stays");
}
