//! `dormouse revoke` and `dormouse revocations`: refuse a user or a token from now on, and take that back.

use anyhow::bail;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::table::{self, text};
use super::{AdminArgs, path, whole};
use crate::print;

/// The arguments of `dormouse revoke`.
#[derive(Args)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    whom: Whom,
}

/// The arguments of `dormouse revocations`.
#[derive(Args)]
pub(crate) struct Revocations {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what is revoked
    List(List),
    /// Remove a revocation, so that its user or its token is accepted again
    Remove(Revoke),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum Whom {
    /// A user: all tokens that were issued up to now
    User(User),
    /// One token, by its id
    Token(Token),
}

#[derive(Args)]
struct User {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id of the user: `sub` of its tokens
    #[arg(value_name = "USER")]
    user: String,
    /// Only in this room, with any token. A `*` in its name is written `\*`
    #[arg(long, value_name = "NAMESPACE/NAME")]
    room: Option<String>,
}

#[derive(Args)]
struct Token {
    #[command(flatten)]
    admin: AdminArgs,
    /// `jti` of the token
    #[arg(value_name = "JTI")]
    jti: String,
    /// `exp` of the token, in Unix seconds: after that, the revocation is forgotten
    #[arg(long, value_name = "SECONDS")]
    exp: Option<u64>,
}

impl Whom {
    fn admin(&self) -> &AdminArgs {
        match self {
            Whom::User(user) => &user.admin,
            Whom::Token(token) => &token.admin,
        }
    }

    /// The body of a request about it, and its name for people.
    fn described(&self) -> (Value, String) {
        let (body, name) = match self {
            Whom::User(User { user, room: None, .. }) => (json!({ "user": user }), format!("user {user}")),
            Whom::User(User { user, room: Some(room), .. }) => {
                (json!({ "user": user, "room": room }), format!("user {user} in {room}"))
            }
            Whom::Token(Token { jti, exp: None, .. }) => (json!({ "jti": jti }), format!("token {jti}")),
            Whom::Token(Token { jti, exp: Some(exp), .. }) => {
                (json!({ "jti": jti, "exp": exp }), format!("token {jti}"))
            }
        };
        (body, table::shown(&name))
    }

    fn send(&self, method: Method, say: impl FnOnce(&str, &Value) -> String) -> anyhow::Result<()> {
        let (body, name) = self.described();
        self.admin().run(async |client| {
            let answer =
                whole(client.send(method, &path(&["revocations"], &[]), body.to_string().into()).await?).await?;
            self.admin().print(&answer, |answer| print::line(say(&name, answer)))?;
            match table::missing(&answer) {
                Some(missing) => bail!(
                    "these nodes may not know of it yet; they read it from the database before they let anybody in: \
                     {missing}. Repeat the command to know that they have"
                ),
                None => Ok(()),
            }
        })
    }
}

/// Revokes, and says how many sockets were closed.
pub(crate) fn revoke(args: &Revoke) -> anyhow::Result<()> {
    args.whom.send(Method::POST, |name, answer| format!("{name} is revoked; {}", table::closed_sockets(answer)))
}

/// Runs the command.
pub(crate) fn run(args: &Revocations) -> anyhow::Result<()> {
    match &args.command {
        Command::List(List { admin }) => admin.run(async |client| {
            let answer = client.get(&path(&["revocations"], &[])).await?;
            admin.print(&answer, print_list)
        }),
        Command::Remove(Revoke { whom }) => whom.send(Method::DELETE, |name, _| format!("{name} is no longer revoked")),
    }
}

fn print_list(answer: &Value) -> anyhow::Result<()> {
    let row = |entry: &Value| {
        let (kind, id) = if entry["jti"].is_string() { ("token", "jti") } else { ("user", "user") };
        let refused = match (entry["before"].as_u64(), entry["exp"].as_u64()) {
            (Some(before), _) => format!("tokens issued until {}", table::moment(before)),
            (_, Some(exp)) => format!("until it expires, {}", table::moment(exp)),
            (None, None) => "until the revocation is removed".into(),
        };
        vec![kind.to_owned(), text(entry, id), text(entry, "room"), refused]
    };
    let rows = answer["revocations"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
    table::print_table(&["KIND", "ID", "ROOM", "REFUSED"], &rows)
}
