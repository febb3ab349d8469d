//! Finds the `clientId` in a client's input even if the rest is broken, so that the client knows which message was
//! refused. It reads the text once from the front. After a syntax error it continues at the object's next comma.

use super::{MAX_CLIENT_ID_BYTES, surrogates};

const FIELD: &str = "clientId";

/// The first `clientId` of the outermost object, if it is valid.
pub(super) fn find(bytes: &[u8]) -> Option<String> {
    decoded(find_raw(bytes)?).filter(|id| (1..=MAX_CLIENT_ID_BYTES).contains(&id.len()))
}

/// Whether that `clientId` has a lone half of a surrogate pair. With U+FFFD in its place, different ids would be equal.
pub(super) fn has_lone_surrogate(bytes: &[u8]) -> bool {
    let text = find_raw(bytes).and_then(|id| std::str::from_utf8(id).ok());
    text.is_some_and(|text| surrogates::replaced(text).is_some())
}

/// The text of the first `clientId` between its quotes, not decoded.
fn find_raw(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader { bytes, at: 0 };
    reader.skip_blanks();
    reader.take(b'{')?;
    loop {
        reader.skip_blanks();
        if reader.peek()? != b'"' {
            reader.skip_value()?;
            continue;
        }
        let name = decoded(reader.string()?);
        reader.skip_blanks();
        if reader.take(b':').is_none() || name.as_deref() != Some(FIELD) {
            reader.skip_value()?;
            continue;
        }
        reader.skip_blanks();
        if reader.peek()? != b'"' {
            return None;
        }
        return reader.string();
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

// Each of these returns `None` if the text ends too early.
impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// The text between two quotes, not decoded.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.bytes[start..self.at - 1]);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Skips to the next field of the current object.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b',' if depth == 0 => {
                    self.at += 1;
                    return Some(());
                }
                b'}' | b']' if depth == 0 => return None,
                byte => {
                    match byte {
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                }
            }
        }
    }
}

fn decoded(string: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(string).ok()?;
    serde_json::from_str(&format!("\"{text}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_found_in_otherwise_malformed_json() {
        for text in [
            r#"{"clientId":"c1"}"#,
            " {\n\"type\" : \"message\" , \"clientId\" : \"c1\" } ",
            r#"{"clientId":"c1","content":"cut o"#,
            r#"{"clientId":"c1""#,
            r#"{"content":"bad \x escape","clientId":"c1"}"#,
            r#"{"content":"a \" , {","clientId":"c1"}"#,
            r#"{"content":[1,{"clientId":"inner"}],"clientId":"c1"}"#,
            r#"{"type":message,"clientId":"c1"}"#,
            r#"{type:"message","clientId":"c1"}"#,
            r#"{"type" "message","clientId":"c1"}"#,
            r#"{,,"clientId":"c1","clientId":"c2"}"#,
            r#"{"client\u0049d":"\u00631"}"#,
            "{\"content\":\"a\nb\",\"clientId\":\"c1\"}",
        ] {
            assert_eq!(find(text.as_bytes()).as_deref(), Some("c1"), "{text}");
        }
        assert_eq!(find(b"{\"content\":\"\xff\",\"clientId\":\"c1\"}").as_deref(), Some("c1"));
        assert_eq!(find(br#"{"\ud83d":1,"clientId":"\ud83d\udc2d"}"#).as_deref(), Some("🐭"));
    }

    #[test]
    fn only_the_client_id_of_the_message_itself_is_found() {
        let long = format!(r#"{{"clientId":"{}"}}"#, "c".repeat(MAX_CLIENT_ID_BYTES + 1));
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{",
            "{}",
            "hello",
            r#"["clientId","c1"]"#,
            r#"{"a":{"clientId":"c1"}}"#,
            r#"{"a":{"clientId":"c1","#,
            r#"{"clientId":7}"#,
            r#"{"clientId":null}"#,
            r#"{"clientId":""}"#,
            r#"{"clientId":"c1"#,
            r#"{"a":"clientId","b":"c1"}"#,
            r#"{"clientId"}"#,
            r#"{"clientId":"\ud83d"}"#,
            &long,
            &deep,
        ] {
            assert_eq!(find(text.as_bytes()), None, "{text:.80}");
        }
    }
}
