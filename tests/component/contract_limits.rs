//! Each limit is the same number in `limits.rs` or `config/limits.rs` and in the WIT documentation.

use dormouse::config::Limits;
use dormouse::limits;

const WIT: &str = concat!(
    include_str!("../../wit/room.wit"),
    include_str!("../../wit/sockets.wit"),
    include_str!("../../wit/storage.wit"),
    include_str!("../../wit/timers.wit"),
    include_str!("../../wit/context.wit"),
    include_str!("../../wit/types.wit"),
    include_str!("../../wit/router.wit"),
    include_str!("../../wit/rooms.wit"),
    include_str!("../../wit/outbox.wit"),
    include_str!("../../wit/worlds.wit"),
    include_str!("../../wit/upgrade.wit"),
);

/// `16384` as `16,384`.
fn with_thousands_separators(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

/// A burst is ten seconds of the rate.
fn burst(per_second: u32) -> String {
    with_thousands_separators(per_second as usize * 10)
}

fn assert_documented(limit: &str) {
    assert!(WIT.contains(limit), "no WIT file says {limit:?}");
}

#[test]
fn the_wit_documents_the_actual_limits() {
    let limits = Limits::default();
    assert_documented(&format!("key 1 to {} B", with_thousands_separators(limits::KEY_BYTES)));
    assert_documented(&format!("value {} MiB", limits::VALUE_BYTES >> 20));
    assert_documented(&format!("counts its bytes plus {} B", limits::RECORD_BYTES));
    assert_documented(&format!("{} MiB of writes a turn", limits::TURN_WRITE_BYTES >> 20));
    assert_documented(&format!(
        "{} entries and {} MiB a call",
        with_thousands_separators(limits::LIST_ENTRIES),
        limits::LIST_BYTES >> 20
    ));
    assert_documented(&format!(
        "`too-many` above {} tags; `too-large` above {} B a tag",
        limits::TAGS,
        limits::TAG_BYTES
    ));
    assert_documented(&format!("`too-large` above {} B; `gone`", with_thousands_separators(limits::ATTACHMENT_BYTES)));
    assert_documented(&format!(
        "`too-large` above {} B for either text",
        with_thousands_separators(limits::AUTO_RESPONSE_BYTES)
    ));
    assert_documented(&format!("1 to {} B of id", limits::EVENT_ID_BYTES));
    assert_documented(&format!("The id is empty, above {} B, or", limits::EVENT_ID_BYTES));
    assert_documented(&format!("`reason` is above {} B", limits::CLOSE_REASON_BYTES));
    assert_documented(&format!(
        "{} timers a room, name 1 to {} B",
        with_thousands_separators(limits::TIMERS),
        limits::TIMER_NAME_BYTES
    ));
    assert_documented(&format!("payload {} B", with_thousands_separators(limits::TIMER_PAYLOAD_BYTES)));
    assert_documented(&format!(
        "sets and cancels more than {} traps",
        with_thousands_separators(limits::TIMERS_CHANGED)
    ));
    assert_documented(&format!("body {} MiB, {} headers", limits::RESPONSE_BYTES >> 20, limits::RESPONSE_HEADERS));
    assert_documented(&format!(
        "above {} headers or {} MiB of body",
        limits::RESPONSE_HEADERS,
        limits::RESPONSE_BYTES >> 20
    ));
    assert_documented(&format!("`too-large` above {} MiB; `gone`", limits::MESSAGE_BYTES >> 20));
    assert_documented(&format!("{} MiB waits for a socket", limits.socket_queue_bytes >> 20));
    assert_documented(&format!("{} sockets a room", with_thousands_separators(limits.sockets_per_room)));
    assert_documented(&format!("{} s of CPU a turn", limits.turn_cpu.as_secs()));
    assert_documented(&format!("logs turns above {} ms", limits.turn_cpu_slow.as_millis()));
    assert_documented(&format!("{} MiB of memory an instance", limits.memory_bytes >> 20));
    let (of_turn, per_second) = (limits.turn_log_lines, limits.log_lines_per_second);
    assert_documented(&format!(
        "{of_turn} lines a turn and {per_second} a second with bursts of {}",
        burst(per_second)
    ));
    assert_documented(&format!("{} B a line (the rest is cut off)", with_thousands_separators(limits::LOG_LINE_BYTES)));
    assert_documented(&format!("{} MiB of messages a turn", limits.turn_output_bytes >> 20));
    let calls = (limits.turn_calls, limits.turn_calls_timeout.as_secs());
    assert_documented(&format!("{} calls and requests a turn, and {} s from", calls.0, calls.1));
    assert_documented(&format!("More than {} MiB of body", limits::CALL_BYTES >> 20));
    assert_documented(&format!("body {} MiB out, {} MiB back", limits::CALL_BYTES >> 20, limits::RESPONSE_BYTES >> 20));
    assert_documented(&format!("{} MiB of answers may be on their way", limits::ANSWERS_BYTES >> 20));
    assert_documented(&format!("The request is above {} KiB", limits::POST_BYTES >> 10));
    assert_documented(&format!("{} posts of this room wait already", with_thousands_separators(limits::POSTS)));
    assert_documented(&format!("every\n/// {} s, and given up", limits::MAX_POST_BACKOFF_S));
    assert_documented(&format!("after {} tries", limits::POST_TRIES));
    let backoff = limits::TIMER_BACKOFF_S.map(|wait| wait.to_string());
    let (last, first) = backoff.split_last().unwrap();
    assert_documented(&format!("{} and {last} s", first.join(", ")));
    assert_documented(&format!("Limit: {} MiB; the host answers 413", limits.body_bytes >> 20));
    assert_documented(&format!("the token's `sub`. 1 to {} bytes", limits::USER_BYTES));
    assert_documented(&format!("`id` if the token has none. 1 to {} bytes", limits::USER_BYTES));
    assert_documented(&format!("1 to {} bytes of UTF-8", dormouse::model::NAME_BYTES));
}
