//! Reads a filter for the log, and refuses one that would log nothing: with a word that is not a level, a part of the
//! program that does not exist or does not log, or a span that does not exist. Dependencies are not checked.

use std::collections::BTreeSet;

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Modules of this program that log under their own names; `build.rs` lists them.
const MODULES: &[&str] = include!(concat!(env!("OUT_DIR"), "/modules_that_log.rs"));
/// The target of what rooms log.
const ROOM: &str = "room";
/// The spans of this program: one for each turn of a room.
const SPANS: [&str; 1] = ["room"];
/// A first part of a target that is so similar to `dormouse` is a misspelt one.
const SIMILAR: f64 = 0.9;

/// Checks a filter; the error says what to write instead.
pub fn read(text: &str) -> Result<String, String> {
    let directives = split(text).into_iter().map(str::trim).collect::<Vec<_>>();
    for directive in &directives {
        check(directive)?;
    }
    let filter = directives.join(",");
    let levels = "the levels are off, error, warn, info, debug and trace";
    EnvFilter::try_new(&filter).map_err(|error| format!("{error}; {levels}"))?;
    Ok(filter)
}

/// One of the parts between commas: `LEVEL`, `TARGET=LEVEL`, or with a span `TARGET[SPAN{FIELDS}]=LEVEL`.
fn check(directive: &str) -> Result<(), String> {
    let (target, span, level) = match directive.split_once('[') {
        Some((target, rest)) => {
            let (span, rest) = rest.rsplit_once(']').unwrap_or((rest, ""));
            (target, Some(span), rest.strip_prefix('='))
        }
        None => match directive.split_once('=') {
            Some((target, level)) => (target, None, Some(level)),
            None => ("", None, Some(directive)),
        },
    };
    if let Some(level) = level
        && !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    {
        let next = "write one of them, or PART=LEVEL such as dormouse::store=debug";
        return Err(format!(
            "`{level}` is not a level: the levels are off, error, warn, info, debug and trace; {next}"
        ));
    }
    check_target(target)?;
    let name = span.map(|span| span.split('{').next().unwrap_or(span)).filter(|name| !name.is_empty());
    match name {
        Some(name) if !SPANS.contains(&name) => Err(format!(
            "there is no span `{name}`, so this logs nothing; write `[room]=LEVEL` or `[room{{address=ROOM}}]=LEVEL`"
        )),
        _ => Ok(()),
    }
}

/// Whether a module is this one or below it.
fn is_within(module: &str, parent: &str) -> bool {
    module.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn check_target(target: &str) -> Result<(), String> {
    let first = target.split("::").next().unwrap_or(target);
    if first != "dormouse" {
        if target.contains(char::is_whitespace) {
            return Err(format!("`{target}` is not a target; put a comma between two parts of a filter"));
        }
        if LEVELS.iter().any(|level| level.eq_ignore_ascii_case(target)) {
            return Err(format!(
                "`{target}` is a level and not a target; write PART=LEVEL such as dormouse::store=debug"
            ));
        }
        let ours = format!("dormouse::{target}");
        if target != ROOM && !target.is_empty() && MODULES.iter().any(|module| is_within(module, &ours)) {
            return Err(format!("`{target}` logs nothing; did you mean `{ours}`?"));
        }
        // Underscores and case differ easily.
        return match strsim::jaro_winkler(&first.to_ascii_lowercase(), "dormouse") {
            similar if similar >= SIMILAR => Err(format!(
                "`{target}` names no part of this program; did you mean `dormouse{}`?",
                &target[first.len()..]
            )),
            _ => Ok(()),
        };
    }
    if MODULES.iter().any(|module| module.starts_with(target)) {
        return Ok(());
    }
    // A folder logs in its files.
    let parts =
        MODULES.iter().flat_map(|module| module.match_indices("::").map(|(end, _)| &module[..end]).chain([*module]));
    let parts = parts.filter(|part| part.contains("::")).collect::<BTreeSet<_>>();
    // By edits and not by similar beginnings, since all begin with `dormouse::`.
    let nearest = parts.iter().min_by_key(|part| strsim::osa_distance(part, target));
    let nearest = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    let parts = parts.iter().filter(|part| part.matches("::").count() == 1).copied().collect::<Vec<_>>().join(", ");
    Err(format!("`{target}` logs nothing{nearest} The parts that log are {parts}, and {ROOM} for what rooms log"))
}

/// Splits at the commas that are not inside of a span's brackets or a field's quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut is_quoted) = (0_u32, false);
    text.split(|char| {
        match char {
            '"' => is_quoted = !is_quoted,
            '[' | '{' if !is_quoted => depth += 1,
            ']' | '}' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        char == ',' && depth == 0 && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_consists_of_targets_and_levels() {
        for good in
            ["info", "OFF", "Warn", "info,dormouse::store=debug", " info , room=off ", "dormouse=trace", "[room]=debug"]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in
            ["warning", "verbose", "infos", "", "info,", ",", "dormouse", "info,dormouse::store=loud", "=", "a=", "3x"]
        {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains("off, error, warn, info, debug and trace"), "{bad}: {problem}");
        }
    }

    #[test]
    fn a_filter_without_a_known_target_is_refused_with_advice() {
        for good in [
            "dormouse::edge=debug,dormouse::store::group=trace",
            "dormouse::sto=debug",
            "wasmtime::runtime=debug,h2=info",
            "server=info,room=debug",
            "info,[room{address=\"ROOMS/a\"}]=debug",
            "dormouse::room[room]=debug",
            "[{address=\"ROOMS/lobby\"}]=debug",
        ] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        for (bad, says) in [
            ("dormouse::stoer=debug", "did you mean `dormouse::store`?"),
            ("info,dormouse::stor::group=debug", "did you mean `dormouse::store::group`?"),
            ("dormouse::nowhere=debug", "The parts that log are dormouse::"),
            ("dormouse::nowhere=debug", "dormouse::store"),
            ("dormouse::stoer[room]=debug", "`dormouse::stoer` logs nothing"),
            ("dormous::store=debug", "did you mean `dormouse::store`?"),
            ("Dormouse=debug", "did you mean `dormouse`?"),
            ("info dormouse=debug", "put a comma between two parts"),
            ("trace=info", "`trace` is a level and not a target"),
            ("store=debug", "did you mean `dormouse::store`?"),
            ("info,edge::admin=debug", "did you mean `dormouse::edge::admin`?"),
            ("[span]=info", "there is no span `span`"),
            ("info,[turn{address=\"x\"}]=debug", "there is no span `turn`"),
            ("[room]=loud", "`loud` is not a level"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }
}
