//! `dormouse tail`: what happens in rooms, line by line, until it is interrupted.

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use super::table::{self, clock_time, count_of, micros, size, text};
use super::{AdminArgs, path};
use crate::print;

/// The longest line that is expected, in bytes. A log line has some kilobytes.
const LINE_BYTES: usize = 1 << 20;

/// The arguments of `dormouse tail`.
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    admin: AdminArgs,
    /// Follow one room, such as ROOMS/lobby
    #[arg(long, value_name = "NAMESPACE/NAME", group = "of")]
    room: Option<String>,
    /// Follow all rooms of a namespace
    #[arg(long, value_name = "NAME", group = "of")]
    namespace: Option<String>,
    /// Follow the events of a user, in all rooms
    #[arg(long, value_name = "USER", group = "of")]
    user: Option<String>,
    /// End after so many lines
    #[arg(long, value_name = "COUNT")]
    lines: Option<u64>,
}

/// Prints lines until the server ends them. Without a room, a namespace or a user it follows all rooms.
pub(crate) fn run(args: &Tail) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let parameters =
            [("room", args.room.clone()), ("namespace", args.namespace.clone()), ("user", args.user.clone())];
        let answer = client.send(Method::GET, &path(&["tail"], &parameters), Bytes::new()).await?;
        let mut body = answer.into_body();
        let (mut read, mut printed) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the server has gone")?;
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line = read.split_to(end);
                read.advance(1);
                let line: Value = serde_json::from_slice(&line).context("a line is not JSON")?;
                // It only shows that the server is there.
                if line["type"] == "alive" {
                    continue;
                }
                if args.admin.json {
                    print::line(table::shown_json(&line.to_string()))?;
                } else {
                    print::line(table::shown(&for_people(&line)))?;
                }
                printed += 1;
                if args.lines == Some(printed) {
                    return Ok(());
                }
            }
            if read.len() > LINE_BYTES {
                bail!("a line is longer than {LINE_BYTES} bytes: is this the admin listener?");
            }
        }
        Ok(())
    })
}

fn for_people(line: &Value) -> String {
    let said = match line["type"].as_str().unwrap_or_default() {
        "turn" => {
            let refused = line["refused"].as_str().map(|reason| format!(", refused with {reason}")).unwrap_or_default();
            format!(
                "{}{} {}, CPU {}, {}, commit {}{refused}",
                text(line, "event"),
                by(line),
                size(&line["bytes"]),
                micros(&line["cpuMicros"]),
                count_of(line, "outputs", "output"),
                line["commit"]
            )
        }
        "failure" => {
            let cpu = micros(&line["cpuMicros"]);
            format!("{}{} FAILED, CPU {cpu}: {}", text(line, "event"), by(line), text(line, "error"))
        }
        "migration" => {
            let cpu = micros(&line["cpuMicros"]);
            format!("the data was migrated from version {} to {}, CPU {cpu}", line["from"], line["to"])
        }
        "commit" => {
            format!(
                "commit {} durable after {}, {}",
                line["commit"],
                micros(&line["micros"]),
                count_of(line, "turns", "turn")
            )
        }
        "log" => format!("{}: {}", text(line, "level"), text(line, "line")),
        "node" => {
            let node = format!("node {} ({})", text(line, "node"), text(line, "address"));
            return format!("… {node} is not followed now: {}", text(line, "notFollowed"));
        }
        "lost" => return format!("… {} lost: this reader was too slow", count_of(line, "lines", "line")),
        _ => return line.to_string(),
    };
    format!("{} {} {said}", clock_time(&line["time"]), text(line, "room"))
}

fn by(line: &Value) -> String {
    line["user"].as_str().map(|user| format!(" of {user}")).unwrap_or_default()
}
