//! Reads a filter for the log, and refuses one that would log nothing: with a word that is not a level, a part of the
//! program or a dependency that does not exist or does not log, or a span or a field that does not exist.

use std::collections::BTreeSet;

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Modules of this program that log under their own names; `build.rs` lists them.
const MODULES: &[&str] = include!(concat!(env!("OUT_DIR"), "/modules_that_log.rs"));
/// Dependencies that log under their own names; `build.rs` lists them.
const CRATES: &[&str] = include!(concat!(env!("OUT_DIR"), "/crates_that_log.rs"));
/// The fields of spans; `build.rs` lists them.
const FIELDS: &[&str] = include!(concat!(env!("OUT_DIR"), "/fields_of_spans.rs"));
/// The targets without a module: what rooms log, and the announcements of the server in JSON.
const NAMED: [&str; 2] = [ROOM, "server"];
/// Dependencies whose lines are off by default, whether they are built with a log or not.
const LISTED: [&str; 2] = ["h2", "hyper"];
/// The target of what rooms log.
const ROOM: &str = "room";
/// The spans of this program: one for each turn of a room.
const SPANS: [&str; 1] = ["room"];
/// A name that is so similar to a known one is a misspelt one.
const SIMILAR: f64 = 0.8;

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
    span.map_or(Ok(()), check_span)
}

/// Checks a span and its fields, such as `room{room=ROOMS/lobby}`.
fn check_span(span: &str) -> Result<(), String> {
    let (name, fields) = span.split_once('{').unwrap_or((span, ""));
    if !name.is_empty() && !SPANS.contains(&name) {
        return Err(format!(
            "there is no span `{name}`, so this logs nothing; write `[room]=LEVEL` or `[room{{room=ROOM}}]=LEVEL`"
        ));
    }
    for field in split(fields.trim_end_matches('}')) {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = key.trim();
        // Without a span and a value it may be the field of any event.
        let is_of_span = !name.is_empty() || value.is_some();
        if is_of_span && !key.is_empty() && !FIELDS.contains(&key) {
            let known = FIELDS.join("`, `");
            return Err(format!("no span has a field `{key}`, so this logs nothing; the fields are `{known}`"));
        }
    }
    Ok(())
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
        return check_dependency(target, first);
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

/// Checks a target outside of this program. A filter also applies to all names that begin with its target.
fn check_dependency(target: &str, first: &str) -> Result<(), String> {
    let known = || NAMED.iter().chain(CRATES).chain(&LISTED).copied();
    if target.is_empty() || known().any(|known| known == first || known.starts_with(target)) {
        return Ok(());
    }
    // Underscores and case differ easily.
    let lower = first.to_ascii_lowercase().replace('-', "_");
    let similarity = |known: &str| strsim::jaro_winkler(&lower, known);
    let nearest = known().chain(["dormouse"]).max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let nearest = nearest.filter(|nearest| similarity(nearest) >= SIMILAR);
    let advice = nearest.map(|nearest| {
        let rest = if nearest == "dormouse" { &target[first.len()..] } else { "" };
        format!("; did you mean `{nearest}{rest}`?")
    });
    let advice = advice.unwrap_or_else(|| {
        let all = known().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        format!("; besides dormouse, these log: {all}")
    });
    Err(format!("`{target}` names no part of this program and no dependency that logs{advice}"))
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
            "dormouse::edge=debug,dormouse::store::fjall=trace",
            "dormouse::sto=debug",
            "wasmtime_wasi=debug,h2=info",
            "server=info,room=debug",
            "info,[room{room=\"ROOMS/a\"}]=debug",
            "dormouse::room[room]=debug",
            "[{room=\"ROOMS/lobby\"}]=debug",
            "[{user}]=debug",
            "hyper=debug,h2::codec=debug,wasmtime_wasi::p2=info,wasmtime=warn",
        ] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        for (bad, says) in [
            ("dormouse::stoer=debug", "did you mean `dormouse::store`?"),
            ("info,dormouse::stor::fjall=debug", "did you mean `dormouse::store::fjall`?"),
            ("dormouse::nowhere=debug", "The parts that log are dormouse::"),
            ("dormouse::nowhere=debug", "dormouse::store"),
            ("dormouse::stoer[room]=debug", "`dormouse::stoer` logs nothing"),
            ("dormous::store=debug", "did you mean `dormouse::store`?"),
            ("Dormouse=debug", "did you mean `dormouse`?"),
            ("info dormouse=debug", "put a comma between two parts"),
            ("trace=info", "`trace` is a level and not a target"),
            ("store=debug", "did you mean `dormouse::store`?"),
            ("info,edge::admin=debug", "did you mean `dormouse::edge::admin`?"),
            ("hyperr=debug", "did you mean `hyper`?"),
            ("wasmtime-wasi::p2=debug", "did you mean `wasmtime_wasi`?"),
            ("fjall=debug", "besides dormouse, these log: "),
            ("zzz=debug", "besides dormouse, these log: "),
            ("[room{rom=x}]=debug", "no span has a field `rom`, so this logs nothing; the fields are `room`"),
            ("[room{rom}]=debug", "no span has a field `rom`"),
            ("[{rom=\"ROOMS/a,b\"}]=debug", "no span has a field `rom`"),
            ("info,dormouse[room{room=a,user=b}]=debug", "no span has a field `user`"),
            ("[span]=info", "there is no span `span`"),
            ("info,[turn{room=\"x\"}]=debug", "there is no span `turn`"),
            ("[room]=loud", "`loud` is not a level"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }
}
