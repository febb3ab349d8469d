//! Reads the declarations of a component about its configuration: its settings with type and range, and the namespaces
//! that a router names. With them the host refuses a wrong configuration at start, and not at the first event.
//!
//! A declaration is text in custom sections named `dormouse:settings`, in the component or in its modules. The macros
//! `settings!` and `routes_to!` of the kit write them. The first line is the version, each further line is a setting. A
//! component without such a section declares nothing and accepts any configuration.

use crate::model::{Declared, Setting, SettingKind as Kind};

/// The name of the custom sections.
const SECTION: &str = "dormouse:settings";

/// The supported version. Other versions are ignored, as if nothing were declared.
const VERSION: &str = "1";

/// How deeply nested components are searched. Composed components have one or two levels.
const DEPTH: usize = 4;

/// The declarations of a component; absent if there are none.
pub(super) fn read(wasm: &[u8]) -> Option<Declared> {
    let mut text = String::new();
    collect(wasm, DEPTH, &mut text);
    parse(&text)
}

fn parse(text: &str) -> Option<Declared> {
    let mut declared = None;
    for line in text.lines() {
        let words = line.split(' ').collect::<Vec<_>>();
        match words[..] {
            [VERSION] => drop(declared.get_or_insert_with(Declared::default)),
            [name, "text"] => declared.as_mut()?.settings.push(Setting { name: name.into(), kind: Kind::Text }),
            [name, "number", from, to] => {
                let kind = Kind::Number { from: from.parse().ok()?, to: to.parse().ok()? };
                declared.as_mut()?.settings.push(Setting { name: name.into(), kind });
            }
            ["message_out_bytes", "least", bytes] => declared.as_mut()?.message_out_bytes = bytes.parse().ok()?,
            ["message_in_bytes", "least", bytes] => declared.as_mut()?.message_in_bytes = bytes.parse().ok()?,
            [name, "routed"] => declared.as_mut()?.namespaces.push(name.into()),
            _ => return None,
        }
    }
    declared
}

/// Collects the text of all such sections. The component was compiled before, so its format is valid; otherwise the
/// rest is ignored.
fn collect(wasm: &[u8], depth: usize, text: &mut String) {
    const CUSTOM: u8 = 0;
    const CORE_MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    // The fifth byte distinguishes components from modules, in which the other section numbers have another meaning.
    let Some((header, mut rest)) = wasm.split_at_checked(8) else { return };
    let is_component = header[4] != 1;
    while let Some((&id, behind)) = rest.split_first() {
        let Some((section, next)) = sized(behind) else { return };
        match id {
            CUSTOM => {
                if let Some((name, content)) = sized(section)
                    && name == SECTION.as_bytes()
                {
                    text.push_str(&String::from_utf8_lossy(content));
                }
            }
            CORE_MODULE | COMPONENT if is_component && depth > 0 => collect(section, depth - 1, text),
            _ => {}
        }
        rest = next;
    }
}

/// Splits off bytes that have their length in front.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_rooms_declare_their_settings() {
        let chat_room = read(dormouse_bundle::CHAT_ROOM).unwrap();
        let kind = Kind::Number { from: 1, to: 1_000_000_000 };
        assert_eq!(chat_room.settings, [Setting { name: "keep_messages".into(), kind }]);
        let presence_tracker = read(dormouse_bundle::PRESENCE_TRACKER).unwrap();
        assert_eq!(presence_tracker.settings, []);
        assert_eq!((chat_room.message_out_bytes, presence_tracker.message_out_bytes), (4_096, 4_096));
        assert_eq!((chat_room.message_in_bytes, presence_tracker.message_in_bytes), (256, 64));
    }

    #[test]
    fn a_component_without_a_declaration_accepts_any_setting() {
        assert_eq!(read(dormouse_bundle::COUNTER), None);
        for wasm in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff", b"\0asm\x0d\0\x01\0\0\x80"] {
            assert_eq!(read(wasm), None);
        }
    }

    #[test]
    fn a_declaration_of_another_version_or_kind_is_ignored() {
        for text in ["", "2\na text", "a text", "1\na colour", "1\na number x 5", "1\na number 1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let declared = parse("1\na text\n1\nb number 0 18446744073709551615\n").unwrap();
        assert_eq!(declared.settings.len(), 2, "a composed component may have a section for each part");
    }
}
