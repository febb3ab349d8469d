//! `dormouse nodes`: the nodes of a cluster, as the server that is asked sees them.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::AdminArgs;
use super::table::{self, ago, text};
use crate::print;

/// The arguments of `dormouse nodes`.
#[derive(Args)]
pub(crate) struct Nodes {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the nodes.
pub(crate) fn run(args: &Nodes) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let answer = client.get("/nodes").await?;
        args.admin.print(&answer, |answer| {
            let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            if nodes.is_empty() {
                return print::line("This server is not a node of a cluster");
            }
            let heading = ["NODE", "ADDRESS", "STATE", "LAST BEAT", "STARTED", "ROOMS", "AWAKE", "SOCKETS", "VERSION"];
            table::print_table(&heading, &nodes.iter().map(row).collect::<Vec<_>>())?;
            for node in nodes.iter().filter(|node| node["problem"].is_string()) {
                let problem = table::shown(&text(node, "problem"));
                print::line(format_args!("node {} ({}): {problem}", text(node, "node"), text(node, "address")))?;
            }
            Ok(())
        })
    })
}

fn row(node: &Value) -> Vec<String> {
    let state = text(node, "state");
    let beat = Duration::from_millis(node["beatAgoMs"].as_u64().unwrap_or_default());
    vec![
        text(node, "node"),
        text(node, "address"),
        if node["here"] == true { format!("{state}, asked") } else { state },
        format!("{:.1} s ago", beat.as_secs_f64()),
        ago(&node["since"]),
        text(node, "rooms"),
        text(node, "awakeRooms"),
        text(node, "sockets"),
        text(node, "version"),
    ]
}
