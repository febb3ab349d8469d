//! The promises of the kit's typed storage to a room's author.

use dormouse_bundle::KEEPER;
use dormouse_test::{Message, TestClient, TestRoom};

dormouse_test::with_and_without_hibernation! { KEEPER;
    a_value_is_the_last_put_until_it_is_deleted,
    a_counter_starts_at_zero_and_saturates,
    list_entries_are_numbered_without_a_gap,
    a_list_is_paged_in_both_directions,
    a_list_keeps_its_numbers_when_the_oldest_are_removed,
    lists_whose_names_share_a_prefix_are_separate,
    a_value_of_another_type_fails_the_turn_and_names_its_key,
}

fn run_command(room: &mut TestRoom, client: &TestClient, command: &str) -> String {
    room.send(client, command);
    match client.received_raw().pop() {
        Some(Message::Text(text)) => text,
        other => panic!("{command} was answered with {other:?}"),
    }
}

fn a_value_is_the_last_put_until_it_is_deleted(mut room: TestRoom) {
    let ana = room.join("ana");
    assert_eq!(run_command(&mut room, &ana, "noted"), "nothing");
    for note in ["tea", "more tea"] {
        run_command(&mut room, &ana, &format!("note {note}"));
        assert_eq!(run_command(&mut room, &ana, "noted"), note);
    }
    assert_eq!(run_command(&mut room, &ana, "forget"), "true");
    assert_eq!(run_command(&mut room, &ana, "forget"), "false");
    assert_eq!(run_command(&mut room, &ana, "noted"), "nothing");
}

fn a_counter_starts_at_zero_and_saturates(mut room: TestRoom) {
    let ana = room.join("ana");
    assert_eq!(run_command(&mut room, &ana, "steps"), "0");
    for (by, becomes) in [("2", "2"), ("3", "5"), ("-6", "-1"), ("9223372036854775807", "9223372036854775806")] {
        assert_eq!(run_command(&mut room, &ana, &format!("step {by}")), becomes);
    }
    assert_eq!(run_command(&mut room, &ana, "step 5"), i64::MAX.to_string());
    assert_eq!(run_command(&mut room, &ana, "steps"), i64::MAX.to_string());
}

/// With the lines `line 1` to `line COUNT`.
fn with_lines(room: &mut TestRoom, count: u64) -> TestClient {
    let ana = room.join("ana");
    for number in 1..=count {
        assert_eq!(run_command(room, &ana, &format!("push line {number}")), number.to_string());
    }
    ana
}

fn list_entries_are_numbered_without_a_gap(mut room: TestRoom) {
    let ana = room.join("ana");
    assert_eq!(run_command(&mut room, &ana, "last"), "0");
    room.leave(&ana);
    // Beyond one byte, where keys that are no fixed width would fall out of order.
    let ana = with_lines(&mut room, 300);
    assert_eq!(run_command(&mut room, &ana, "last"), "300");
    assert_eq!(run_command(&mut room, &ana, "get 256"), "line 256");
    assert_eq!(run_command(&mut room, &ana, "get 301"), "nothing");
}

fn a_list_is_paged_in_both_directions(mut room: TestRoom) {
    let ana = with_lines(&mut room, 6);
    for (command, page) in [
        ("newest", "4 line 4, 5 line 5, 6 line 6"),
        ("before 4", "1 line 1, 2 line 2, 3 line 3"),
        ("before 2", "1 line 1"),
        ("before 1", ""),
        ("after 0", "1 line 1, 2 line 2, 3 line 3"),
        ("after 4", "5 line 5, 6 line 6"),
        ("after 6", ""),
        ("after 18446744073709551615", ""),
    ] {
        assert_eq!(run_command(&mut room, &ana, command), page, "{command}");
    }
}

fn a_list_keeps_its_numbers_when_the_oldest_are_removed(mut room: TestRoom) {
    let ana = with_lines(&mut room, 6);
    assert_eq!(run_command(&mut room, &ana, "trim 5"), "4");
    assert_eq!(run_command(&mut room, &ana, "newest"), "5 line 5, 6 line 6");
    assert_eq!(run_command(&mut room, &ana, "get 4"), "nothing");
    assert_eq!(run_command(&mut room, &ana, "push line 7"), "7");
}

fn lists_whose_names_share_a_prefix_are_separate(mut room: TestRoom) {
    let ana = with_lines(&mut room, 1);
    assert_eq!(run_command(&mut room, &ana, "push-other theirs"), "1");
    assert_eq!(run_command(&mut room, &ana, "newest"), "1 line 1");
    assert_eq!(run_command(&mut room, &ana, "trim 9"), "1");
    assert_eq!(run_command(&mut room, &ana, "push-other theirs again"), "2");
}

fn a_value_of_another_type_fails_the_turn_and_names_its_key(mut room: TestRoom) {
    let ana = room.join("ana");
    run_command(&mut room, &ana, "note tea");
    room.put("steps", "\"many\"");
    let failure = room.try_send(&ana, Message::Text("step 1".into())).expect_err("it is no number").to_string();
    assert!(failure.contains("the value of steps does not have the expected type"), "{failure}");
    assert_eq!(run_command(&mut room, &ana, "noted"), "tea");
}
