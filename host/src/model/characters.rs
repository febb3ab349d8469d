//! Characters of names that could mislead a person who reads them. Names come from clients.

/// Control characters could be commands, and characters that change the direction of text or take no place could make
/// it look like another one. Printed names have such characters escaped.
pub fn may_mislead(char: char) -> bool {
    let is_invisible = matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    char.is_control() || is_invisible
}
