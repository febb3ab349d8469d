//! Tickets of other nodes. A node redeems its own tickets alone, so each is used once wherever it is shown: a ticket begins
//! with the number of its node, and another node asks that one for the user. Users are passed as JSON over the link.
//!
//! It knows no request. `http` issues and takes tickets through it.

use serde_json::{Value, json};

use super::Edge;
use super::access::grants::Grants;
use super::identity::verified::{Role, Verified};
use crate::cluster::ownership::NodeId;
use crate::limit_hits::Limit;
use crate::model::{Claims, Permission, Permissions, User};

/// The characters of a ticket behind the number of its node. Nothing else is worth a question to another node.
const TICKET_CHARS: usize = 48;

impl Edge {
    /// Issues a ticket for a user, or returns the limit that is met.
    pub(in crate::edge) fn issue_ticket(&self, verified: Verified) -> Result<String, Limit> {
        let ticket = self.tickets.issue(verified)?;
        Ok(match self.node.get() {
            Some(node) => format!("{}-{ticket}", node.number()),
            None => ticket,
        })
    }

    /// Uses a ticket up and returns its user; absent if it was used or has expired, and if its node is not reached.
    pub(in crate::edge) async fn take_ticket(&self, ticket: &str) -> Option<Verified> {
        let (Some(node), Some((number, rest))) = (self.node.get(), ticket.split_once('-')) else {
            return self.tickets.take(ticket);
        };
        let number = number.parse::<u64>().ok()?;
        if number == node.number() {
            return self.tickets.take(rest);
        }
        let is_ticket = rest.len() == TICKET_CHARS && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let answer = if is_ticket { node.take_ticket(NodeId(number), rest).await } else { None };
        read(&answer?)
    }

    /// Uses a ticket of this node up for another one. Returns its user as JSON.
    pub(in crate::edge) fn take_ticket_for_node(&self, ticket: &str) -> Option<String> {
        self.tickets.take(ticket).map(|verified| written(&verified).to_string())
    }
}

fn written(verified: &Verified) -> Value {
    let user = |user: &User| json!([user.id, user.name]);
    let acts_for = match &verified.role {
        Role::Service { acts_for } => acts_for.as_ref().map(user),
        Role::User => None,
    };
    let names = |permissions: Permissions| permissions.iter().map(Permission::name).collect::<Vec<_>>();
    let grants = verified.grants.iter().map(|(pattern, permissions)| json!([pattern.to_string(), names(permissions)]));
    json!({
        "user": user(&verified.user),
        "service": verified.is_service(),
        "actsFor": acts_for,
        "expiresAt": verified.expires_at,
        "issuedAt": verified.issued_at,
        "tokenId": verified.token_id,
        "grants": grants.collect::<Vec<_>>(),
        "noClaim": verified.grants.has_no_claim(),
        "claims": verified.claims.as_json(),
    })
}

/// Absent if it is not what [`written`] writes: the nodes are of different releases.
fn read(json: &str) -> Option<Verified> {
    let json = serde_json::from_str::<Value>(json).ok()?;
    let user = |value: &Value| Some(User { id: value[0].as_str()?.to_owned(), name: value[1].as_str()?.to_owned() });
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let acts_for = if json["actsFor"].is_null() { None } else { Some(user(&json["actsFor"])?) };
    let role = if json["service"].as_bool()? { Role::Service { acts_for } } else { Role::User };
    let claims = serde_json::from_str(json["claims"].as_str()?).ok()?;
    Some(Verified {
        user: user(&json["user"])?,
        role,
        expires_at: json["expiresAt"].as_u64(),
        issued_at: json["issuedAt"].as_u64(),
        token_id: text(&json["tokenId"]),
        grants: grants_of(&json["grants"], json["noClaim"].as_bool()?)?,
        claims: Claims::new(&claims).ok()?,
    })
}

fn grants_of(list: &Value, no_claim: bool) -> Option<Grants> {
    if no_claim {
        return Some(Grants::without_claim());
    }
    let grant = |grant: &Value| {
        let names = grant[1].as_array()?.iter().map(|name| name.as_str()?.parse::<Permission>().ok());
        Some((grant[0].as_str()?.to_owned(), Permissions::from_iter(names.collect::<Option<Vec<_>>>()?)))
    };
    let grants = list.as_array()?.iter().map(grant).collect::<Option<Vec<_>>>()?;
    Grants::new(grants.iter().map(|(pattern, permissions)| (pattern.as_str(), *permissions))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_a_ticket_comes_back_as_it_was() {
        let grants = Grants::from_texts(["rooms/team-*=read,write", "rooms/a=b\\*=", "rooms/**=read"]).unwrap();
        let claims = json!({ "role": "host", "n": [1, 2] });
        let claims = Claims::new(claims.as_object().unwrap()).unwrap();
        let ana = Verified::new(User { id: "1".into(), name: "ana \u{1f42d}".into() });
        let full = Verified {
            expires_at: Some(u64::MAX),
            issued_at: Some(0),
            token_id: Some("jti".into()),
            ..ana.clone().with_grants(grants).with_claims(claims)
        };
        let service = Verified::service(ana.user.clone());
        let acting = service.clone().acting_for(User { id: "2".into(), name: "bo".into() });
        for verified in [ana.with_grants(Grants::without_claim()), full, service, acting] {
            assert_eq!(read(&written(&verified).to_string()), Some(verified));
        }
        assert_eq!(read("{}"), None);
    }
}
