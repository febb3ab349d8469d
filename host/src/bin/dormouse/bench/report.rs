//! The results of a scenario: a table for people, JSON for programs, and a progress line.

use std::fmt;
use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use super::latency::ByKey;
use super::process::Usage;

/// The results of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) settings: Value,
    /// The length of the measurement.
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) per_second: PerSecond,
    /// In microseconds, by the name of the measurement.
    pub(super) latency: ByKey,
    pub(super) server: Option<Server>,
    /// The reason why the results are doubtful.
    pub(super) complaint: Option<String>,
}

/// Counts. The first two are those of the measurement, and the faults those of the whole run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) sends: u64,
    pub(super) deliveries: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// Sockets and requests that failed.
    pub(super) failed: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct PerSecond {
    pub(super) sends: f64,
    pub(super) deliveries: f64,
}

/// The resources that the server's process used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Server {
    pub(super) pid: u32,
    /// During the measurement.
    pub(super) cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds_per_million_deliveries: Option<f64>,
    /// Before the first connection.
    pub(super) resident_bytes_before: u64,
    pub(super) resident_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_socket: Option<f64>,
}

impl Report {
    pub(super) fn new(scenario: &'static str, settings: Value) -> Self {
        Report {
            scenario,
            settings,
            seconds: 0.0,
            counts: Counts::default(),
            per_second: PerSecond::default(),
            latency: ByKey::new(),
            server: None,
            complaint: None,
        }
    }

    /// Reports faults, which a reader must see first.
    pub(super) fn complain(&mut self, example: Option<String>) {
        let Counts { lost, duplicated, out_of_order, failed, .. } = self.counts;
        if lost + duplicated + out_of_order + failed > 0 {
            let mut complaint =
                format!("{lost} lost, {duplicated} duplicated, {out_of_order} out of order, {failed} failed");
            if let Some(example) = example {
                complaint += &format!("; one of them: {example}");
            }
            self.complaint = Some(complaint);
        }
    }
}

impl Server {
    /// The difference between two samples of a process. `start` is before the first connection.
    pub(super) fn between(
        pid: Option<u32>,
        start: Option<Usage>,
        from: Option<Usage>,
        to: Option<Usage>,
    ) -> Option<Self> {
        let (start, from, to) = (start?, from?, to?);
        Some(Server {
            pid: pid?,
            cpu_seconds: to.cpu_seconds - from.cpu_seconds,
            cpu_seconds_per_million_deliveries: None,
            resident_bytes_before: start.resident_bytes,
            resident_bytes: to.resident_bytes,
            bytes_per_socket: None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.scenario, self.settings)?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<34}{value:>16}");
        let Counts { sends, deliveries, lost, duplicated, out_of_order, failed } = self.counts;
        if sends > 0 {
            row("sends", sends.to_string())?;
            row("sends/s", format!("{:.0}", self.per_second.sends))?;
        }
        if deliveries > 0 {
            row("deliveries", deliveries.to_string())?;
            row("deliveries/s", format!("{:.0}", self.per_second.deliveries))?;
        }
        row("lost, duplicated, out of order", format!("{lost}, {duplicated}, {out_of_order}"))?;
        row("failed", failed.to_string())?;
        if let Some(server) = &self.server {
            row("server CPU, s", format!("{:.2}", server.cpu_seconds))?;
            if let Some(cpu) = server.cpu_seconds_per_million_deliveries {
                row("server CPU, s/million deliveries", format!("{cpu:.2}"))?;
            }
            row("server memory before, MB", format!("{:.1}", server.resident_bytes_before as f64 / 1e6))?;
            row("server memory, MB", format!("{:.1}", server.resident_bytes as f64 / 1e6))?;
            if let Some(bytes) = server.bytes_per_socket {
                row("server memory a socket, B", format!("{bytes:.0}"))?;
            }
        }
        if !self.latency.is_empty() {
            let head = ["count", "p50", "p90", "p99", "p99.9", "max"];
            write!(f, "  {:<20}", "latency, µs")?;
            head.iter().try_for_each(|name| write!(f, "{name:>12}"))?;
            writeln!(f)?;
        }
        for (key, percentiles) in &self.latency {
            let p = percentiles;
            write!(f, "  {key:<20}{:>12}", p.count)?;
            [p.p50, p.p90, p.p99, p.p999, p.max].iter().try_for_each(|value| write!(f, "{value:>12.0}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Shows the progress on one line of a terminal; otherwise nothing.
pub(super) fn progress(line: fmt::Arguments<'_>) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // An error is ignored, since the line only shows progress.
        let _ = write!(stderr, "\r\x1b[K{line}");
    }
}

/// Clears the progress line before the table.
pub(super) fn progress_end() {
    progress(format_args!(""));
}
