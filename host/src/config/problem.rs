//! The text of an error in a configuration file, without the values of the file: a mistyped address may hold a password.
//! The errors of single settings show values that are no secrets.

/// The beginning of the text of an error with a place.
const PLACE: &str = "TOML parse error at ";
/// The beginning and the end of a text of the file in a complaint of serde.
const TEXT: (&str, &str) = ("string \"", "\", expected ");

/// The error in one line: its place, the problem and the key. The value in the line of the file is left out.
pub(super) fn shown(error: &str) -> String {
    let lines = error.trim_end().lines().collect::<Vec<_>>();
    // Three lines show the line of the file, and where in it the error is.
    let (Some(place), [_, _, line, _, rest @ ..]) = (lines[0].strip_prefix(PLACE), &lines[..]) else {
        return without_text(&lines.join(", "));
    };
    let problem = without_text(&rest.join(", "));
    match key_in(line).filter(|key| !problem.contains(&format!("`{key}`"))) {
        Some(key) => format!("{place}: {problem}, in `{key}`"),
        None => format!("{place}: {problem}"),
    }
}

/// The key that a line such as `12 | page = true` sets.
fn key_in(line: &str) -> Option<&str> {
    let (_, line) = line.split_once('|')?;
    let key = line.split_once('=')?.0.trim();
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (!key.is_empty() && key.bytes().all(is_key)).then_some(key)
}

/// A complaint about the type of a value, without the value.
fn without_text(problem: &str) -> String {
    let (begin, end) = TEXT;
    match problem.split_once(begin) {
        Some((before, behind)) => match behind.rsplit_once(end) {
            Some((_, expected)) => format!("{before}a text, expected {expected}"),
            None => problem.to_owned(),
        },
        None => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_error_names_the_place_and_the_key_in_one_line() {
        for (text, expected) in [
            ("hibernate_after = \"soon\"", "in `hibernate_after`"),
            ("page = true\nlisten = 5", "line 2, column 10: invalid type: integer `5`, expected a string, in `listen`"),
            ("page = \"yes\"", "line 1, column 8: invalid type: a text, expected a boolean, in `page`"),
        ] {
            let said = Config::parse(text).unwrap_err();
            assert!(said.ends_with(expected) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn no_error_of_an_address_shows_a_secret() {
        let namespace = "[namespaces.A]\ncomponent = \"x\"\n";
        for secret in [
            "https://ana:SECRET@otlp.example",
            "https://SECRET@otlp.example",
            "https://otlp.example?key=SECRET",
            "https://ana:SECRET@otlp.example:port",
            "ana:SECRET@otlp.example",
            "http://app.example/authorize?key=SECRET",
            "grpc://SECRET",
            "https://ana:SECRET",
            "//SECRET\\\" , expected SECRET",
        ] {
            for text in [
                format!("[telemetry]\notlp = \"{secret}\""),
                format!("[telemetry]\notlp = \"{secret}"),
                format!("[telemetry]\notlp = [\n  \"{secret}\"\n]"),
                format!("telemetry = \"{secret}\""),
                format!("[identity]\nauthorize = \"{secret}"),
                format!("[telemetry]\notlp = \"http://127.0.0.1:4318\"\nsample = \"{secret}\""),
            ] {
                let said = Config::parse(&text).unwrap_err();
                assert!(!said.contains("SECRET"), "{text}: {said}");
            }
            for text in
                [format!("[identity]\nauthorize = \"{secret}\""), format!("{namespace}outbound = [\"{secret}\"]")]
            {
                if let Err(said) = Config::parse(&text) {
                    assert!(!said.contains("SECRET") || !secret.contains(['@', '?']), "{text}: {said}");
                }
            }
        }
    }
}
