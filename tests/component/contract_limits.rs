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
);

/// `16384` as `16,384`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

/// A burst is ten seconds of the rate.
fn burst(per_second: u32) -> String {
    grouped(per_second as usize * 10)
}

fn documents(what: &str) {
    assert!(WIT.contains(what), "no WIT file says {what:?}");
}

#[test]
fn the_wit_documents_the_actual_limits() {
    let limits = Limits::default();
    documents(&format!("key 1 to {} B", grouped(limits::KEY_BYTES)));
    documents(&format!("value {} MiB", limits::VALUE_BYTES >> 20));
    documents(&format!("counts its bytes plus {} B", limits::RECORD_BYTES));
    documents(&format!("{} MiB of writes a turn", limits::TURN_WRITE_BYTES >> 20));
    documents(&format!("{} entries and {} MiB a call", grouped(limits::LIST_ENTRIES), limits::LIST_BYTES >> 20));
    documents(&format!("`too-many` above {} tags; `too-large` above {} B a tag", limits::TAGS, limits::TAG_BYTES));
    documents(&format!("`too-large` above {} B; `gone`", grouped(limits::ATTACHMENT_BYTES)));
    documents(&format!("`too-large` above {} B for either text", grouped(limits::AUTO_RESPONSE_BYTES)));
    documents(&format!("`reason` is above {} B", limits::CLOSE_REASON_BYTES));
    documents(&format!("{} timers a room, name 1 to {} B", grouped(limits::TIMERS), limits::TIMER_NAME_BYTES));
    documents(&format!("payload {} B", grouped(limits::TIMER_PAYLOAD_BYTES)));
    documents(&format!("sets and cancels more than {} traps", grouped(limits::TIMERS_CHANGED)));
    documents(&format!("body {} MiB, {} headers", limits::RESPONSE_BYTES >> 20, limits::RESPONSE_HEADERS));
    documents(&format!("`too-large` above {} MiB; `gone`", limits::MESSAGE_BYTES >> 20));
    documents(&format!("{} MiB waits for a socket", limits.socket_queue_bytes >> 20));
    documents(&format!("{} sockets a room", grouped(limits.sockets_per_room)));
    documents(&format!("{} s of CPU a turn", limits.turn_cpu.as_secs()));
    documents(&format!("logs turns above {} ms", limits.turn_cpu_slow.as_millis()));
    documents(&format!("{} MiB of memory an instance", limits.memory_bytes >> 20));
    let (of_turn, per_second) = (limits.turn_log_lines, limits.log_lines_per_second);
    documents(&format!("{of_turn} lines a turn and {per_second} a second with bursts of {}", burst(per_second)));
    documents(&format!("{} B a line (the rest is cut off)", grouped(limits::LOG_LINE_BYTES)));
    documents(&format!("{} MiB of messages a turn", limits.turn_output_bytes >> 20));
    let calls = (limits.turn_calls, limits.turn_calls_timeout.as_secs());
    documents(&format!("{} calls and requests a turn, and {} s from", calls.0, calls.1));
    documents(&format!("More than {} MiB of body", limits::CALL_BYTES >> 20));
    documents(&format!("body {} MiB out, {} MiB back", limits::CALL_BYTES >> 20, limits::RESPONSE_BYTES >> 20));
    documents(&format!("{} MiB of answers may be on their way", limits::ANSWERS_BYTES >> 20));
    documents(&format!("The request is above {} KiB", limits::POST_BYTES >> 10));
    documents(&format!("{} posts of this room wait already", grouped(limits::POSTS)));
    documents(&format!("every\n/// {} s, and given up", limits::MAX_POST_BACKOFF_S));
    documents(&format!("after {} tries", limits::POST_TRIES));
    let backoff = limits::TIMER_BACKOFF_S.map(|wait| wait.to_string());
    let (last, first) = backoff.split_last().unwrap();
    documents(&format!("{} and {last} s", first.join(", ")));
    documents(&format!("Limit: {} MiB; the host answers 413", limits.body_bytes >> 20));
    documents(&format!("the token's `sub`. 1 to {} bytes", limits::USER_BYTES));
    documents(&format!("`id` if the token has none. 1 to {} bytes", limits::USER_BYTES));
    documents(&format!("1 to {} bytes of UTF-8", dormouse::model::NAME_BYTES));
}
