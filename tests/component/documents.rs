//! The documents: the code that they show is the code that is built, and the tests that they name exist.

use std::fs;
use std::path::{Path, PathBuf};

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
    let section = README.split_once("\n## The promises\n").expect("there is such a section").1;
    let section = section.split("\n## ").next().expect("there is always a first part");
    assert!(tests_named_in(section) >= 8);
}

#[test]
fn every_threat_and_fault_names_a_test_that_exists() {
    assert!(tests_named_in(include_str!("../../docs/threats.md")) >= 20);
}

/// The number of tests that a text names, such as `e2e::limits::a_full_room_says_so`. Fails if one of them is missing from
/// the file that its name points to.
fn tests_named_in(text: &str) -> usize {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["tests/component", "tests/conformance", "tests/e2e", "tests/serve", "host/src"] {
        collect(&repository.join(folder), &mut files);
    }
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    let names =
        names.filter(|name| name.rsplit("::").next().is_some_and(|name| name.contains('_'))).collect::<Vec<_>>();
    for name in &names {
        let mut parts = name.rsplit("::");
        let function = format!("fn {}(", parts.next().expect("there is always a first part"));
        let module = parts.find(|part| *part != "tests").expect("it is in a module");
        let is_there = |(path, text): &(PathBuf, String)| {
            path.components().any(|part| Path::new(&part).file_stem().is_some_and(|stem| stem == module))
                && text.contains(&function)
        };
        assert!(files.iter().any(is_there), "there is no test {name}");
    }
    names.len()
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
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
