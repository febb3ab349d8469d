//! What the README shows is what is tested here.

use dormouse_bundle::COUNTER;
use dormouse_test::{Message, TestRoom};

const README: &str = include_str!("../../README.md");

#[test]
fn the_rooms_and_hosts_in_the_readme_are_the_ones_that_are_built() {
    for source in [include_str!("../guests/counter/src/lib.rs"), include_str!("../../host/examples/embed.rs")] {
        assert!(README.contains(source.trim()), "the README does not show:\n{source}");
    }
}

#[test]
fn every_promise_in_the_readme_names_a_test_that_exists() {
    let tests = concat!(
        include_str!("chat.rs"),
        include_str!("contract.rs"),
        include_str!("determinism.rs"),
        include_str!("presence.rs"),
        include_str!("versions.rs"),
        include_str!("sandbox.rs"),
        include_str!("../e2e/disk.rs"),
        include_str!("../e2e/durability.rs"),
        include_str!("../e2e/hibernation.rs"),
        include_str!("../e2e/joining.rs"),
        include_str!("../e2e/limits.rs"),
        include_str!("../e2e/ordering.rs"),
        include_str!("../e2e/reaching.rs"),
        include_str!("../e2e/sandbox.rs"),
        include_str!("../e2e/shutdown.rs"),
        include_str!("../e2e/timers.rs"),
    );
    let promises = README.split_once("\n## The promises\n").expect("there is such a section").1;
    let promises = promises.split_once("\n## ").expect("others follow").0;
    let named = promises.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit("::").next());
    let named = named.filter(|name| name.contains('_')).collect::<Vec<_>>();
    assert!(named.len() >= 8, "only {named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

#[test]
fn the_counter_counts_for_everybody_and_across_sleep() {
    let mut room = TestRoom::new(COUNTER);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, "one");
    room.hibernate();
    room.try_say(&bo, Message::Binary(vec![2])).unwrap();
    assert_eq!(ana.hears(), [0, 1, 2]);
    assert_eq!(bo.hears(), [0, 1, 2]);
    room.restart();
    assert_eq!(room.get("ana", "/", "").body, b"2");
}
