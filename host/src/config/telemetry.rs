//! Where spans go, and which traces are recorded: the settings below `[telemetry]`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use url::Url;

use super::address::is_this_machine;

/// Spans over OTLP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The address of a collector that speaks OTLP over HTTP. Spans go to `/v1/traces` below it.
    pub otlp: OtlpUrl,
    /// A file with headers for the collector, such as its key: one `name: value` a line.
    pub headers_file: Option<PathBuf>,
    /// The name of this service in traces.
    #[serde(default = "service")]
    pub service: String,
    /// The part of the traces that begin here and are recorded, from 0 to 1.
    #[serde(default = "sample")]
    pub sample: f64,
    /// The clients whose `traceparent` decides whether a trace is recorded. For others `sample` decides.
    #[serde(default)]
    pub trust_parent: TrustParent,
}

/// The clients whose `traceparent` decides whether a trace is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustParent {
    /// Nobody's.
    None,
    /// That of requests from `trusted_proxies`.
    #[default]
    Proxies,
    /// Everybody's: any client can then have all its requests recorded.
    All,
}

/// The address of a collector, such as `http://127.0.0.1:4318`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OtlpUrl(Url);

/// A text is not such an address. The operator must act. No text is shown, because it may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadOtlpUrl {
    /// It cannot be read.
    #[error("the text is not an address; write one such as `http://127.0.0.1:4318`")]
    NoUrl,
    /// It has parts that the address of a collector does not have.
    #[error("it holds a password, a query or a fragment; leave them out: `telemetry.headers_file` is for secrets")]
    TooMuch,
    /// The path is added by the server.
    #[error("it ends with /v1/traces, which is added to it; leave that out")]
    WithPath,
}

fn service() -> String {
    "dormouse".into()
}

fn sample() -> f64 {
    1.0
}

impl TryFrom<String> for OtlpUrl {
    type Error = BadOtlpUrl;

    fn try_from(text: String) -> Result<Self, BadOtlpUrl> {
        text.parse()
    }
}

impl FromStr for OtlpUrl {
    type Err = BadOtlpUrl;

    fn from_str(text: &str) -> Result<Self, BadOtlpUrl> {
        let url = Url::parse(text).map_err(|_| BadOtlpUrl::NoUrl)?;
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if has_credentials || url.query().is_some() || url.fragment().is_some() {
            return Err(BadOtlpUrl::TooMuch);
        }
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(BadOtlpUrl::NoUrl);
        }
        if url.path().trim_end_matches('/').ends_with("/v1/traces") {
            return Err(BadOtlpUrl::WithPath);
        }
        Ok(OtlpUrl(url))
    }
}

impl OtlpUrl {
    /// Scheme, host and port, such as `http://127.0.0.1:4318`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path for spans, such as `/v1/traces`.
    pub fn traces_path(&self) -> String {
        format!("{}/v1/traces", self.0.path().trim_end_matches('/'))
    }

    /// Whether others on the network can read what is sent there.
    pub(super) fn is_exposed(&self) -> bool {
        self.0.scheme() == "http" && !is_this_machine(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_collector_is_taken_apart() {
        for (text, origin, path, is_exposed) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318", "/v1/traces", false),
            ("http://localhost:4318/", "http://localhost:4318", "/v1/traces", false),
            ("https://Otlp.example/api/otlp/", "https://otlp.example", "/api/otlp/v1/traces", false),
            ("http://otel-collector:4318", "http://otel-collector:4318", "/v1/traces", true),
            ("http://[::1]:4318", "http://[::1]:4318", "/v1/traces", false),
            ("http://[::ffff:127.0.0.1]:4318", "http://[::ffff:7f00:1]:4318", "/v1/traces", false),
            ("http://[::ffff:10.0.0.1]:4318", "http://[::ffff:a00:1]:4318", "/v1/traces", true),
        ] {
            let url = text.parse::<OtlpUrl>().unwrap();
            assert_eq!((&*url.origin(), &*url.traces_path(), url.is_exposed()), (origin, path, is_exposed), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_advice() {
        for bad in ["", "127.0.0.1:4318", "collector", "grpc://collector:4317", "unix:/run/otlp"] {
            assert_eq!(bad.parse::<OtlpUrl>(), Err(BadOtlpUrl::NoUrl));
        }
        for secret in ["https://ana:secret@otlp.example", "https://key@otlp.example", "https://otlp.example?key=secret"]
        {
            assert_eq!(secret.parse::<OtlpUrl>(), Err(BadOtlpUrl::TooMuch));
        }
        let whole = "http://127.0.0.1:4318/v1/traces";
        assert_eq!(whole.parse::<OtlpUrl>(), Err(BadOtlpUrl::WithPath));
    }
}
