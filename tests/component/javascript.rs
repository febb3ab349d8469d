//! The example room in JavaScript: the contract is kept by an engine in a component, as it is by Rust.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_test::{Fault, Message, TestClient, TestRoom, body, discard_received, problem};
use serde_json::{Value, json};

const AUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/examples/javascript/dist/auction.wasm");

dormouse_test::with_and_without_hibernation! { room();
    the_highest_bid_at_the_end_wins,
    a_bid_restarts_the_countdown_of_ten_seconds,
    an_invalid_bid_gets_an_error_only_for_its_bidder,
    an_auction_goes_on_after_a_restart,
    an_invalid_item_starts_no_auction,
    a_lost_turn_leaves_no_trace,
    unicode_text_survives_storage,
}

fn room() -> TestRoom {
    assert!(std::fs::exists(AUCTION).unwrap_or(false), "the room in JavaScript is not built: run `make javascript`");
    TestRoom::of_file(AUCTION)
}

fn start_auction(room: &mut TestRoom) -> (TestClient, TestClient) {
    assert_eq!(body(&room.post("host", "/messages", &[], r#"{"thing":"a lamp"}"#))["thing"], "a lamp");
    let clients = (room.join("ana"), room.join("bo"));
    discard_received([&clients.0, &clients.1]);
    clients
}

fn last_received(client: &TestClient) -> Value {
    client.received().pop().unwrap_or_default()
}

fn the_highest_bid_at_the_end_wins(mut room: TestRoom) {
    let (ana, bo) = start_auction(&mut room);
    room.send(&ana, "5");
    room.send(&bo, "7.5");
    assert_eq!(ana.received().len(), 2);
    room.advance(Duration::from_secs(10));
    assert_eq!(last_received(&ana), json!({ "thing": "a lamp", "bid": 7.5, "bidder": "bo", "sold": true }));
    room.send(&ana, "100");
    assert_eq!(last_received(&ana)["code"], "no_bid");
    room.leave(&ana);
}

fn a_bid_restarts_the_countdown_of_ten_seconds(mut room: TestRoom) {
    let (ana, bo) = start_auction(&mut room);
    room.send(&ana, "5");
    room.advance(Duration::from_secs(9));
    room.send(&bo, "6");
    room.advance(Duration::from_secs(9));
    assert_eq!(last_received(&bo)["sold"], false);
    room.advance(Duration::from_secs(1));
    assert_eq!(last_received(&bo)["sold"], true);
}

fn an_invalid_bid_gets_an_error_only_for_its_bidder(mut room: TestRoom) {
    let (ana, bo) = start_auction(&mut room);
    room.send(&bo, "5");
    discard_received([&ana, &bo]);
    for bid in ["5", "-1", "much", "", "{}", "NaN"] {
        room.send(&ana, bid);
        assert_eq!(last_received(&ana)["code"], "no_bid", "{bid}");
    }
    room.try_send(&ana, Message::Binary(vec![9])).unwrap();
    assert!(bo.received().is_empty());
}

fn an_auction_goes_on_after_a_restart(mut room: TestRoom) {
    let (ana, _) = start_auction(&mut room);
    room.send(&ana, "5");
    room.restart();
    let bo = room.join("bo");
    assert_eq!(last_received(&bo)["bid"], 5);
    room.advance(Duration::from_secs(10));
    assert_eq!(last_received(&bo)["sold"], true);
    assert_eq!(body(&room.get("bo", "/messages", ""))["bidder"], "ana");
}

fn an_invalid_item_starts_no_auction(mut room: TestRoom) {
    for text in ["", "a lamp", "{}", r#"{"thing":7}"#, "null"] {
        assert_eq!(problem(&room.post("host", "/messages", &[], text)), 400, "{text}");
    }
    start_auction(&mut room);
    assert_eq!(problem(&room.post("host", "/messages", &[], r#"{"thing":"another"}"#)), 400);
}

fn a_lost_turn_leaves_no_trace(mut room: TestRoom) {
    let (ana, bo) = start_auction(&mut room);
    room.fail_next_turn(Fault::OutOfCpu);
    room.try_send(&ana, Message::Text("5".into())).expect_err("it is lost");
    assert!(bo.received().is_empty() && room.timers().is_empty());
    room.send(&ana, "4");
    assert_eq!(last_received(&bo)["bid"], 4);
}

fn unicode_text_survives_storage(mut room: TestRoom) {
    let thing = "лампа 🛋️ «é» \u{0}";
    room.post("host", "/messages", &[], &json!({ "thing": thing }).to_string());
    assert_eq!(last_received(&room.join("ana"))["thing"], thing);
}
