//! `dormouse token`: prints a token that the configured server accepts, for trying things out.
//!
//! It turns arguments into claims. `dormouse::edge::mint` signs them.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use dormouse::config::{Auth, Identity, read_duration};
use dormouse::edge::{ClaimsFit, Grants, MINTED_CLAIMS, Pattern, Role};
use dormouse::limits::CLAIMS_BYTES;
use dormouse::log;
use dormouse::model::{Permission, Permissions, User};
use serde_json::{Map, Value, json};

use crate::{Common, load, print};

/// The arguments of `dormouse token`.
#[derive(Args)]
pub(crate) struct Token {
    #[command(flatten)]
    common: Common,
    /// The userId, or the name of the service
    user: String,
    /// The userName [default: the userId]
    #[arg(long)]
    name: Option<String>,
    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = read_duration)]
    valid_for: Duration,
    /// The permissions in some rooms, such as `rooms/team-*=read,write`; may be repeated. There are read, write,
    /// presence, moderate and admin
    #[arg(long = "grant", value_name = "PATTERN=PERMISSIONS")]
    grants: Vec<String>,
    /// A token of a service, signed with the first key that has `service = true`
    #[arg(long)]
    service: bool,
    /// The userId of the user for whom the service acts
    #[arg(long, value_name = "USER", requires = "service")]
    act: Option<String>,
    /// A further claim, such as `role=host`; may be repeated. A value that is JSON is taken as JSON
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
}

/// Prints the token.
pub(crate) fn run(args: Token) -> anyhow::Result<()> {
    let config = load(&args.common)?;
    config.check()?;
    let name = args.name.clone().unwrap_or_else(|| args.user.clone());
    let user = User { id: args.user.clone(), name };
    let claims = args.further_claims(&config.identity.grants_claim)?;
    let role = args.role();
    if config.identity.auth == Auth::Dev && role != Role::User {
        bail!("a token of dev auth is only a name, and never a service's; use --auth jwt with a key that is one");
    }
    if config.identity.auth == Auth::Dev && !claims.is_empty() {
        bail!("a token of dev auth is only a name and carries no grants and no claims; use --auth jwt with a key");
    }
    if config.identity.auth == Auth::Jwt {
        check_length(&config.identity, &user, &role, &claims)?;
    }
    print::line(dormouse::edge::mint(&config.identity, &user, &role, args.valid_for, &claims)?)
}

/// Refuses claims with which the server would refuse the token, and warns of claims that no room would get.
fn check_length(identity: &Identity, user: &User, role: &Role, claims: &Map<String, Value>) -> anyhow::Result<()> {
    let mut all = claims.clone();
    all.insert("name".into(), user.name.as_str().into());
    if let Role::Service { .. } = role {
        all.insert("role".into(), "service".into());
    }
    match ClaimsFit::of(identity, all) {
        ClaimsFit::Yes => {}
        ClaimsFit::LeftOut => log::line(&format!(
            "dormouse: warning: the claims are longer than {CLAIMS_BYTES} bytes, so rooms get none of them; choose those \
             that they need with identity.claims"
        )),
        ClaimsFit::Refused => bail!(
            "--claim: the claims that identity.claims chooses are longer than {CLAIMS_BYTES} bytes, so the server would \
             refuse the token; use shorter ones, or choose fewer"
        ),
    }
    Ok(())
}

impl Token {
    fn role(&self) -> Role {
        let acts_for = self.act.as_ref().map(|user| User::new(user, user));
        if self.service { Role::Service { acts_for } } else { Role::User }
    }

    /// The claims beside those that say who the user is, with the grants in the claim `grants_claim`.
    fn further_claims(&self, grants_claim: &str) -> anyhow::Result<Map<String, Value>> {
        let mut claims = Map::new();
        for claim in &self.claims {
            let (name, value) = claim
                .split_once('=')
                .with_context(|| format!("--claim {claim}: write NAME=VALUE, such as role=host"))?;
            if MINTED_CLAIMS.contains(&name) {
                bail!("--claim {claim}: `{name}` has a meaning of its own; it is set from the other arguments");
            }
            if name == grants_claim {
                bail!("--claim {claim}: `{name}` holds the grants; use --grant");
            }
            if name == "role" && (self.service || value == "service") {
                bail!("--claim {claim}: this role is a service's; use --service alone");
            }
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            if claims.insert(name.to_owned(), value).is_some() {
                bail!("--claim {claim}: `{name}` is given twice");
            }
        }
        let grants = Grants::from_texts(self.grants.iter().map(String::as_str)).context("--grant")?;
        if !grants.is_empty() {
            let of_pattern = |(pattern, permissions): (&Pattern, Permissions)| {
                (pattern.to_string(), json!(permissions.iter().map(Permission::name).collect::<Vec<_>>()))
            };
            claims.insert(grants_claim.to_owned(), Value::Object(grants.iter().map(of_pattern).collect()));
        }
        Ok(claims)
    }
}
