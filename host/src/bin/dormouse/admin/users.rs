//! `dormouse users`: who is connected, an end to it, and the data of a user in all rooms.

use anyhow::bail;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::personal_data::{self, Erase, Erasures, Export};
use super::rooms::{Page, print_next};
use super::table::{self, ago, size, text};
use super::{AdminArgs, path, whole};
use crate::print;

/// The arguments of `dormouse users`.
#[derive(Args)]
pub(crate) struct Users {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List users with sockets
    List(List),
    /// Show the sockets of a user
    Show(Show),
    /// Close the sockets of a user, who may come back; to keep a user out, revoke
    Disconnect(Disconnect),
    /// Print what all rooms and the server keep about a user, as JSON lines
    Export(Export),
    /// Erase a user in all rooms whose component declares how, and wait for it
    Erase(Erase),
    /// List erasures of users, show one, or end one
    Erasures(Erasures),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only ids that begin with this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,
    #[command(flatten)]
    page: Page,
}

#[derive(Args)]
struct Show {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id of the user
    #[arg(value_name = "USER")]
    user: String,
}

#[derive(Args)]
struct Disconnect {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id of the user
    #[arg(value_name = "USER")]
    user: String,
    /// Only in this room, such as ROOMS/lobby
    #[arg(long, value_name = "NAMESPACE/NAME")]
    room: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Users) -> anyhow::Result<()> {
    match &args.command {
        Command::Export(args) => personal_data::export(args),
        Command::Erase(args) => personal_data::erase(args),
        Command::Erasures(args) => personal_data::erasures(args),
        Command::List(args) => args.admin.run(async |client| {
            let [limit, after] = args.page.parameters();
            let parameters = [("prefix", args.prefix.clone()), limit, after];
            let answer = client.get(&path(&["users"], &parameters)).await?;
            args.admin.print(&answer, |answer| {
                let row = |user: &Value| ["user", "userName", "sockets", "rooms"].map(|key| text(user, key)).to_vec();
                let rows = answer["users"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
                table::print_table(&["USER", "NAME", "SOCKETS", "ROOMS"], &rows)?;
                table::print_missing(answer)?;
                print_next(answer)
            })
        }),
        Command::Show(args) => args.admin.run(async |client| {
            let answer = client.get(&path(&["users", &args.user], &[])).await?;
            args.admin.print(&answer, |answer| {
                let row = |client: &Value| {
                    vec![
                        text(client, "room"),
                        text(client, "kind"),
                        ago(&client["since"]),
                        size(&client["queuedBytes"]),
                        text(client, "service"),
                    ]
                };
                let rows = answer["clients"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
                table::print_table(&["ROOM", "KIND", "CONNECTED", "QUEUED", "SERVICE"], &rows)?;
                table::print_missing(answer)?;
                let (shown, count) = (rows.len() as u64, answer["sockets"].as_u64().unwrap_or_default());
                if count > shown { print::line(format_args!("and {} more", count - shown)) } else { Ok(()) }
            })
        }),
        Command::Disconnect(args) => args.admin.run(async |client| {
            let body = args.room.as_ref().map(|room| json!({ "room": room }).to_string()).unwrap_or_default();
            let to = path(&["users", &args.user, "disconnect"], &[]);
            let answer = whole(client.send(Method::POST, &to, body.into()).await?).await?;
            args.admin.print(&answer, |answer| print::line(table::closed_sockets(answer)))?;
            match table::missing(&answer) {
                Some(missing) => bail!("these nodes did not answer, and the user may be connected there: {missing}"),
                None => Ok(()),
            }
        }),
    }
}
