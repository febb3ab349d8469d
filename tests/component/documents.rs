//! The documents: the code that they show is the code that is built, and the tests that they name exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use dormouse_bundle::COUNTER;
use dormouse_test::{Message, TestRoom};

const README: &str = include_str!("../../README.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const CONTRIBUTING: &str = include_str!("../../CONTRIBUTING.md");
const THREATS: &str = include_str!("../../docs/threats.md");

/// The documents by their paths, relative to the repository.
const DOCUMENTS: [(&str, &str); 26] = [
    ("README.md", README),
    ("ARCHITECTURE.md", ARCHITECTURE),
    ("CHANGELOG.md", include_str!("../../CHANGELOG.md")),
    ("CONTRIBUTING.md", CONTRIBUTING),
    ("SECURITY.md", include_str!("../../SECURITY.md")),
    ("components/javascript/engine/README.md", include_str!("../../components/javascript/engine/README.md")),
    ("docs/access.md", include_str!("../../docs/access.md")),
    ("docs/authorizer.md", include_str!("../../docs/authorizer.md")),
    ("docs/backups.md", include_str!("../../docs/backups.md")),
    ("docs/cluster-model.md", include_str!("../../docs/cluster-model.md")),
    ("docs/configuration.md", include_str!("../../docs/configuration.md")),
    ("docs/deploy.md", include_str!("../../docs/deploy.md")),
    ("docs/from-durable-objects.md", include_str!("../../docs/from-durable-objects.md")),
    ("docs/javascript.md", include_str!("../../docs/javascript.md")),
    ("docs/operation.md", include_str!("../../docs/operation.md")),
    ("docs/performance.md", include_str!("../../docs/performance.md")),
    ("docs/personal-data.md", include_str!("../../docs/personal-data.md")),
    ("docs/postgres.md", include_str!("../../docs/postgres.md")),
    ("docs/running.md", include_str!("../../docs/running.md")),
    ("docs/sql.md", include_str!("../../docs/sql.md")),
    ("docs/systemd.md", include_str!("../../docs/systemd.md")),
    ("docs/telemetry.md", include_str!("../../docs/telemetry.md")),
    ("docs/test-driver.md", include_str!("../../docs/test-driver.md")),
    ("docs/threats.md", THREATS),
    ("docs/typescript.md", include_str!("../../docs/typescript.md")),
    ("docs/usage.md", include_str!("../../docs/usage.md")),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn code_in_the_readme_is_the_code_that_is_built() {
    for source in [include_str!("../guests/counter/src/lib.rs"), include_str!("../../host/examples/embed.rs")] {
        assert!(README.contains(source.trim()), "the README does not show:\n{source}");
    }
}

#[test]
fn every_promise_in_the_readme_cites_an_existing_test() {
    let section = README.split_once("\n## The promises\n").expect("there is such a section").1;
    let section = section.split("\n## ").next().expect("there is always a first part");
    assert!(tests_named_in(section) >= 8);
}

#[test]
fn every_threat_and_fault_cites_an_existing_test() {
    assert!(tests_named_in(THREATS) >= 20);
}

/// The number of tests that a text names, such as `e2e::limits::a_message_at_the_limit_is_accepted`. Fails if one of
/// them is missing from the file that its name points to.
fn tests_named_in(text: &str) -> usize {
    let mut files = Vec::new();
    let programs = ["cluster", "component", "conformance", "e2e", "ownership", "postgres", "serve", "store"];
    for folder in programs.map(|program| format!("tests/{program}")).into_iter().chain(["host/src".to_owned()]) {
        collect(&repository().join(folder), &mut files);
    }
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    let names =
        names.filter(|name| name.rsplit("::").next().is_some_and(|name| name.contains('_'))).collect::<Vec<_>>();
    for name in &names {
        let mut parts = name.rsplit("::");
        let last = parts.next().expect("there is always a first part");
        if files.iter().any(|(path, _)| path.file_stem().is_some_and(|stem| stem == last)) {
            continue; // all tests of a file
        }
        let function = format!("fn {last}(");
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
fn every_link_in_the_documents_has_a_target() {
    for (document, text) in DOCUMENTS {
        let folder = repository().join(document).parent().expect("a document is in a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { repository().join(document) } else { folder.join(file) };
            assert!(target.exists(), "{document} links to {link}, which does not exist");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
                assert!(
                    headings.any(|heading| heading == anchor),
                    "{document} links to {link}, which has no such heading"
                );
            }
        }
    }
}

/// The anchor of a heading, such as `a-rooms-life` for `## A room's life`.
fn anchor_of(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn architecture_and_contributing_cite_existing_items() {
    let mut files = Vec::new();
    for folder in ["host/src", "tests", "components/kit", "components/router"] {
        collect(&repository().join(folder), &mut files);
    }
    let sources = files.iter().map(|(_, text)| text.as_str());
    let items = sources.flat_map(|text| text.split(|letter| !is_name_character(letter))).collect::<HashSet<_>>();
    let (mut paths, mut names) = (0, 0);
    for (document, text) in [("ARCHITECTURE.md", ARCHITECTURE), ("CONTRIBUTING.md", CONTRIBUTING)] {
        // Every second piece is a block of code.
        let prose = text.split("```").step_by(2).collect::<String>();
        for code in prose.split('`').skip(1).step_by(2) {
            let is_path =
                code.contains('/') && code.chars().all(|letter| is_name_character(letter) || "/.-".contains(letter));
            let is_item = code.chars().all(|letter| is_name_character(letter) || letter == ':')
                && (code.contains('_')
                    || code.contains("::")
                    || code.starts_with(|letter: char| letter.is_uppercase()));
            if is_path && !code.starts_with('/') && !code.ends_with('/') {
                let is_there = ["", "host/src"].iter().any(|root| repository().join(root).join(code).exists());
                assert!(is_there, "{document} names the file {code}, which does not exist");
                paths += 1;
            } else if is_item {
                let missing = code.split("::").find(|part| !items.contains(part));
                assert_eq!(missing, None, "{document} names {code}, which is not in the code");
                names += 1;
            }
        }
    }
    assert!(paths > 40 && names > 20, "{paths} paths and {names} items are named");
}

fn is_name_character(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[test]
fn the_counter_is_shared_and_survives_hibernation() {
    let mut room = TestRoom::new(COUNTER);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "one");
    room.hibernate();
    room.try_send(&bo, Message::Binary(vec![2])).unwrap();
    assert_eq!(ana.received(), [0, 1, 2]);
    assert_eq!(bo.received(), [0, 1, 2]);
    room.restart();
    assert_eq!(room.get("ana", "/", "").body, b"2");
}
