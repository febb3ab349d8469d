//! Forged tokens, against a server that knows one key of each kind.
//!
//! The tables in `host/src/edge/token.rs` test single claims; these tests need keys and a network.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use hyper::{Method, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Answer, BASE, Server};

/// For HS256.
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/keys");

pub(crate) fn now_s() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs()
}

/// A token of any form, signed with a secret.
pub(crate) fn signed_with(head: &Value, claims: &Value, secret: &[u8]) -> String {
    signed(&head.to_string(), &claims.to_string(), &EncodingKey::from_secret(secret), Algorithm::HS256)
}

/// A token for `ana` that is good for an hour, with these claims beside.
pub(crate) fn token_with(claims: &Value) -> String {
    let mut all = json!({ "sub": "id-ana", "name": "ana", "exp": now_s() + 3_600 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    signed_with(&json!({ "alg": "HS256" }), &all, SECRET.as_bytes())
}

fn signed(head: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let encode = |part: &str| BASE64_URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(head), encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("a good key");
    format!("{message}.{signature}")
}

/// A server that takes tokens signed with the secret, and none but those.
pub(crate) async fn server_with_secret(config: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    Server::in_directory(directory, &with_secret(config)).await
}

/// Its configuration.
pub(crate) fn with_secret(config: &str) -> String {
    format!(
        "{config}\n[identity]\nauth = \"jwt\"\naccess = \"open\"\nleeway = \"0s\"\n\
         keys = [{{ algorithm = \"HS256\", file = \"secret\" }}]\n"
    )
}

/// The result of a request with a token.
pub(crate) async fn request_with_token(server: &Server, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/rooms/a/messages");
    server.request(Method::GET, &path, &[("authorization", &authorization)], "").await
}

fn public(kind: &str) -> Vec<u8> {
    std::fs::read(format!("{KEYS}/{kind}.public.pem")).unwrap()
}

fn private(kind: &str) -> (EncodingKey, Algorithm) {
    let pem = std::fs::read(format!("{KEYS}/{kind}.private.pem")).unwrap();
    match kind {
        "rs256" => (EncodingKey::from_rsa_pem(&pem).unwrap(), Algorithm::RS256),
        "es256" => (EncodingKey::from_ec_pem(&pem).unwrap(), Algorithm::ES256),
        _ => (EncodingKey::from_ed_pem(&pem).unwrap(), Algorithm::EdDSA),
    }
}

/// A public key as a set has it, without `alg`.
pub(crate) fn jwk(kind: &str) -> Value {
    let pem = public(kind);
    let key = match kind {
        "rs256" => DecodingKey::from_rsa_pem(&pem),
        "es256" => DecodingKey::from_ec_pem(&pem),
        _ => DecodingKey::from_ed_pem(&pem),
    };
    serde_json::to_value(Jwk::from_decoding_key(&key.unwrap(), None).unwrap()).unwrap()
}

fn claims() -> String {
    json!({ "sub": "1", "exp": now_s() + 3_600 }).to_string()
}

#[tokio::test]
async fn each_key_of_a_set_verifies_with_its_own_algorithm() {
    let directory = Arc::new(TempDir::new().unwrap());
    let mut keys = ["rs256", "es256", "eddsa"].map(|kind| {
        let mut key = jwk(kind);
        key["kid"] = kind.into();
        key
    });
    keys[0]["use"] = "sig".into();
    let oct = json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET), "key_ops": ["verify"] });
    let other = json!({ "kty": "EC", "crv": "P-521", "kid": "new", "x": "AA", "y": "AA" });
    let set = json!({ "keys": [keys[0], other, keys[1], keys[2], oct] });
    std::fs::write(directory.path().join("keys.json"), set.to_string()).unwrap();
    let server =
        Server::in_directory(directory, "[identity]\nauth = \"jwt\"\naccess = \"open\"\njwks = \"keys.json\"\n").await;
    server.wait_for_log("a key of a set is not used").await;

    for kind in ["rs256", "es256", "eddsa"] {
        let (key, algorithm) = private(kind);
        let token =
            |kid: &str| signed(&json!({ "alg": algorithm, "kid": kid }).to_string(), &claims(), &key, algorithm);
        assert_eq!(request_with_token(&server, &token(kind)).await.status, StatusCode::OK, "{kind}");
        for other in ["rs256", "es256", "eddsa", "new", ""].iter().filter(|other| **other != kind) {
            request_with_token(&server, &token(other)).await.is_problem(401);
        }
    }
    // The one without a name is for tokens of any.
    for head in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "kid": "whatever" })] {
        let token =
            signed(&head.to_string(), &claims(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256);
        assert_eq!(request_with_token(&server, &token).await.status, StatusCode::OK, "{head}");
    }
}

#[tokio::test]
async fn a_token_with_another_algorithm_than_its_keys_is_refused() {
    let key = |name: &str, kind: &str| {
        format!("{{ algorithm = \"{name}\", id = \"{kind}\", file = \"{KEYS}/{kind}.public.pem\" }}")
    };
    let keys = [key("RS256", "rs256"), key("ES256", "es256"), key("EdDSA", "eddsa")].join(", ");
    let server = Server::with(&format!("[identity]\nauth = \"jwt\"\naccess = \"open\"\nkeys = [{keys}]\n")).await;
    let (rsa, _) = private("rs256");
    let good = signed(r#"{"alg":"RS256","kid":"rs256"}"#, &claims(), &rsa, Algorithm::RS256);
    assert_eq!(request_with_token(&server, &good).await.status, StatusCode::OK);
    let (message, signature) = good.rsplit_once('.').unwrap();

    // Public keys, as texts and as numbers, for secrets.
    let decoded = |kind: &str| match kind {
        "rs256" => DecodingKey::from_rsa_pem(&public(kind)),
        "es256" => DecodingKey::from_ec_pem(&public(kind)),
        _ => DecodingKey::from_ed_pem(&public(kind)),
    };
    for kind in ["rs256", "es256", "eddsa"] {
        let pem = public(kind);
        for secret in [&pem[..], pem.trim_ascii_end(), decoded(kind).unwrap().try_get_as_bytes().unwrap(), b""] {
            for kid in [json!(kind), json!(null)] {
                let head = json!({ "alg": "HS256", "kid": kid });
                request_with_token(&server, &signed_with(&head, &serde_json::from_str(&claims()).unwrap(), secret))
                    .await
                    .is_problem(401);
            }
        }
    }
    // The same signature under another algorithm's name, and under none.
    let claims_part = message.split_once('.').unwrap().1;
    for algorithm in
        ["none", "None", "NONE", "nOnE", "", "RS512", "PS256", "ES256", "EdDSA", "HS256", "RS256 ", "rs256"]
    {
        for kid in ["rs256", "es256", "eddsa"] {
            let head = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm, "kid": kid }).to_string());
            for signature in ["", signature] {
                request_with_token(&server, &format!("{head}.{claims_part}.{signature}")).await.is_problem(401);
            }
        }
    }
    // A signature that is true, under the name of another algorithm.
    for algorithm in ["none", "", "RS512", "PS256", "HS256", "ES256", "EdDSA", "rs256"] {
        let head = json!({ "alg": algorithm, "kid": "rs256" }).to_string();
        request_with_token(&server, &signed(&head, &claims(), &rsa, Algorithm::RS256)).await.is_problem(401);
    }
    // A key for another algorithm of the same kind.
    let pss = signed(r#"{"alg":"PS256","kid":"rs256"}"#, &claims(), &rsa, Algorithm::PS256);
    request_with_token(&server, &pss).await.is_problem(401);
    let stronger = signed(r#"{"alg":"RS512","kid":"rs256"}"#, &claims(), &rsa, Algorithm::RS512);
    request_with_token(&server, &stronger).await.is_problem(401);
}

#[tokio::test]
async fn a_token_header_cannot_supply_its_own_key() {
    let server = server_with_secret("").await;
    let own = "a secret of the forger's own, just as long";
    let of_forger = json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(own) });
    let claims = serde_json::from_str(&claims()).unwrap();
    let heads = [
        json!({ "alg": "HS256", "jwk": of_forger }),
        json!({ "alg": "HS256", "jku": "https://evil.example/keys.json" }),
        json!({ "alg": "HS256", "x5u": "https://evil.example/cert.pem", "x5c": ["AA=="] }),
    ];
    for head in heads {
        request_with_token(&server, &signed_with(&head, &claims, own.as_bytes())).await.is_problem(401);
        assert_eq!(
            request_with_token(&server, &signed_with(&head, &claims, SECRET.as_bytes())).await.status,
            StatusCode::OK,
            "{head}"
        );
    }
    let critical = json!({ "alg": "HS256", "crit": ["exp"] });
    request_with_token(&server, &signed_with(&critical, &claims, SECRET.as_bytes())).await.is_problem(401);
    // A name is compared and nothing else: it is no path, no query and no address. For a key without one all are alike.
    for kid in ["../../../dev/null", "/dev/null", "' OR 1=1 --", "https://evil.example", "\u{0}", &"k".repeat(8_000)] {
        let head = json!({ "alg": "HS256", "kid": kid });
        assert_eq!(
            request_with_token(&server, &signed_with(&head, &claims, SECRET.as_bytes())).await.status,
            StatusCode::OK,
            "{kid}"
        );
        request_with_token(&server, &signed_with(&head, &claims, b"")).await.is_problem(401);
    }
}

#[tokio::test]
async fn tokens_have_one_form_and_a_maximum_length() {
    let server = server_with_secret("").await;
    let good = token_with(&json!({}));
    assert_eq!(request_with_token(&server, &good).await.status, StatusCode::OK);
    let parts = good.split('.').collect::<Vec<_>>();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let with_signature = |signature: &str| format!("{}.{}.{signature}", parts[0], parts[1]);
    let padded = BASE64_URL_SAFE.encode(&signature);
    // 32 bytes are 43 characters, of which the last has two bits that mean nothing; here they are set.
    let (front, last) = parts[2].split_at(42);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let spare = &alphabet[alphabet.find(last).unwrap() + 1..][..1];
    let mut signature_of_other_alphabet = None;
    for number in 0.. {
        let token = token_with(&json!({ "number": number }));
        let (message, signature) = token.rsplit_once('.').unwrap();
        if signature.contains(['-', '_']) {
            assert_eq!(request_with_token(&server, &token).await.status, StatusCode::OK);
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            signature_of_other_alphabet = Some(format!("{message}.{}", BASE64_STANDARD_NO_PAD.encode(bytes)));
            break;
        }
    }
    let forms = [
        format!("{good}."),
        format!("{good}.AA"),
        format!("{good}x"),
        format!("{good} x"),
        format!("{good}%00"),
        format!(".{good}"),
        with_signature(&padded),
        with_signature(&format!("{front}{spare}")),
        with_signature(front),
        signature_of_other_alphabet.unwrap(),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
    ];
    for form in forms {
        request_with_token(&server, &form).await.is_problem(401);
    }

    let long = |bytes: usize| token_with(&json!({ "aud": "x".repeat(bytes) }));
    assert_eq!(request_with_token(&server, &long(11_000)).await.status, StatusCode::OK, "longer than any cookie");
    let too_long = request_with_token(&server, &long(12_500)).await;
    too_long.is_problem(401);
    assert!(too_long.json()["detail"].as_str().unwrap().contains("longer than 16384 bytes"), "{too_long:?}");
    assert_eq!(request_with_token(&server, &good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn incomplete_or_ambiguous_token_claims_are_refused() {
    let server = server_with_secret("").await;
    let with = |claims: Value| signed_with(&json!({ "alg": "HS256" }), &claims, SECRET.as_bytes());
    let exp = now_s() + 60;
    let bad = [
        json!({ "exp": exp }),
        json!({ "sub": "1" }),
        json!({ "sub": "", "exp": exp }),
        json!({ "sub": "x".repeat(257), "exp": exp }),
        json!({ "sub": "a\nb", "exp": exp }),
        json!({ "sub": "1", "name": "a\u{0}", "exp": exp }),
        json!({ "sub": "1", "exp": exp.to_string() }),
        json!({ "sub": "1", "exp": exp * 1_000 }),
        json!({ "sub": "1", "exp": now_s() - 1 }),
        json!({ "sub": "1", "exp": exp, "nbf": exp }),
        json!({ "sub": "1", "exp": exp, "iat": exp }),
    ];
    for claims in bad {
        request_with_token(&server, &with(claims)).await.is_problem(401);
    }
    assert_eq!(
        request_with_token(&server, &with(json!({ "sub": "1", "exp": exp, "nbf": now_s() }))).await.status,
        StatusCode::OK
    );
    let twice = format!(r#"{{"sub":"1","sub":"2","exp":{exp}}}"#);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    request_with_token(&server, &signed(r#"{"alg":"HS256"}"#, &twice, &key, Algorithm::HS256)).await.is_problem(401);
}
