//! `dormouse check --as TOKEN ROOM`: says what the user of a token may do in a room, and why.
//!
//! It asks the same policy, or the same server of the operator, that the host asks, looks at the revocations in the data
//! directory or in the database, and prints the answer.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail};
use dormouse::config::{AccessMode, Config};
use dormouse::edge::{Access, Authorizer, Pattern, Role, Verified, Verifier};
use dormouse::model::{Address, Permission, Permissions};
use dormouse::outbound::HttpClient;
use dormouse::revocations::Revocations;
use dormouse::store::postgres::Tables;

use crate::print;

/// The most that is read from stdin, in bytes: more than the longest token with the line breaks around it.
const STDIN_BYTES: u64 = 64 << 10;

/// Prints what the user of `token` may do in `room`, such as `rooms/team-7`. The token `-` is read from stdin.
pub(crate) fn print(config: &Config, token: &str, room: &str) -> anyhow::Result<()> {
    let token = if token == "-" { read_stdin()? } else { token.to_owned() };
    let verified = Verifier::new(config)?.verify(&token).context("--as")?;
    let access = Access::new(config);
    let room = find(&access, room)?;
    let standing = access.standing(&room, &verified.grants);
    let (user, name) = (&verified.room_user().id, access.spelled(&room));
    print::line(format_args!("{user} in {name}"))?;
    if let Role::Service { acts_for } = &verified.role {
        let acts_for = acts_for.as_ref().map_or("itself", |user| &user.id);
        let service = &verified.user.id;
        print::line(format_args!("  {service} is a service, which acts for {acts_for}; its own grants count"))?;
    }
    let revocations = known_revocations(config);
    if let Ok(known) = &revocations
        && let Some(reason) = revoked(&verified, known, &name)
    {
        print_permissions(Permissions::NONE)?;
        return print::line(format_args!("  because {reason}, says {}", kept_in(config)));
    }
    if let Some(url) = &config.identity.authorize
        && standing.mode == AccessMode::Granted
        && !verified.is_service()
    {
        let outbound = HttpClient::new(config.outbound_ca.as_deref())?;
        let authorizer = Authorizer::new(config, &outbound)?.context("identity.authorize is set")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace);
        let asked = runtime.block_on(authorizer.ask_once(&verified, &room, namespace));
        let permissions = asked
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{}{} gave no decision; users get 503 meanwhile", url.origin(), url.path()))?;
        print_permissions(permissions)?;
        print::line(format_args!("  because {}{} decided so just now", url.origin(), url.path()))?;
        return print_revocations(config, &revocations);
    }
    print_permissions(standing.permissions)?;
    let decides = |patterns: &[&Pattern]| {
        let quoted = patterns.iter().map(|pattern| format!("`{pattern}`")).collect::<Vec<_>>();
        match &quoted[..] {
            [one] => format!("the grant {one} decides: it is the most specific one that matches"),
            several => {
                format!("the grants {} are equally specific, so what all of them give counts", several.join(", "))
            }
        }
    };
    let reason = match (standing.mode, &standing.deciding) {
        (AccessMode::Open, None) => "the access of the namespace is open".to_owned(),
        (AccessMode::Open, Some(deciding)) => {
            format!("the access of the namespace is open; beyond that, {}", decides(&deciding.patterns))
        }
        (AccessMode::Granted, Some(deciding)) => decides(&deciding.patterns),
        (AccessMode::Granted, None) if verified.grants.is_empty() => {
            let claim = &config.identity.grants_claim;
            match verified.grants.has_no_claim() {
                true => format!("the token has no claim `{claim}`, where its grants are expected"),
                false => format!("the claim `{claim}` of the token grants nothing"),
            }
        }
        (AccessMode::Granted, None) => {
            let patterns = verified.grants.iter().map(|(pattern, _)| format!("`{pattern}`")).collect::<Vec<_>>();
            format!("no grant of the token matches: it has {}", patterns.join(", "))
        }
    };
    print::line(format_args!("  because {reason}"))?;
    print_revocations(config, &revocations)
}

/// A token from stdin, without the white space around it.
fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(STDIN_BYTES).read_to_string(&mut text).context("--as -: stdin cannot be read as text")?;
    let token = text.trim();
    if token.is_empty() {
        bail!("--as -: stdin is empty; write the token to it, as in: dormouse check --as - rooms/team-7 < token");
    }
    Ok(token.to_owned())
}

/// The place of the revocations.
fn kept_in(config: &Config) -> String {
    match &config.store.url {
        Some(url) => url.to_string(),
        None => config.data.display().to_string(),
    }
}

/// The revocations in the database or in the data directory, or the reason why they are not known.
fn known_revocations(config: &Config) -> Result<Revocations, String> {
    if let Some(settings) = dormouse::database(config).map_err(|error| error.to_string())? {
        let table = Arc::new(Tables::new(&settings.target));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let read = runtime.block_on(Revocations::shared(table, false, None, config.identity.leeway));
        return read.map_err(|error| error.to_string());
    }
    let data = &config.data;
    if !data.is_dir() {
        return Err(format!("there is no data directory {}", data.display()));
    }
    Revocations::open(data, config.identity.leeway).map_err(|error| error.to_string())
}

/// The reason why a revocation refuses the token, or keeps its user out of the room.
fn revoked(verified: &Verified, revocations: &Revocations, room: &str) -> Option<&'static str> {
    if verified.check_revoked(revocations).is_err() {
        return Some("the token or its user was revoked");
    }
    verified.is_sent_out(revocations, room).then_some("the user was sent out of this room")
}

fn print_revocations(config: &Config, known: &Result<Revocations, String>) -> anyhow::Result<()> {
    match known {
        Ok(_) => print::line(format_args!("  no revocation in {} concerns this token here", kept_in(config))),
        Err(problem) => print::line(format_args!("  revocations were not looked at: {problem}")),
    }
}

/// The room of an address as tokens write it: the namespace as in a path, and the name decoded.
fn find(access: &Access, room: &str) -> anyhow::Result<Address> {
    let (namespace, _) =
        room.split_once('/').with_context(|| format!("`{room}` is not a room; write one such as rooms/team-7"))?;
    access.find(room).with_context(|| {
        format!(
            "there is no room `{room}`: the configuration has no namespace `{namespace}`, or no room can have this name"
        )
    })
}

fn print_permissions(permissions: Permissions) -> anyhow::Result<()> {
    print::line(format_args!("  may: {}", or_nothing(permissions)))?;
    let missing = Permission::ALL.into_iter().filter(|permission| !permissions.has(*permission));
    print::line(format_args!("  may not: {}", or_nothing(missing.collect())))
}

fn or_nothing(permissions: Permissions) -> String {
    if permissions == Permissions::NONE { "nothing".into() } else { permissions.to_string() }
}
