//! Deploys: `POST /deploys/NAMESPACE` with a component, its rollback, and the versions that run.

use std::str::FromStr;
use std::time::Duration;

use hyper::{Response, StatusCode};
use serde_json::json;

use super::Admin;
use super::request::{AdminRequest, bad};
use crate::config::read_duration;
use crate::deploys::{Deploy, DeployError, short};
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::guest::component_hash;
use crate::limits::{COMPONENT_BYTES, COMPONENT_TIMEOUT};
use crate::rollout::Selection;

/// A share of the rooms, such as `5%` or `0.5`, in hundredths of a percent.
struct Share(u32);

impl FromStr for Share {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let percent = number.parse::<f64>().map_err(|_| ())?;
        let share = (percent * 100.0).round();
        if (1.0..=10_000.0).contains(&share) { Ok(Share(share as u32)) } else { Err(()) }
    }
}

/// A duration, such as `10m`.
struct Time(Duration);

impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        read_duration(text).map(Time).map_err(drop)
    }
}

impl Admin {
    /// `GET /deploys`.
    pub(super) async fn deploy_status(&self, request: &AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let deploys = self.deploys.clone();
        let status = tokio::task::spawn_blocking(move || deploys.status()).await;
        let status = status.expect("reading the status does not panic");
        Ok(json_response(&json!({ "deploys": status })))
    }

    /// `POST /deploys/{target}`: the body is the component.
    pub(super) async fn deploy(&self, target: &str, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let canary = request.parsed::<Share>("canary", "a part of the rooms from 0.01% to 100%, such as 5%")?;
        let rooms = request.parameter("rooms")?;
        let watch = request.parsed::<Time>("watch", "a time such as 10m")?;
        request.no_more_parameters()?;
        if !self.deploys.has(target) {
            return Err(refused(&DeployError::NoTarget { target: target.into() }));
        }
        let Ok(_one) = self.receiving.try_acquire() else {
            return Err(overloaded("another component is being deployed; try again when it is").into());
        };
        let wasm = request.bytes_within(COMPONENT_BYTES, COMPONENT_TIMEOUT).await?;
        if wasm.is_empty() {
            return Err(bad("the body is the component, and it is empty"));
        }
        let version = component_hash(&wasm);
        let selection = Selection { share: canary.map_or(Selection::all().share, |Share(share)| share), rooms };
        let detail =
            json!({ "version": version, "share": f64::from(selection.share) / 100.0, "rooms": selection.rooms });
        let named = format!("{target} {}", short(&version));
        self.audit.record(&request, "deploy", &named, Some(detail)).await?;
        let deploy = Deploy::new(target, wasm).to_rooms(selection);
        let deploy = match watch {
            Some(Time(watch)) => deploy.settle_after(watch),
            None => deploy,
        };
        let deployed = self.deploys.deploy(deploy).await.map_err(|error| refused(&error))?;
        Ok(json_response(&json!(deployed)))
    }

    /// `POST /deploys/{target}/rollback`.
    pub(super) async fn roll_back(&self, target: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        if !self.deploys.has(target) {
            return Err(refused(&DeployError::NoTarget { target: target.into() }));
        }
        self.audit.record(&request, "roll back", target, None).await?;
        let deployed = self.deploys.roll_back(target).await.map_err(|error| refused(&error))?;
        Ok(json_response(&json!(deployed)))
    }
}

/// The answer to a deploy that did not begin.
fn refused(error: &DeployError) -> Refusal {
    let status = match error {
        DeployError::NoTarget { .. } => StatusCode::NOT_FOUND,
        DeployError::NothingBefore { .. } => StatusCode::CONFLICT,
        DeployError::CanaryOfRouter | DeployError::Selection | DeployError::SettleAfter => StatusCode::BAD_REQUEST,
        error if error.is_of_host() => {
            tracing::error!(%error, "a deploy could not be kept");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    problem(status, &error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_with_two_digits() {
        for (text, share) in [("5%", 500), ("5", 500), ("0.01%", 1), ("100%", 10_000), ("12.345%", 1_235)] {
            assert_eq!(text.parse::<Share>().ok().map(|share| share.0), Some(share), "{text}");
        }
        for text in ["", "%", "0%", "0.001%", "100.1%", "-1%", "NaN", "inf", "5 %", "5%%", "x"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
