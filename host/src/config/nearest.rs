//! The known key that an unknown one was most likely meant to be.

/// Settings that had another name before 0.1.0, and their names now.
const RENAMED: [(&str, &str); 9] = [
    ("header_within", "header_timeout"),
    ("idle_within", "idle_timeout"),
    ("body_within", "body_timeout"),
    ("sent_within", "write_timeout"),
    ("answer_within", "answer_timeout"),
    ("pong_within", "pong_timeout"),
    ("close_within", "close_timeout"),
    ("drain_within", "drain_timeout"),
    ("turn_calls_within", "turn_calls_timeout"),
];

/// The new name of the unknown key in serde's error, or else the known key that is nearest to it.
pub(super) fn nearest_key(message: &str) -> Option<String> {
    let (_, complaint) = message.split_once("unknown field `")?;
    let (unknown, known) = complaint.split_once('`')?;
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == unknown) {
        return Some((*new).to_owned());
    }
    nearest(unknown, known.split('`').skip(1).step_by(2)).map(str::to_owned)
}

pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest_known_one() {
        let error = Config::parse("hibernate_aftr = \"1s\"").unwrap_err();
        assert!(error.contains("did you mean `hibernate_after`?"), "{error}");
        let error = Config::parse("[limits]\nawake_room = 1").unwrap_err();
        assert!(error.contains("did you mean `awake_rooms`?"), "{error}");
        for (old, new) in RENAMED {
            let error = Config::parse(&format!("[limits]\n{old} = \"1s\"")).unwrap_err();
            assert!(error.contains(&format!("did you mean `{new}`?")), "{error}");
            assert!(Config::parse(&format!("[limits]\n{new} = \"1s\"")).is_ok(), "{new}");
        }
    }
}
