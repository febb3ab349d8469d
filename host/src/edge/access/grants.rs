//! The grants of one token: patterns of rooms, each with the permissions that it gives.
//!
//! It knows no namespace and no configuration: `policy` asks it for a room. A token's claim is read here too, strictly:
//! a grant that was mistyped must fail at once, and not be understood as another one.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::pattern::{Pattern, PatternError};
use crate::limits::{GRANTS, GRANTS_BYTES};
use crate::model::{Permission, Permissions, UnknownPermission};

/// The most characters of a pattern that an error quotes.
const QUOTED_CHARS: usize = 64;

/// The grants of one user. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grants {
    list: Arc<[Grant]>,
    /// A token was read that does not have the claim.
    no_claim: bool,
}

/// One pattern, and the permissions in rooms where it decides.
#[derive(Clone, PartialEq, Eq)]
struct Grant {
    pattern: Pattern,
    permissions: Permissions,
}

/// The grant that decides in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deciding<'a> {
    /// Its pattern; of several that are equally specific, all of them, in the order of the token.
    pub patterns: Vec<&'a Pattern>,
    /// The permissions that all of them give.
    pub permissions: Permissions,
}

/// The reason why grants cannot be used. The issuer of the token must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GrantsError {
    /// A text is not a pattern.
    #[error("{0:?} is not a pattern of rooms: {1}")]
    Pattern(String, PatternError),
    /// A pattern has an unknown permission.
    #[error("{0:?}: {1}")]
    Permission(String, UnknownPermission),
    /// The permissions of a pattern are not a list of texts.
    #[error("{0:?} must have a list of permissions, such as [\"read\", \"write\"]")]
    NoList(String),
    /// A member of a list is not a pattern with permissions.
    #[error("{0:?} is not a grant; a list has texts such as \"rooms/team-*:read,write\"")]
    NoText(String),
    /// The same pattern is given twice.
    #[error("{0:?} is given twice")]
    Twice(String),
    /// There are too many patterns.
    #[error("it has more than {GRANTS} patterns")]
    TooMany,
    /// The patterns and permissions are too long.
    #[error("its patterns and permissions are longer than {GRANTS_BYTES} bytes together")]
    TooLong,
    /// It has no form of grants.
    #[error(
        "it is not an object of patterns, such as {{\"rooms/team-*\": [\"read\", \"write\"]}}, and not a list of texts, \
         such as [\"rooms/team-*:read,write\"]"
    )]
    NoGrants,
    /// A text of the command line is no grant.
    #[error("{0:?} is not a grant; write `namespace/name=permission,permission`, such as `rooms/team-*=read,write`")]
    NoGrant(String),
}

impl Grants {
    /// Grants from pairs of a pattern and its permissions.
    pub fn new<'a>(grants: impl IntoIterator<Item = (&'a str, Permissions)>) -> Result<Self, GrantsError> {
        let mut list = GrantList::default();
        for (pattern, permissions) in grants {
            list.add(pattern, permissions.iter().map(Permission::name))?;
        }
        Ok(list.finish())
    }

    /// Reads grants such as `rooms/team-*=read,write`, as on a command line. Without permissions after the `=`, a
    /// pattern gives none.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, GrantsError> {
        let mut list = GrantList::default();
        for text in texts {
            // The name of a room may contain `=`, and the name of a permission does not.
            let (pattern, permissions) = text.rsplit_once('=').ok_or_else(|| GrantsError::NoGrant(quoted(text)))?;
            list.add(pattern, listed(permissions))?;
        }
        Ok(list.finish())
    }

    /// Reads the claim `name` out of a token's claims, a JSON object: an object of patterns with their permissions, or a
    /// list of texts such as `rooms/team-*:read,write`. A token without the claim grants nothing.
    pub(in crate::edge) fn of_claims(claims: &[u8], name: &str) -> Result<Self, GrantsError> {
        let mut json = serde_json::Deserializer::from_slice(claims);
        let mut twice = false;
        let found = json.deserialize_map(FindClaim { name, twice: &mut twice });
        // All of it is JSON, as the other claims were read: so nothing else than the claim's own form can be wrong.
        let claim = match found {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(Grants::without_claim()),
            Err(_) if twice => return Err(GrantsError::Twice(quoted(name))),
            Err(_) => return Err(GrantsError::NoGrants),
        };
        let mut list = GrantList::default();
        match claim {
            Claim::Object(entries) => {
                for (pattern, permissions) in entries {
                    let no_list = || GrantsError::NoList(quoted(&pattern));
                    let names = permissions.as_array().ok_or_else(no_list)?.iter().map(Value::as_str);
                    let names = names.collect::<Option<Vec<_>>>().ok_or_else(no_list)?;
                    list.add(&pattern, names.into_iter())?;
                }
            }
            Claim::List(texts) => {
                for text in texts {
                    let no_text = || GrantsError::NoText(quoted(text.as_str().unwrap_or(&text.to_string())));
                    // As above, the name of a room may contain `:`.
                    let grant = text.as_str().and_then(|text| text.rsplit_once(':'));
                    let (pattern, permissions) = grant.ok_or_else(no_text)?;
                    list.add(pattern, listed(permissions))?;
                }
            }
        }
        Ok(list.finish())
    }

    /// The grants of a token that has no claim for them.
    pub(in crate::edge) fn without_claim() -> Self {
        Grants { no_claim: true, ..Grants::default() }
    }

    /// Whether these are the grants of a token that has no claim for them.
    pub fn has_no_claim(&self) -> bool {
        self.no_claim
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All patterns with their permissions, in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, Permissions)> {
        self.list.iter().map(|grant| (&grant.pattern, grant.permissions))
    }

    /// The grant that decides in a room: the most specific one that matches. If several are equally specific, only the
    /// permissions that all of them give count. `namespace` is spelled as in a path.
    pub(super) fn deciding(&self, namespace: &str, name: &str) -> Option<Deciding<'_>> {
        let mut deciding = None::<Deciding<'_>>;
        for Grant { pattern, permissions } in self.list.iter().filter(|grant| grant.pattern.matches(namespace, name)) {
            let only = Deciding { patterns: vec![pattern], permissions: *permissions };
            match &mut deciding {
                None => deciding = Some(only),
                Some(best) => match pattern.compare(best.patterns[0]) {
                    Ordering::Greater => *best = only,
                    Ordering::Less => {}
                    Ordering::Equal => {
                        best.patterns.push(pattern);
                        best.permissions = best.permissions.and(*permissions);
                    }
                },
            }
        }
        deciding
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Grants while they are read, within their limits.
#[derive(Default)]
struct GrantList {
    grants: Vec<Grant>,
    bytes: usize,
}

impl GrantList {
    fn add<'a>(&mut self, text: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), GrantsError> {
        if self.grants.len() == GRANTS {
            return Err(GrantsError::TooMany);
        }
        self.bytes += text.len() + names.clone().map(str::len).sum::<usize>();
        if self.bytes > GRANTS_BYTES {
            return Err(GrantsError::TooLong);
        }
        let pattern = Pattern::read(text).map_err(|error| GrantsError::Pattern(quoted(text), error))?;
        let permissions = names.map(str::parse).collect::<Result<Permissions, _>>();
        let permissions = permissions.map_err(|error| GrantsError::Permission(quoted(text), error))?;
        if self.grants.iter().any(|grant| grant.pattern == pattern) {
            return Err(GrantsError::Twice(quoted(text)));
        }
        self.grants.push(Grant { pattern, permissions });
        Ok(())
    }

    fn finish(self) -> Grants {
        Grants { list: self.grants.into(), no_claim: false }
    }
}

/// The permissions of a text such as `read,write`.
fn listed(permissions: &str) -> impl Iterator<Item = &str> + Clone {
    permissions.split(',').filter(|name| !name.is_empty())
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

/// Finds one claim among all.
struct FindClaim<'a> {
    name: &'a str,
    /// Set if the claim appears twice. A decoder could take the first one or the last one, so neither counts.
    twice: &'a mut bool,
}

impl<'de> Visitor<'de> for FindClaim<'_> {
    type Value = Option<Claim>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut claims: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = claims.next_key::<String>()? {
            if name != self.name {
                claims.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                *self.twice = true;
                return Err(A::Error::custom("a claim appears twice"));
            } else {
                found = Some(claims.next_value::<Claim>()?);
            }
        }
        Ok(found)
    }
}

/// The claim as it is written.
enum Claim {
    /// The members of an object in their order, also those that appear twice.
    Object(Vec<(String, Value)>),
    /// Some identity providers cannot write objects.
    List(Vec<Value>),
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadClaim)
    }
}

struct ReadClaim;

impl<'de> Visitor<'de> for ReadClaim {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    /// `null` is an empty object: templates of identity providers write it for a user without a value.
    fn visit_unit<E>(self) -> Result<Claim, E> {
        Ok(Claim::Object(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claim, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = members.next_entry()? {
            entries.push(entry);
        }
        Ok(Claim::Object(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Claim, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element()? {
            list.push(member);
        }
        Ok(Claim::List(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claim: &str) -> Result<Grants, GrantsError> {
        Grants::of_claims(format!(r#"{{"sub":"1","rooms":{claim},"exp":7}}"#).as_bytes(), "rooms")
    }

    fn in_room(grants: &str, room: &str) -> Option<String> {
        let (namespace, name) = room.split_once('/').unwrap();
        Some(read(grants).unwrap().deciding(namespace, name)?.permissions.to_string())
    }

    #[test]
    fn a_token_without_the_claim_grants_nothing() {
        for (claims, no_claim) in [
            ("{}", true),
            (r#"{"sub":"1"}"#, true),
            (r#"{"Rooms":{"**":["read"]}}"#, true),
            (r#"{"rooms":{}}"#, false),
            (r#"{"rooms":[]}"#, false),
            (r#"{"rooms":null}"#, false),
        ] {
            let grants = Grants::of_claims(claims.as_bytes(), "rooms").unwrap();
            assert_eq!((grants.is_empty(), grants.has_no_claim()), (true, no_claim), "{claims}");
        }
        let named = r#"{"https://app.example/rooms":{"rooms/a":["read"]}}"#;
        assert!(!Grants::of_claims(named.as_bytes(), "https://app.example/rooms").unwrap().is_empty());
    }

    #[test]
    fn the_most_specific_pattern_decides_alone() {
        let grants = r#"{
            "rooms/**": ["read", "write", "moderate"],
            "rooms/public-*": ["read"],
            "rooms/public-team": ["read", "write"],
            "rooms/secret": [],
            "PRESENCE/global": ["read", "presence"]
        }"#;
        for (room, permissions) in [
            ("rooms/lobby", Some("read, write, moderate")),
            ("rooms/public-a", Some("read")),
            ("rooms/public-team", Some("read, write")),
            ("rooms/secret", Some("")),
            ("rooms/a/b", Some("read, write, moderate")),
            ("presence/global", Some("read, presence")),
            ("presence/other", None),
        ] {
            assert_eq!(in_room(grants, room).as_deref(), permissions, "{room}");
        }
    }

    #[test]
    fn equally_specific_patterns_give_only_what_all_of_them_give() {
        let grants = r#"{"rooms/lo*": ["read", "write"], "rooms/*by": ["read", "moderate"], "rooms/*": ["admin"]}"#;
        assert_eq!(in_room(grants, "rooms/lobby").as_deref(), Some("read"));
        assert_eq!(in_room(grants, "rooms/loft").as_deref(), Some("read, write"));
        let grants = read(grants).unwrap();
        let deciding = grants.deciding("rooms", "lobby").unwrap();
        assert_eq!(
            deciding.patterns.iter().map(|pattern| pattern.to_string()).collect::<Vec<_>>(),
            ["rooms/lo*", "rooms/*by"]
        );
    }

    #[test]
    fn an_ambiguous_claim_is_refused_with_its_reason() {
        for (claim, says) in [
            (r#""rooms/a:read""#, "not an object"),
            ("7", "not an object"),
            ("true", "not an object"),
            (r#"{"rooms/a": "read"}"#, "must have a list of permissions"),
            (r#"{"rooms/a": ["read", 7]}"#, "must have a list of permissions"),
            (r#"{"rooms/a": null}"#, "must have a list of permissions"),
            (r#"{"rooms/a": ["reed"]}"#, "\"rooms/a\": \"reed\" is not a permission"),
            (r#"{"rooms/a": ["Read"]}"#, "not a permission"),
            (r#"{"rooms": ["read"]}"#, "\"rooms\" is not a pattern of rooms: it is not `namespace/name`"),
            (r#"{"rooms/a**": ["read"]}"#, "whole last segment"),
            (r#"{"rooms/a": ["read"], "rooms/a": []}"#, "\"rooms/a\" is given twice"),
            (r#"{"rooms/a": ["read"], "ROOMS/a": []}"#, "\"ROOMS/a\" is given twice"),
            (r#"{"rooms/a": ["read"], "rooms/\u0061": []}"#, "given twice"),
            (r#"{}, "rooms": {"**": ["read"]}"#, "\"rooms\" is given twice"),
            (r#"["rooms/a:read"], "rooms": []"#, "\"rooms\" is given twice"),
            (r#"["rooms/a"]"#, "\"rooms/a\" is not a grant; a list has texts such as \"rooms/team-*:read,write\""),
            (r#"["rooms/a:read", "Task.Read"]"#, "\"Task.Read\" is not a grant"),
            (r#"["rooms/a:read", 7]"#, "\"7\" is not a grant"),
            (r#"[["rooms/a:read"]]"#, "is not a grant"),
            (r#"[{"rooms/a":["read"]}]"#, "is not a grant"),
            (r#"["rooms/a:reed"]"#, "\"rooms/a\": \"reed\" is not a permission"),
            (r#"["rooms/a:read, write"]"#, "\"rooms/a\": \" write\" is not a permission"),
            (r#"["rooms:read"]"#, "\"rooms\" is not a pattern of rooms"),
            (r#"["rooms/a:read", "ROOMS/a:"]"#, "\"ROOMS/a\" is given twice"),
        ] {
            let problem = read(claim).unwrap_err().to_string();
            assert!(problem.contains(says), "{claim}: {problem}");
        }
    }

    #[test]
    fn grants_may_be_a_list_of_texts() {
        let list =
            read(r#"["rooms/team-*:read,write", "rooms/a:b:read", "rooms/secret:", "presence/**:read,presence"]"#);
        let object = r#"{
            "rooms/team-*": ["read", "write"],
            "rooms/a:b": ["read"],
            "rooms/secret": [],
            "presence/**": ["read", "presence"]
        }"#;
        assert_eq!(list, read(object));
    }

    #[test]
    fn a_token_has_at_most_a_hundred_patterns_and_four_kibibytes() {
        let of = |patterns: usize, length: usize| {
            let names = (0..patterns).map(|number| format!("rooms/{number:0length$}")).collect::<Vec<_>>();
            Grants::new(names.iter().map(|name| (&**name, Permissions::NONE)))
        };
        assert_eq!(of(GRANTS, 3).unwrap().iter().count(), GRANTS);
        assert_eq!(of(GRANTS + 1, 3), Err(GrantsError::TooMany));
        assert!(of(2, GRANTS_BYTES / 2 - "rooms/".len()).is_ok());
        assert_eq!(of(2, GRANTS_BYTES / 2 - "rooms/".len() + 1), Err(GrantsError::TooLong));
        let named = format!(r#"{{"rooms/a":[{}"read"]}}"#, r#""read","#.repeat(GRANTS_BYTES / 4));
        assert_eq!(read(&named), Err(GrantsError::TooLong));
        let listed = |patterns: usize, length: usize| {
            let texts = (0..patterns).map(|number| format!("\"rooms/{number:0length$}:\"")).collect::<Vec<_>>();
            read(&format!("[{}]", texts.join(",")))
        };
        assert_eq!(listed(GRANTS, 3), of(GRANTS, 3));
        assert_eq!(listed(GRANTS + 1, 3), Err(GrantsError::TooMany));
        assert_eq!(listed(2, GRANTS_BYTES / 2 - "rooms/".len() + 1), Err(GrantsError::TooLong));
    }

    #[test]
    fn grants_of_the_command_line_have_a_pattern_and_permissions() {
        let grants = Grants::from_texts(["rooms/team-7=read,write", "rooms/a=b=read", "rooms/secret="]).unwrap();
        let texts = grants.iter().map(|(pattern, permissions)| format!("{pattern}: {permissions}"));
        assert_eq!(texts.collect::<Vec<_>>(), ["rooms/team-7: read, write", "rooms/a=b: read", "rooms/secret: "]);
        for (bad, says) in [
            ("rooms/a", "not a grant"),
            ("=read", "not `namespace/name`"),
            ("rooms/a=reed", "not a permission"),
            ("rooms/a=read, write", "not a permission"),
        ] {
            let problem = Grants::from_texts([bad]).unwrap_err().to_string();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    /// Any claims give grants or an error, and grants give nothing in a room that none of their patterns matches.
    #[test]
    fn any_claim_gives_no_more_than_its_patterns_or_an_error() {
        const EXAMPLES: [&[u8]; 6] = [
            br#"{"rooms":["rooms/lobby:read,write","rooms/lo*:read","**:"],"sub":"1"}"#,
            br#"{"rooms":{"rooms/lobb\\*":["read"],"rooms/lo\\\\*":["write"],"rooms/lob*":["presence"]}}"#,
            br#"{"rooms":{"rooms/team-7":["read","write"],"rooms/public-*":["read"],"**":[]}}"#,
            br#"{"sub":"1","rooms":{"rooms/lo*":["read"],"rooms/*by":["write"],"presence/**":["presence"]},"exp":1}"#,
            br#"{"rooms":null,"rooms":{"a":["b"]}}"#,
            br#"{"rooms":{"rooms/lobby":["admin","moderate"],"rooms/lobby":[]}}"#,
        ];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let Ok(grants) = Grants::of_claims(&bytes, "rooms") else { return };
            let matching = grants.iter().filter(|(pattern, _)| pattern.matches("rooms", "lobby"));
            let most = matching.fold(Permissions::NONE, |most, (_, permissions)| most.or(permissions));
            let given = grants.deciding("rooms", "lobby").map_or(Permissions::NONE, |deciding| deciding.permissions);
            assert_eq!(given.and(most), given, "{grants:?}");
            for (pattern, permissions) in grants.iter().filter(|(pattern, _)| pattern.to_string() == "rooms/lobby") {
                assert_eq!(given, permissions, "{pattern} is the most specific");
            }
        });
    }
}
