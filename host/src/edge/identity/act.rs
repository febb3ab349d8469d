//! The user for whom a service acts, as a token's claim `act` and the header `dormouse-act` name one.
//!
//! In RFC 8693 the claim `act` names the party that acts. Here it names the user for whom the token's subject acts. An
//! ordinary token may carry the claim of the RFC: it is not read.
//!
//! It does not know who may act: `token` and `http` do.

use serde::Deserialize;

use super::verified::{Invalid, check_names};
use crate::limits::ACT_BYTES;
use crate::model::User;

/// The form of the text, as errors show it.
const FORM: &str = r#"{"sub":"USERID","name":"USERNAME"}, where the name may be left out"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    sub: String,
    name: Option<String>,
}

/// Reads the JSON of a claim or a header.
pub(in crate::edge) fn read(json: &[u8]) -> Result<User, Invalid> {
    if json.len() > ACT_BYTES {
        return Err(Invalid(format!("it is longer than {ACT_BYTES} bytes")));
    }
    // serde would accept an array in place of the object.
    let is_object = json.trim_ascii_start().starts_with(b"{");
    let act = is_object.then(|| serde_json::from_slice::<Act>(json).ok()).flatten();
    let Act { sub, name } = act.ok_or_else(|| Invalid(format!("it must be {FORM}")))?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| sub.clone());
    let user = User { id: sub, name };
    check_names(&user)?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::USER_BYTES;

    #[test]
    fn the_user_of_an_act_is_read_and_the_name_may_be_left_out() {
        let user = |id: &str, name: &str| Ok(User::new(id, name));
        assert_eq!(read(br#"{"sub":"ana","name":"Ana"}"#), user("ana", "Ana"));
        assert_eq!(read(br#" { "name" : "An\u00e1", "sub" : "ana" } "#), user("ana", "An\u{e1}"));
        assert_eq!(read("{\"sub\":\"ana\",\"name\":\"Aná\"}".as_bytes()), user("ana", "Aná"));
        for without_name in [r#"{"sub":"ana"}"#, r#"{"sub":"ana","name":null}"#, r#"{"sub":"ana","name":""}"#] {
            assert_eq!(read(without_name.as_bytes()), user("ana", "ana"), "{without_name}");
        }
        // Every byte of both may be escaped.
        let longest = r"\u0061".repeat(USER_BYTES);
        let read = read(format!(r#"{{"sub":"{longest}","name":"{longest}"}}"#).as_bytes()).unwrap();
        assert_eq!((read.id.len(), read.name.len()), (USER_BYTES, USER_BYTES));
    }

    #[test]
    fn an_act_that_names_no_user_exactly_is_refused() {
        let too_long = format!(r#"{{"sub":"{}"}}"#, "a".repeat(USER_BYTES + 1));
        let padded = format!(r#"{{"sub":"ana"}}{}"#, " ".repeat(ACT_BYTES));
        for bad in [
            "",
            "ana",
            "\"ana\"",
            "{}",
            r#"["ana","Ana"]"#,
            r#"{"sub":""}"#,
            r#"{"sub":7}"#,
            r#"{"sub":null}"#,
            r#"{"name":"Ana"}"#,
            r#"{"sub":"ana","sub":"bo"}"#,
            r#"{"sub":"ana","act":{"sub":"bo"}}"#,
            r#"{"sub":"ana"}{"sub":"bo"}"#,
            r#"{"sub":"a\nb"}"#,
            r#"{"sub":"ana","name":"\u0000"}"#,
            &too_long,
            &padded,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(b"{\"sub\":\"\xff\"}").is_err());
    }
}
