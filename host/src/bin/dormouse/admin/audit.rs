//! `dormouse audit`: the last actions of operators.

use clap::Args;
use serde_json::Value;

use super::{AdminArgs, path, table};

/// The arguments of `dormouse audit`.
#[derive(Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    admin: AdminArgs,
    /// The most actions, 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

/// Prints the actions, the oldest of them first.
pub(crate) fn run(args: &Audit) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let answer = client.get(&path(&["audit"], &[("limit", Some(args.limit.to_string()))])).await?;
        args.admin.print(&answer, |answer| {
            let row = |entry: &Value| {
                let outcome = match entry["reason"].as_str() {
                    Some(reason) => format!("{}: {reason}", table::text(entry, "outcome")),
                    None => table::text(entry, "outcome"),
                };
                let [time, operator, from, action, target, detail] =
                    ["time", "operator", "from", "action", "target", "detail"].map(|key| table::text(entry, key));
                vec![time, operator, from, action, target, outcome, detail]
            };
            let rows = answer["entries"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
            table::print_table(&["TIME", "OPERATOR", "FROM", "ACTION", "TARGET", "OUTCOME", "DETAIL"], &rows)
        })
    })
}
