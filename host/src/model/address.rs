//! The address of a room: the name of its namespace and its own name.

use std::fmt;
use std::sync::Arc;

/// The longest name of a room, in bytes: a key of the store has it, and each room in memory. A router may be stricter;
/// the shipped router allows 128.
pub const NAME_BYTES: usize = 512;
/// The longest name of a namespace, in bytes: operators write it in the configuration, and clients in paths.
pub const NAMESPACE_BYTES: usize = 64;

/// The address of a room, always valid: the namespace is 1 to 64 ASCII letters, digits, `-` and `_`; the name is 1 to
/// 512 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    namespace: Arc<str>,
    name: Arc<str>,
}

/// The reason why a text is not an address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// The namespace is empty, too long, or contains other characters than letters, digits, `-` and `_`.
    #[error("a namespace is 1 to {NAMESPACE_BYTES} ASCII letters, digits, `-` and `_`")]
    Namespace,
    /// The name is empty or too long.
    #[error("a room's name is 1 to {NAME_BYTES} bytes long")]
    NameLength,
    /// The name contains a control character.
    #[error("a room's name has no control characters")]
    NameControl,
}

impl Address {
    /// The address of the room `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Result<Self, AddressError> {
        Self::check_namespace(namespace)?;
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(AddressError::NameLength);
        }
        if name.chars().any(char::is_control) {
            return Err(AddressError::NameControl);
        }
        Ok(Address { namespace: namespace.into(), name: name.into() })
    }

    /// Whether a text is a valid name of a namespace.
    pub fn check_namespace(namespace: &str) -> Result<(), AddressError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if namespace.is_empty() || namespace.len() > NAMESPACE_BYTES || !namespace.bytes().all(plain) {
            return Err(AddressError::Namespace);
        }
        Ok(())
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the room.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
