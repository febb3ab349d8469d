//! Refuses paths that cannot work: the prefix of all routes, and the directory of the data.

use std::path::{Component, Path, PathBuf};

use crate::config::{Config, ConfigError, Limits};

impl Config {
    /// Checks that the data can be stored in the configured directory. A host that is given a store needs no directory.
    #[expect(clippy::disallowed_methods, reason = "it looks at the data directory before the store opens it")]
    pub fn check_data(&self) -> Result<(), ConfigError> {
        let invalid = |problem: String| Err(ConfigError::invalid("data", problem));
        let data = &self.data;
        let shown = data.display();
        if data.as_os_str().is_empty() {
            return invalid("must not be empty; name a directory such as `./dormouse-data`".into());
        }
        let data = std::path::absolute(data).unwrap_or_else(|_| data.clone());
        if data.parent().is_none() {
            return invalid(format!(
                "{shown} is the root of all files; name a directory in it that only dormouse uses"
            ));
        }
        let there = data.ancestors().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
        let Some((there, metadata)) = there else { return Ok(()) };
        if !metadata.is_dir() && there == data {
            return invalid(format!("{shown} is a file; name a directory"));
        }
        if !metadata.is_dir() {
            return invalid(format!(
                "{} is a file, so {shown} cannot be a directory; name another one",
                there.display()
            ));
        }
        if let Some(disk) = Disk::of(there)
            && self.limits.min_free_bytes >= disk.total_bytes
        {
            let problem = format!(
                "{} is not less than the whole disk of {shown}, {}, so no turn could ever write; write less, such as {}",
                self.limits.min_free_bytes,
                disk.total_bytes,
                Limits::default().min_free_bytes
            );
            return Err(ConfigError::invalid("limits.min_free_bytes", problem));
        }
        use rustix::fs::{Access, access};
        if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let there = there.display();
            return invalid(format!(
                "the user of this process may not write into {there}; change that, or name another"
            ));
        }
        Ok(())
    }

    pub(super) fn check_base_path(&self) -> Result<(), ConfigError> {
        let path = &self.base_path;
        let invalid = |problem: &str| {
            let example = "write `/`, or a path such as `/api/realtime`";
            Err(ConfigError::invalid("base_path", format!("`{path}` {problem}; {example}")))
        };
        if path == "/" {
            return Ok(());
        }
        let Some(segments) = path.strip_prefix('/') else { return invalid("does not begin with a slash") };
        if path.ends_with('/') {
            return invalid("ends with a slash");
        }
        // Browsers percent-encode all other characters, and routes are compared as they arrive.
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
        if let Some(odd) = segments.chars().find(|char| *char != '/' && !u8::try_from(*char).is_ok_and(may_be)) {
            return invalid(&format!("has the character {odd:?}, which no browser sends in a path as it is"));
        }
        if segments.split('/').any(str::is_empty) {
            return invalid("has two slashes in a row");
        }
        if segments.split('/').any(|segment| matches!(segment, "." | "..")) {
            return invalid("has a part `.` or `..`, which browsers remove");
        }
        match segments.split('/').next() {
            Some("healthz") => invalid("begins with the path of the health check"),
            Some("readyz") => invalid("begins with the path of the readiness check"),
            Some("client" | "config.json") if self.has_demo_page() => invalid("begins with a path of the demo page"),
            _ => Ok(()),
        }
    }
}

/// The disk of a path.
pub(super) struct Disk {
    total_bytes: u64,
    free_bytes: u64,
}

impl Disk {
    /// The disk of a path, or of the directory in which it would be made; absent if its size is unknown.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
        let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        (total_bytes > 0).then_some(Disk { total_bytes, free_bytes })
    }

    /// A warning if no turn may write now.
    pub(super) fn warning(&self, min_free_bytes: u64) -> Option<String> {
        let free = self.free_bytes;
        (free < min_free_bytes).then(|| {
            format!(
                "limits.min_free_bytes: the disk of the data has {free} bytes free, which is less than {min_free_bytes}, \
                 so no turn may write; free some space, or write less"
            )
        })
    }
}

/// An absolute path without links, `.` and `..`.
pub fn full_path(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, mut full)) = existing else { return Ok(path) };
    // A path that does not exist yet has no links, so `..` is its parent.
    for part in path.strip_prefix(there).expect("it is one of its ancestors").components() {
        match part {
            Component::ParentDir => drop(full.pop()),
            part => full.push(part),
        }
    }
    Ok(full)
}
