//! Declarations of a component about its configuration.

/// All declarations of a component.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// Its settings, in the order of the declaration.
    pub settings: Vec<Setting>,
    /// The lowest `message_out_bytes` with which its first messages fit.
    pub message_out_bytes: usize,
    /// The lowest `message_in_bytes` with which a message of a client fits.
    pub message_in_bytes: usize,
    /// For a router: the namespaces that it names.
    pub namespaces: Vec<String>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in `config` of a namespace.
    pub name: String,
    /// The values that it accepts.
    pub kind: SettingKind,
}

/// The values that a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// A whole number within these bounds, both included.
    Number {
        /// The lowest.
        from: u64,
        /// The highest.
        to: u64,
    },
}

impl SettingKind {
    /// Checks a value; the error says what it should be.
    pub fn check(self, value: &str) -> Result<(), String> {
        match self {
            SettingKind::Text => Ok(()),
            SettingKind::Number { from, to } => {
                // `parse` alone would accept a plus sign.
                let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
                match value.parse::<u64>().ok().filter(|_| is_number) {
                    Some(number) if (from..=to).contains(&number) => Ok(()),
                    _ => Err(format!("{value:?} is not a number from {from} to {to}")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_within_its_range() {
        let kind = SettingKind::Number { from: 1, to: 100 };
        for good in ["1", "100", "007"] {
            assert_eq!(kind.check(good), Ok(()), "{good}");
        }
        for bad in ["", "0", "101", "-1", "+1", "1.5", " 1", "1e1", "lots", "99999999999999999999"] {
            assert_eq!(kind.check(bad), Err(format!("{bad:?} is not a number from 1 to 100")));
        }
        assert_eq!(SettingKind::Text.check(""), Ok(()));
    }
}
