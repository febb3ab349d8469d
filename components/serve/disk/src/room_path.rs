//! Maps a room to its folder. Different rooms have different folders, also on file systems that ignore case, and no
//! name leads out of the data folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The longest part of a path, in bytes. File systems allow 255 bytes; those that encrypt names allow fewer.
const MAX_PART_BYTES: usize = 120;

/// The folder of a room below `data`.
pub fn folder(data: &Path, namespace: &str, name: &str) -> PathBuf {
    let mut folder = data.join(encode(namespace));
    let encoded = encode(name);
    let mut rest = encoded.as_str();
    // Every part but the last ends with `+`, which no encoded name contains: so no room is inside another's folder.
    while rest.len() > MAX_PART_BYTES {
        let (part, rest_after) = rest.split_at(MAX_PART_BYTES);
        folder.push(format!("{part}+"));
        rest = rest_after;
    }
    folder.join(rest)
}

/// Encodes a name: lower-case letters, digits and `-` stay, every other byte becomes `_` and two hexadecimal digits.
/// The `=` in front avoids reserved names such as `..` and `con`.
fn encode(name: &str) -> String {
    let mut encoded = String::from("=");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => encoded.push(byte.into()),
            other => write!(encoded, "_{other:02x}").expect("a string takes what is written to it"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(name: &str) -> String {
        folder(Path::new("/data"), "ROOMS", name).to_str().unwrap().strip_prefix("/data/").unwrap().to_owned()
    }

    #[test]
    fn a_simple_name_is_readable_in_its_folder() {
        assert_eq!(folder_of("lobby-1"), "=_52_4f_4f_4d_53/=lobby-1");
    }

    #[test]
    fn no_name_escapes_its_namespace_folder() {
        for name in ["..", ".", "/", "../../etc/passwd", "\\", "a/b", "con", "\0", "c:"] {
            let folder = folder_of(name);
            let parts = folder.split('/').collect::<Vec<_>>();
            assert_eq!(parts.len(), 2, "{folder}");
            assert!(parts[1].starts_with('=') && !parts[1].contains(['.', '\\', ':', '\0']), "{folder}");
        }
    }

    #[test]
    fn different_names_have_different_folders_ignoring_case() {
        let names = ["a", "A", "_41", "é", "É", "a ", " a", "a+", "a=", "ａ", &"a".repeat(119), &"a".repeat(120)];
        let folders = names.map(|name| folder_of(name).to_lowercase());
        for (at, folder) in folders.iter().enumerate() {
            assert!(!folders[at + 1..].contains(folder), "{folder}");
        }
    }

    #[test]
    fn a_long_name_is_split_and_no_room_contains_another() {
        for long in ["é".repeat(64), "a".repeat(128)] {
            let folder = folder_of(&long);
            assert!(folder.split('/').all(|part| part.len() <= MAX_PART_BYTES + 1), "{folder}");
            for end in (0..long.len()).filter(|end| long.is_char_boundary(*end)) {
                assert!(!folder.starts_with(&format!("{}/", folder_of(&long[..end]))), "{end} of {folder}");
            }
        }
    }
}
