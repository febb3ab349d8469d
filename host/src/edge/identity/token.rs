//! Parses a JSON Web Token strictly, and judges its claims at a moment.
//!
//! `keys` checks the signature. Parsing is done here and not by the signature library, which quotes the token in its
//! errors, ignores `crit`, and takes any number for a time. Claims that say where to find a key (`jku`, `x5u`, `jwk`)
//! are ignored.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::act;
use super::verified::{Invalid, Role, Verified};
use crate::clock::UnixMillis;
use crate::config::Identity;
use crate::edge::access::grants::Grants;
use crate::model::{self, User};

/// The last second of the year 9999. A later time was meant in milliseconds: such a token would never expire.
const LATEST_S: u64 = 253_402_300_799;
/// The longest `jti`, in bytes: it is kept as long as its socket is open.
pub(crate) const TOKEN_ID_BYTES: usize = 256;

/// The registered claims of RFC 7519. Rooms do not get them: they are about the token, and `sub` is the user's id.
const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// The claim that names the user for whom a service acts. Rooms do not get it: they see that user.
const ACT: &str = "act";
/// The value of the claim `role` in the token of a service.
pub(super) const SERVICE: &str = "service";

/// A parsed token. Its signature is not checked yet.
pub(in crate::edge) struct Signed<'a> {
    /// The part that the signature covers.
    pub(in crate::edge) message: &'a str,
    /// In base64url.
    pub(in crate::edge) signature: &'a str,
    /// The algorithm in its head.
    pub(in crate::edge) algorithm: String,
    /// The key id in its head.
    pub(in crate::edge) key_id: Option<String>,
    claims: &'a str,
}

/// The tokens that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum KeyUse {
    /// Tokens of users.
    Users,
    /// Tokens of services too.
    Services,
}

/// The identity that a token proves.
#[derive(Debug)]
pub(in crate::edge) struct Judged {
    pub(in crate::edge) verified: Verified,
    /// The claims are too long, so that rooms get none of them.
    pub(in crate::edge) has_long_claims: bool,
}

/// The claims of a token that rooms get.
#[derive(Debug, PartialEq, Eq)]
enum RoomClaims {
    These(model::Claims),
    /// None, because they are too long and the operator has chosen none.
    TooLong,
}

/// Whether rooms get the claims of a token, for a tool that makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsFit {
    /// They do.
    Yes,
    /// They are too long, so that rooms get none of them.
    LeftOut,
    /// Those that `identity.claims` chooses are too long: the server refuses the token.
    Refused,
}

/// The claims that a token must have.
pub(in crate::edge) struct Expected {
    audience: Option<String>,
    issuer: Option<String>,
    leeway_ms: u64,
    /// The claim with the grants.
    grants_claim: String,
    /// False where no room asks for grants: the claim of a user may then hold anything.
    needs_grants: bool,
    /// Not for rooms: the registered claims, `act`, and the one with the grants.
    held_back: Vec<String>,
    /// The claims for rooms; absent for all others.
    room_claims: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// A claim may hold any value. serde refuses a claim that appears twice.
#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    name: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    iat: Option<Value>,
    jti: Option<Value>,
    aud: Option<Value>,
    iss: Option<Value>,
    role: Option<Value>,
    act: Option<Value>,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn invalid(problem: &str) -> Invalid {
    Invalid(format!("the token is not valid: {problem}"))
}

impl<'a> Signed<'a> {
    /// Parses a token.
    pub(in crate::edge) fn read(token: &'a str) -> Result<Self, Invalid> {
        let mut dots = token.match_indices('.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(invalid("it does not have three parts"));
        };
        let head = object::<Head>(&token[..first]).ok_or_else(|| invalid("its head cannot be read"))?;
        if head.crit {
            return Err(invalid("its head requires extensions (`crit`), and none is supported"));
        }
        Ok(Signed {
            message: &token[..second],
            signature: &token[second + 1..],
            algorithm: head.alg,
            key_id: head.kid,
            claims: &token[first + 1..second],
        })
    }

    /// Returns the user or the service. Call it only after the signature was verified; `key` is the use of the key that
    /// signed it.
    pub(in crate::edge) fn verify_claims(
        &self,
        expected: &Expected,
        key: KeyUse,
        now: UnixMillis,
    ) -> Result<Judged, Invalid> {
        let json = json_object(self.claims).ok_or_else(|| invalid("its claims cannot be read"))?;
        let mut claims = serde_json::from_slice::<Claims>(&json).map_err(|_| invalid("its claims cannot be read"))?;
        let (role, act) = (claims.role.take(), claims.act.take());
        let verified = expected.check(claims, now)?;
        let verified = Verified { role: role_of(role, act, key)?, ..verified };
        let grants = expected.grants(&json, verified.is_service())?;
        let verified = verified.with_grants(grants);
        Ok(match expected.room_claims(&json)? {
            RoomClaims::These(claims) => Judged { verified: verified.with_claims(claims), has_long_claims: false },
            RoomClaims::TooLong => Judged { verified, has_long_claims: true },
        })
    }
}

impl ClaimsFit {
    /// Whether rooms of a server with these settings get the claims of a token.
    pub fn of(identity: &Identity, claims: Map<String, Value>) -> Self {
        match Expected::new(identity, false).chosen_for_rooms(claims) {
            Ok(RoomClaims::These(_)) => ClaimsFit::Yes,
            Ok(RoomClaims::TooLong) => ClaimsFit::LeftOut,
            Err(_) => ClaimsFit::Refused,
        }
    }
}

impl Expected {
    pub(in crate::edge) fn new(identity: &Identity, needs_grants: bool) -> Self {
        Expected {
            grants_claim: identity.grants_claim.clone(),
            needs_grants,
            held_back: [&REGISTERED_CLAIMS[..], &[ACT, &identity.grants_claim]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            room_claims: identity.claims.clone(),
            audience: identity.audience.clone(),
            issuer: identity.issuer.clone(),
            leeway_ms: u64::try_from(identity.leeway.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The grants of a token. Where no room needs them, they only add to what everybody may do, and the claim may hold
    /// anything else. An error quotes a pattern of the claim: its
    /// holder can read it anyway, and the issuer must find it.
    fn grants(&self, claims: &[u8], is_service: bool) -> Result<Grants, Invalid> {
        let name = &self.grants_claim;
        let grants = Grants::of_claims(claims, name);
        if !self.needs_grants && !is_service {
            return Ok(grants.unwrap_or_default());
        }
        grants.map_err(|error| invalid(&format!("its grants, the claim `{name}`: {error}")))
    }

    /// The claims of a token that rooms get.
    fn room_claims(&self, claims: &[u8]) -> Result<RoomClaims, Invalid> {
        let claims = serde_json::from_slice(claims).map_err(|_| invalid("its claims cannot be read"))?;
        self.chosen_for_rooms(claims)
    }

    /// Of all claims those that rooms get. Without a choice of the operator most rooms need none of them, and a
    /// provider may write long ones: then the token is good, and rooms get none.
    fn chosen_for_rooms(&self, mut claims: Map<String, Value>) -> Result<RoomClaims, Invalid> {
        claims.retain(|name, _| {
            !self.held_back.contains(name) && self.room_claims.as_ref().is_none_or(|wanted| wanted.contains(name))
        });
        match model::Claims::new(&claims) {
            Ok(claims) => Ok(RoomClaims::These(claims)),
            Err(_) if self.room_claims.is_none() => Ok(RoomClaims::TooLong),
            Err(error) => Err(invalid(&format!("{error}; `identity.claims` of the server must choose fewer of them"))),
        }
    }

    fn check(&self, claims: Claims, now: UnixMillis) -> Result<Verified, Invalid> {
        let latest = now.saturating_add(self.leeway_ms);
        let expires_at = time("exp", claims.exp)?
            .ok_or_else(|| invalid("the claim `exp` is missing"))?
            .saturating_add(self.leeway_ms);
        if expires_at <= now {
            return Err(invalid("it has expired"));
        }
        if time("nbf", claims.nbf)?.is_some_and(|not_before| not_before > latest) {
            return Err(invalid("it is not valid yet"));
        }
        let issued_at = time("iat", claims.iat)?;
        if issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err(invalid("it was issued in the future"));
        }
        if let Some(audience) = &self.audience
            && !holds(claims.aud.as_ref(), audience)
        {
            return Err(invalid("it is not for this audience"));
        }
        if let Some(issuer) = &self.issuer
            && claims.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(invalid("it is not from the trusted issuer"));
        }
        let id = text("sub", claims.sub)?.ok_or_else(|| invalid("the claim `sub` is missing"))?;
        let name = text("name", claims.name)?.filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone());
        let token_id = text("jti", claims.jti)?;
        if token_id.as_ref().is_some_and(|id| id.len() > TOKEN_ID_BYTES) {
            return Err(invalid("the claim `jti` is too long"));
        }
        Ok(Verified { expires_at: Some(expires_at), issued_at, token_id, ..Verified::new(User { id, name }) })
    }
}

/// The role of a token that a key of this use has signed.
fn role_of(role: Option<Value>, act: Option<Value>, key: KeyUse) -> Result<Role, Invalid> {
    if role.as_ref().and_then(Value::as_str) != Some(SERVICE) {
        return Ok(Role::User);
    }
    if key != KeyUse::Services {
        return Err(invalid(
            "its claim `role` is `service`, and its key may not sign such a token: that takes a key of \
             `identity.keys` with `service = true`",
        ));
    }
    let user = act.map(|act| act::read(act.to_string().as_bytes())).transpose();
    let acts_for = user.map_err(|problem| invalid(&format!("its claim `act`: {problem}")))?;
    Ok(Role::Service { acts_for })
}

/// Parses a part of a token: a JSON object in base64url, without padding and without stray trailing bits.
fn object<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&json_object(part)?).ok()
}

/// The bytes of a part of a token, if they begin like an object: serde would accept an array in its place.
fn json_object(part: &str) -> Option<Vec<u8>> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    json.trim_ascii_start().starts_with(b"{").then_some(json)
}

fn text(name: &str, claim: Option<Value>) -> Result<Option<String>, Invalid> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(&format!("the claim `{name}` is not text"))),
    }
}

/// Parses a `NumericDate` of RFC 7519: seconds, which may have a fraction.
fn time(name: &str, claim: Option<Value>) -> Result<Option<UnixMillis>, Invalid> {
    let Some(claim) = claim else { return Ok(None) };
    let seconds =
        claim.as_number().and_then(Number::as_f64).filter(|seconds| (0.0..=LATEST_S as f64).contains(seconds));
    match (seconds, claim.as_u64()) {
        (Some(_), Some(whole)) => Ok(Some(whole * 1_000)),
        // The number was checked above, so the cast loses nothing but the fraction.
        (Some(seconds), None) => Ok(Some((seconds * 1_000.0) as u64)),
        (None, _) => Err(invalid(&format!("the claim `{name}` is not a time in seconds before the year 10000"))),
    }
}

/// Returns whether a claim is this text, or a list that holds it.
fn holds(claim: Option<&Value>, wanted: &str) -> bool {
    match claim {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(texts)) => texts.iter().any(|text| text == wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLAIMS_BYTES;

    const NOW_S: u64 = 1_800_000_000;
    const LEEWAY_S: u64 = 30;

    fn expected() -> Expected {
        let leeway_ms = LEEWAY_S * 1_000;
        Expected {
            audience: Some("chat".into()),
            issuer: Some("login".into()),
            leeway_ms,
            ..Expected::new(&Identity::default(), false)
        }
    }

    /// The verdict on claims at the last millisecond of a second.
    fn judge_at(now: UnixMillis, claims: &str) -> Result<Verified, String> {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let signed = Signed { message: "", signature: "", algorithm: String::new(), key_id: None, claims: &claims };
        signed.verify_claims(&expected(), KeyUse::Users, now).map(|judged| judged.verified).map_err(|error| error.0)
    }

    /// Valid claims with one of them changed; `null` leaves it out.
    fn judge(name: &str, value: &str) -> Result<Verified, String> {
        let exp = (NOW_S + 60).to_string();
        let mut claims = vec![("sub", "\"1\""), ("exp", exp.as_str()), ("aud", "\"chat\""), ("iss", "\"login\"")];
        claims.retain(|(key, _)| *key != name);
        claims.push((name, value));
        let claims = claims.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect::<Vec<_>>().join(",");
        judge_at(NOW_S * 1_000, &format!("{{{claims}}}"))
    }

    fn head(json: &str) -> Result<(String, Option<String>), String> {
        let token = format!("{}.e30.AA", BASE64_URL_SAFE_NO_PAD.encode(json));
        Signed::read(&token).map(|signed| (signed.algorithm, signed.key_id)).map_err(|error| error.0)
    }

    #[test]
    fn missing_claims_are_named() {
        for (missing, says) in
            [("exp", "`exp` is missing"), ("sub", "`sub` is missing"), ("aud", "audience"), ("iss", "issuer")]
        {
            let problem = judge(missing, "null").unwrap_err();
            assert!(problem.contains(says), "{missing}: {problem}");
        }
    }

    #[test]
    fn audience_and_issuer_are_compared_exactly() {
        for good in ["\"chat\"", "[\"chat\"]", "[\"shop\",\"chat\"]", "[1,\"chat\"]"] {
            assert!(judge("aud", good).is_ok(), "{good}");
        }
        for bad in
            ["\"shop\"", "\"chat \"", "\"CHAT\"", "\"\"", "[]", "[\"chats\"]", "[[\"chat\"]]", "{\"chat\":1}", "true"]
        {
            assert!(judge("aud", bad).unwrap_err().contains("audience"), "{bad}");
        }
        for bad in ["\"other\"", "\"login/\"", "\"\"", "[\"login\"]", "{\"login\":1}", "0"] {
            assert!(judge("iss", bad).unwrap_err().contains("issuer"), "{bad}");
        }
    }

    #[test]
    fn an_expiry_that_is_no_time_is_refused() {
        for bad in [
            "\"1800000060\"",
            "true",
            "[]",
            "{}",
            "-1",
            "-0.5",
            "-1e300",
            "1e300",
            "1800000060000",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
        ] {
            for claim in ["exp", "nbf", "iat"] {
                let problem = judge(claim, bad).unwrap_err();
                assert!(problem.contains(&format!("`{claim}` is not a time")), "{claim} {bad}: {problem}");
            }
        }
        // serde refuses a number that no double can hold.
        assert!(judge("exp", "1e999").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn an_expiry_may_be_as_late_as_dates_go() {
        assert_eq!(judge("exp", "253402300799").unwrap().expires_at, Some((253_402_300_799 + LEEWAY_S) * 1_000));
        assert_eq!(judge("exp", "1800000000.5").unwrap().expires_at, Some((NOW_S + LEEWAY_S) * 1_000 + 500));
    }

    #[test]
    fn clocks_may_differ_by_exactly_the_leeway() {
        let claims = format!(r#"{{"sub":"1","aud":"chat","iss":"login","exp":{NOW_S}}}"#);
        let last = (NOW_S + LEEWAY_S) * 1_000 - 1;
        // A socket is closed at the moment its token is refused.
        assert_eq!(judge_at(last, &claims).unwrap().expires_at, Some(last + 1));
        assert!(judge_at(last + 1, &claims).unwrap_err().contains("expired"));
        assert!(judge("exp", "0").unwrap_err().contains("expired"));

        for (claim, says) in [("nbf", "not valid yet"), ("iat", "in the future")] {
            let claims = format!(r#"{{"sub":"1","aud":"chat","iss":"login","exp":{},"{claim}":{NOW_S}}}"#, NOW_S + 60);
            let first = (NOW_S - LEEWAY_S) * 1_000;
            assert!(judge_at(first, &claims).is_ok(), "{claim}");
            assert!(judge_at(first - 1, &claims).unwrap_err().contains(says), "{claim}");
        }
    }

    #[test]
    fn an_enormous_leeway_does_not_overflow() {
        let endless = Expected { leeway_ms: u64::MAX, ..expected() };
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"1","aud":"chat","iss":"login","exp":1}"#);
        let signed = Signed { message: "", signature: "", algorithm: String::new(), key_id: None, claims: &claims };
        assert!(signed.verify_claims(&endless, KeyUse::Users, NOW_S * 1_000).is_ok());
    }

    #[test]
    fn a_duplicate_claim_is_refused() {
        for twice in ["sub", "exp", "aud", "iss", "nbf", "iat", "jti", "name"] {
            let claims = format!(
                r#"{{"sub":"1","exp":1900000000,"aud":"chat","iss":"login","nbf":1,"iat":1,"jti":"a","name":"n",
                     "{twice}":"2"}}"#
            );
            assert!(judge_at(NOW_S * 1_000, &claims).unwrap_err().contains("cannot be read"), "{twice}");
        }
        for twice in [r#"{"alg":"HS256","alg":"none"}"#, r#"{"alg":"HS256","kid":"a","kid":"b"}"#] {
            assert!(head(twice).unwrap_err().contains("head"), "{twice}");
        }
    }

    #[test]
    fn a_user_has_a_text_id_and_the_name_defaults_to_it() {
        for (claim, bad) in [("sub", "7"), ("sub", "[\"1\"]"), ("name", "7"), ("jti", "7"), ("jti", "{}")] {
            assert!(judge(claim, bad).unwrap_err().contains("is not text"), "{claim} {bad}");
        }
        assert_eq!(judge("name", "\"\"").unwrap().user, User { id: "1".into(), name: "1".into() });
        assert_eq!(judge("name", "\"ana\"").unwrap().user.name, "ana");
        assert_eq!(judge("jti", "\"a\"").unwrap().token_id.as_deref(), Some("a"));
        let long = format!("\"{}\"", "j".repeat(TOKEN_ID_BYTES + 1));
        assert!(judge("jti", &long).unwrap_err().contains("too long"));
    }

    #[test]
    fn rooms_get_the_claims_that_are_not_about_the_token() {
        let judge = |chosen: Option<&[&str]>, more: &str| {
            let claims = format!(
                r#"{{"iss":"login","sub":"1","aud":"chat","exp":1900000000,"nbf":1,"iat":1,"jti":"a","name":"ana",
                     "rooms":{{}},{more}}}"#
            );
            let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
            let signed = Signed { message: "", signature: "", algorithm: String::new(), key_id: None, claims: &claims };
            let room_claims = chosen.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let expected = Expected { room_claims, ..expected() };
            let judged = signed.verify_claims(&expected, KeyUse::Users, NOW_S * 1_000).map_err(|error| error.0)?;
            assert!(!judged.has_long_claims || judged.verified.claims.is_empty());
            Ok::<_, String>((judged.verified.claims.as_json().to_owned(), judged.has_long_claims))
        };
        let claims = |json: &str| Ok((json.to_owned(), false));
        let role = r#""role":"host""#;
        assert_eq!(judge(None, role), claims(r#"{"name":"ana","role":"host"}"#));
        assert_eq!(judge(Some(&["role", "sub"]), role), claims(r#"{"role":"host"}"#));
        assert_eq!(judge(Some(&[]), role), claims("{}"));
        let long = format!("\"role\":\"host\",\"groups\":\"{}\"", "g".repeat(CLAIMS_BYTES));
        assert_eq!(judge(None, &long), Ok(("{}".to_owned(), true)), "the token is good");
        assert_eq!(judge(Some(&["role"]), &long), claims(r#"{"role":"host"}"#));
        let problem = judge(Some(&["role", "groups"]), &long).unwrap_err();
        assert!(problem.contains("longer than 4096 bytes") && problem.contains("`identity.claims`"), "{problem}");
    }

    #[test]
    fn a_tool_learns_whether_claims_fit() {
        let of = |chosen: Option<&[&str]>, bytes: usize| {
            let chosen = chosen.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let identity = Identity { claims: chosen, ..Identity::default() };
            // Grants and registered claims do not count.
            let long = "x".repeat(CLAIMS_BYTES);
            let claims = serde_json::json!({ "groups": "g".repeat(bytes), "rooms": long, "jti": long });
            ClaimsFit::of(&identity, claims.as_object().unwrap().clone())
        };
        assert_eq!(of(None, CLAIMS_BYTES - r#"{"groups":""}"#.len()), ClaimsFit::Yes);
        assert_eq!(of(None, CLAIMS_BYTES), ClaimsFit::LeftOut);
        assert_eq!(of(Some(&["role"]), CLAIMS_BYTES), ClaimsFit::Yes);
        assert_eq!(of(Some(&["groups"]), CLAIMS_BYTES), ClaimsFit::Refused);
    }

    #[test]
    fn grants_are_read_from_their_claim_where_rooms_ask_for_them() {
        let judge = |grants_claim: Option<&str>, rooms: &str| {
            let claims = format!(r#"{{"sub":"1","aud":"chat","iss":"login","exp":1900000000,"rooms":{rooms}}}"#);
            let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
            let signed = Signed { message: "", signature: "", algorithm: String::new(), key_id: None, claims: &claims };
            let needs_grants = grants_claim.is_some();
            let grants_claim = grants_claim.unwrap_or("rooms").to_owned();
            let expected = Expected { grants_claim, needs_grants, ..expected() };
            let verified = signed.verify_claims(&expected, KeyUse::Users, NOW_S * 1_000);
            verified.map(|judged| judged.verified.grants).map_err(|error| error.0)
        };
        let granted = Grants::from_texts(["rooms/a=read"]).unwrap();
        assert_eq!(judge(Some("rooms"), r#"{"rooms/a":["read"]}"#), Ok(granted));
        let without_claim = Grants::of_claims(b"{}", "rooms").unwrap();
        assert_eq!(judge(Some("other"), r#"{"rooms/a":["read"]}"#), Ok(without_claim));
        assert_eq!(judge(None, "5"), Ok(Grants::default()), "the claim may mean something else to others");
        let problem = judge(Some("rooms"), r#"{"rooms/a":["reed"]}"#).unwrap_err();
        assert!(problem.contains("its grants, the claim `rooms`: \"rooms/a\": \"reed\" is not a perm"), "{problem}");
    }

    /// The verdict on a token with these claims beside, that a key of this use has signed.
    fn judge_role(key: KeyUse, more: &str) -> Result<Verified, String> {
        let claims = format!(r#"{{"sub":"backend","aud":"chat","iss":"login","exp":1900000000{more}}}"#);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let signed = Signed { message: "", signature: "", algorithm: String::new(), key_id: None, claims: &claims };
        signed.verify_claims(&expected(), key, NOW_S * 1_000).map(|judged| judged.verified).map_err(|error| error.0)
    }

    #[test]
    fn only_the_role_and_a_key_for_it_make_a_service() {
        let service = r#","role":"service","act":{"sub":"ana","name":"Ana"}"#;
        let verified = judge_role(KeyUse::Services, service).unwrap();
        assert_eq!(verified.role, Role::Service { acts_for: Some(User::new("ana", "Ana")) });
        assert_eq!((verified.user.id.as_str(), verified.room_user().id.as_str()), ("backend", "ana"));
        assert_eq!(verified.claims.as_json(), r#"{"role":"service"}"#, "rooms see the role");
        let problem = judge_role(KeyUse::Users, service).unwrap_err();
        assert!(problem.contains("`identity.keys` with `service = true`"), "{problem}");

        for ordinary in ["", r#","role":"Service""#, r#","role":["service"]"#, r#","role":null"#] {
            for key in [KeyUse::Users, KeyUse::Services] {
                let verified = judge_role(key, &format!(r#"{ordinary},"act":{{"sub":"ana"}}"#)).unwrap();
                assert_eq!((&verified.role, verified.room_user().id.as_str()), (&Role::User, "backend"), "{ordinary}");
                assert!(!verified.claims.as_json().contains("act"), "{ordinary}");
            }
        }
        for twice in [r#","role":"service","role":"host""#, r#","role":"service","act":{"sub":"a"},"act":{"sub":"b"}"#]
        {
            assert!(judge_role(KeyUse::Services, twice).unwrap_err().contains("cannot be read"), "{twice}");
        }
        for bad in [r#""ana""#, "7", "{}", r#"["ana"]"#, r#"{"sub":""}"#, r#"{"sub":"a","iss":"x"}"#] {
            let problem = judge_role(KeyUse::Services, &format!(r#","role":"service","act":{bad}"#)).unwrap_err();
            assert!(problem.contains("its claim `act`"), "{problem}");
        }
    }

    #[test]
    fn grants_of_a_service_count_where_no_room_asks_for_them() {
        let rooms = r#","role":"service","rooms":{"rooms/a":["moderate"]}"#;
        let grants = judge_role(KeyUse::Services, rooms).unwrap().grants;
        assert_eq!(grants, Grants::from_texts(["rooms/a=moderate"]).unwrap());
    }

    #[test]
    fn claims_are_one_json_object_without_trailing_data() {
        for bad in [
            "",
            "null",
            "7",
            "\"1\"",
            "[]",
            r#"["1","n",1900000000,null,null,null,"chat","login"]"#,
            "{",
            "{}{}",
            "{} x",
            "\u{feff}{}",
        ] {
            assert!(judge_at(NOW_S * 1_000, bad).unwrap_err().contains("cannot be read"), "{bad}");
        }
    }

    #[test]
    fn a_header_needs_alg_and_may_have_no_critical_extension() {
        assert_eq!(head(r#"{"alg":"HS256","kid":"a","typ":"at+jwt"}"#), Ok(("HS256".into(), Some("a".into()))));
        let ignored = r#"{"alg":"HS256","jku":"https://evil.example/keys","x5u":7,"jwk":{"kty":"oct","k":"AA"}}"#;
        assert_eq!(head(ignored), Ok(("HS256".into(), None)));
        for bad in ["", "{}", r#"["HS256","a"]"#, r#"{"alg":7}"#, r#"{"alg":null}"#, r#"{"alg":"HS256","kid":7}"#] {
            assert!(head(bad).unwrap_err().contains("head"), "{bad}");
        }
        for crit in ["[\"exp\"]", "[\"b64\"]", "[]", "null", "\"exp\""] {
            let head = head(&format!(r#"{{"alg":"HS256","b64":false,"crit":{crit}}}"#));
            assert!(head.unwrap_err().contains("requires extensions"), "{crit}");
        }
    }

    #[test]
    fn base64_has_one_form() {
        // 16 bytes are 22 characters; four bits of the last one are unused.
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"} "#);
        assert_eq!((head.len(), head.chars().last()), (22, Some('A')), "{head}");
        assert!(Signed::read(&format!("{head}.e30.AA")).is_ok());
        let spare = format!("{}B", &head[..21]);
        for other in
            [format!("{head}=="), format!("{head}="), spare, format!("{head}\n"), format!(" {head}"), head[..21].into()]
        {
            assert!(Signed::read(&format!("{other}.e30.AA")).is_err(), "{other:?}");
        }
        for parts in ["", ".", "..", "...", "a.b", "a.b.c", &format!("{head}.e30"), &format!("{head}.e30.AA.")] {
            assert!(Signed::read(parts).is_err(), "{parts}");
        }
    }
}
