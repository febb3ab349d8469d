//! `dormouse usage`: what rooms, namespaces or users have used.

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{ANSWER_BYTES, AdminArgs, AdminClient, path, table};
use crate::print;

/// The rows that are asked for at once.
const ROWS_A_PAGE: usize = 1_000;

/// The arguments of `dormouse usage`.
#[derive(Args)]
pub(crate) struct Usage {
    #[command(flatten)]
    admin: AdminArgs,
    /// The subjects of the rows
    #[arg(long, value_enum, default_value_t = By::Room)]
    by: By,
    /// How long ago the time begins, such as 24h or 7d, or a time such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,
    /// How long ago it ends, or a time [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only rooms of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only names with this beginning; for rooms with --namespace
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// The most rows [default: all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print CSV, for a spreadsheet or a database
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each room
    Room,
    /// Each namespace
    Namespace,
    /// Each user
    User,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::Room => "room",
            By::Namespace => "namespace",
            By::User => "user",
        }
    }
}

/// Prints the rows of all pages.
pub(crate) fn run(args: &Usage) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        if args.csv {
            return print_csv(args, client).await;
        }
        let all = all_pages(args, client).await?;
        args.admin.print(&all, |all| print_rows(args.by, all))
    })
}

impl Usage {
    /// The path of a page of so many rows at most.
    fn page(&self, rows: usize, after: Option<&str>, times: Option<(&str, &str)>) -> String {
        let format = self.csv.then(|| "csv".to_owned());
        let (since, until) = match times {
            Some((from, until)) => (from.to_owned(), Some(until.to_owned())),
            None => (self.since.clone(), self.until.clone()),
        };
        let parameters = [
            ("by", Some(self.by.name().to_owned())),
            ("since", Some(since)),
            ("until", until),
            ("namespace", self.namespace.clone()),
            ("prefix", self.prefix.clone()),
            ("limit", Some(rows.to_string())),
            ("after", after.map(str::to_owned)),
            ("format", format),
        ];
        path(&["usage"], &parameters)
    }

    /// The rows of the next page, after so many.
    fn rows_after(&self, rows: usize) -> usize {
        let wanted = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        wanted.saturating_sub(rows).min(ROWS_A_PAGE)
    }
}

/// The first page with the rows of the others.
async fn all_pages(args: &Usage, client: &AdminClient) -> anyhow::Result<Value> {
    let mut all = client.get(&args.page(args.rows_after(0), None, None)).await?;
    loop {
        let rows = all["rows"].as_array().context("the answer has no rows")?.len();
        let more = args.rows_after(rows);
        let (Some(next), true) = (all["next"].as_str(), more > 0) else { return Ok(all) };
        // A page that is asked for after the hour has struck shows the same hours.
        let times = all["from"].as_str().zip(all["until"].as_str());
        let mut page = client.get(&args.page(more, Some(next), times)).await?;
        all["next"] = page["next"].take();
        if let (Value::Array(all), Value::Array(rows)) = (&mut all["rows"], page["rows"].take()) {
            all.extend(rows);
        }
    }
}

async fn print_csv(args: &Usage, client: &AdminClient) -> anyhow::Result<()> {
    let (mut rows, mut after, mut is_first) = (0, None::<String>, true);
    loop {
        let path = args.page(args.rows_after(rows), after.as_deref(), None);
        let answer = client.send(Method::GET, &path, Bytes::new()).await?;
        after = answer.headers().get("dormouse-next").and_then(|next| next.to_str().ok()).map(decoded);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?.to_bytes();
        let text = std::str::from_utf8(&body).context("the answer is not text: is this the admin listener?")?;
        for line in text.lines().skip(usize::from(!is_first)) {
            print::line(line)?;
        }
        rows += text.lines().count().saturating_sub(1);
        is_first = false;
        if after.is_none() || args.rows_after(rows) == 0 {
            return Ok(());
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A column of the table: its heading, and the text of a row.
type Column = (&'static str, fn(&Value) -> String);

const TURNS: [Column; 3] = [
    ("EVENTS", |row| number(row, "events").to_string()),
    ("TURNS", |row| number(row, "turns").to_string()),
    ("CPU", |row| format!("{:.3}s", number(row, "cpuSeconds"))),
];
const CONNECTED: [Column; 1] = [("CONNECTED", |row| time(number(row, "connectedSeconds")))];
const AWAKE: [Column; 3] = [
    ("AWAKE", |row| time(number(row, "awakeSeconds"))),
    ("ASLEEP", |row| time(number(row, "asleepSeconds"))),
    ("SAVED", saved),
];
const TRAFFIC: [Column; 3] = [
    ("IN", |row| bytes(number(row, "bytesIn"))),
    ("OUT", |row| bytes(number(row, "bytesOut"))),
    ("DELIVERIES", |row| number(row, "deliveries").to_string()),
];
const STORED: [Column; 2] = [
    ("STORED", |row| format!("{} h", bytes(number(row, "storageByteSeconds") / 3_600.0))),
    ("TIMERS", |row| number(row, "timers").to_string()),
];
const CALLS: [Column; 1] = [("CALLS", |row| number(row, "calls").to_string())];

fn print_rows(by: By, answer: &Value) -> anyhow::Result<()> {
    let columns = match by {
        By::User => [&TURNS[..], &CONNECTED, &TRAFFIC, &CALLS].concat(),
        By::Room | By::Namespace => [&TURNS[..], &AWAKE, &TRAFFIC, &STORED, &CALLS].concat(),
    };
    let heading = match by {
        By::Room => "ROOM",
        By::Namespace => "NAMESPACE",
        By::User => "USER",
    };
    let headings = [heading].into_iter().chain(columns.iter().map(|(heading, _)| *heading)).collect::<Vec<_>>();
    let row = |row: &Value| {
        let name = row[by.name()].as_str().unwrap_or_default();
        let name = if row["other"] == true { format!("{name}(other)") } else { name.to_owned() };
        [name].into_iter().chain(columns.iter().map(|(_, text)| text(row))).collect()
    };
    let rows = answer["rows"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
    table::print_table(&headings, &rows)?;
    let [from, until] = ["from", "until"].map(|key| answer[key].as_str().map(table::shown).unwrap_or_default());
    print::line(format_args!("from {from} until {until}, without the last half minute of rooms that are awake"))
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_default()
}

/// How much of the time with sockets or an instance needed no instance.
fn saved(row: &Value) -> String {
    let (awake, asleep) = (number(row, "awakeSeconds"), number(row, "asleepSeconds"));
    if awake + asleep > 0.0 { format!("{:.1}%", 100.0 * asleep / (awake + asleep)) } else { String::new() }
}

/// A time in its two largest units.
fn time(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = units.iter().enumerate().rev().find(|(power, _)| bytes >= 1_024_f64.powi(*power as i32));
    let (power, unit) = unit.unwrap_or((0, &"B"));
    let digits = usize::from(power > 0);
    format!("{:.digits$} {unit}", bytes / 1_024_f64.powi(power as i32))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_shown_in_units_for_people() {
        assert_eq!([0.0, 59.94, 61.0, 7_260.0, 200_000.0].map(time), ["0.0s", "59.9s", "1m 1s", "2h 1m", "2d 7h"]);
        assert_eq!([0.0, 1_023.0, 1_536.0, 3e12].map(bytes), ["0 B", "1023 B", "1.5 KiB", "2.7 TiB"]);
        assert_eq!(saved(&json!({ "awakeSeconds": 1.0, "asleepSeconds": 3.0 })), "75.0%");
        assert_eq!(saved(&json!({ "awakeSeconds": 0.0, "asleepSeconds": 0.0 })), "");
    }
}
