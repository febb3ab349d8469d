//! The status that a user chooses.

use serde::{Deserialize, Serialize};

/// The three statuses of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Online,
    Away,
    Busy,
}

impl Status {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "online" => Some(Status::Online),
            "away" => Some(Status::Away),
            "busy" => Some(Status::Busy),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_three_statuses_is_read_as_written() {
        for name in ["online", "away", "busy"] {
            let status = Status::from_name(name).unwrap();
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{name}\""));
        }
        for name in ["", "Online", "invisible", "away "] {
            assert_eq!(Status::from_name(name), None);
        }
    }
}
