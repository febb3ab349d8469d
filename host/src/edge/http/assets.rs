//! The operator's own page: the files of one folder. They are read into memory at the start and at each reload, so that a
//! request without an identity opens no file, and nothing outside the folder can be named.
//!
//! It knows no rooms. The pipeline asks it about a path before it says that a path leads nowhere.
#![expect(clippy::disallowed_methods, reason = "it reads the files of the page")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, Request, Response};

use super::credential::percent_decode;
use crate::edge::response::body::Body;
use crate::edge::response::file::{answer_with, content_type};
use crate::file_problem::FileProblem;
use crate::limits::{ASSETS, ASSETS_BYTES, ASSETS_DEPTH};
use crate::lock::ReadWriteLock;

/// The file of a folder.
const INDEX: &str = "index.html";

/// The files of the page.
#[derive(Debug)]
pub struct Assets {
    folder: PathBuf,
    files: ReadWriteLock<Arc<Files>>,
}

/// By their paths, which begin with a slash. A folder has the path that ends with one.
type Files = BTreeMap<String, (&'static str, Bytes)>;

/// Why the files of the page cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// A file or a folder cannot be read.
    #[error("assets: {path} cannot be read: {source}")]
    Read {
        /// The file or the folder.
        path: PathBuf,
        /// The error of the operating system.
        source: FileProblem,
    },
    /// There is more than fits into memory.
    #[error(
        "assets: {folder} has more than {ASSETS} files, {ASSETS_BYTES} bytes or {ASSETS_DEPTH} folders in each other, \
         which are kept in memory; let a web server have the large ones"
    )]
    TooMuch {
        /// The folder.
        folder: PathBuf,
    },
}

impl Assets {
    /// Reads the files of a folder. Those whose names begin with a dot are left out.
    pub fn open(folder: &Path) -> Result<Self, AssetsError> {
        let files = ReadWriteLock::new(Arc::new(read(folder)?));
        Ok(Assets { folder: folder.into(), files })
    }

    /// Reads the files again. If that fails, those before stay.
    pub(in crate::edge) fn reload(&self) -> Result<(), AssetsError> {
        *self.files.write() = Arc::new(read(&self.folder)?);
        Ok(())
    }

    /// The answer to a request for a file; absent if it is for no file, or does not only read.
    pub(super) fn answer(&self, request: &Request<()>) -> Option<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let files = self.files.read().clone();
        let (content_type, contents) = files.get(&percent_decode(request.uri().path())?)?;
        Some(answer_with(content_type, contents.clone(), request.headers()))
    }
}

fn read(folder: &Path) -> Result<Files, AssetsError> {
    let mut files = Files::new();
    let mut left = ASSETS_BYTES;
    read_folder(folder, folder, "/", ASSETS_DEPTH, &mut left, &mut files)?;
    Ok(files)
}

fn read_folder(
    root: &Path,
    folder: &Path,
    path: &str,
    depth_left: usize,
    bytes_left: &mut u64,
    files: &mut Files,
) -> Result<(), AssetsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| AssetsError::Read { path, source: error.into() }
    };
    let too_much = || AssetsError::TooMuch { folder: root.into() };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned) else {
            continue;
        };
        let file = entry.path();
        // A link to a folder could lead in a circle; one to a file is read.
        if entry.file_type().map_err(failed(&file))?.is_dir() {
            let depth_left = depth_left.checked_sub(1).ok_or_else(too_much)?;
            read_folder(root, &file, &format!("{path}{name}/"), depth_left, bytes_left, files)?;
            continue;
        }
        let found = fs::metadata(&file).map_err(failed(&file))?;
        if !found.is_file() {
            continue;
        }
        *bytes_left = bytes_left.checked_sub(found.len()).ok_or_else(too_much)?;
        let contents = Bytes::from(fs::read(&file).map_err(failed(&file))?);
        if name == INDEX {
            files.insert(path.to_owned(), (content_type(&name), contents.clone()));
        }
        files.insert(format!("{path}{name}"), (content_type(&name), contents));
        if files.len() > ASSETS {
            return Err(too_much());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(assets: &Assets, path: &str) -> Option<u16> {
        let request = Request::builder().uri(path).body(()).unwrap();
        assets.answer(&request).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_the_files_of_the_folder_are_found() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("public");
        fs::create_dir_all(folder.join("img")).unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        for file in ["index.html", "app.js", "img/index.html", "img/a b.png", ".env"] {
            fs::write(folder.join(file), file).unwrap();
        }
        let assets = Assets::open(&folder).unwrap();
        for path in ["/", "/index.html", "/app.js", "/img/", "/img/a%20b.png"] {
            assert_eq!(status(&assets, path), Some(200), "{path}");
        }
        for path in ["/img", "/.env", "/../secret", "/img/../../secret", "/%2e%2e/secret", "/app.js/"] {
            assert_eq!(status(&assets, path), None, "{path}");
        }
        let post = Request::builder().method("POST").uri("/").body(()).unwrap();
        assert!(assets.answer(&post).is_none());
        fs::write(folder.join("new.css"), "").unwrap();
        assets.reload().unwrap();
        assert_eq!(status(&assets, "/new.css"), Some(200));
    }

    #[test]
    fn a_missing_folder_and_too_many_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Assets::open(&folder.path().join("public")).unwrap_err().to_string();
        assert!(missing.contains("public cannot be read: it does not exist"), "{missing}");
        let deep = (0..=ASSETS_DEPTH).fold(folder.path().to_owned(), |path, _| path.join("x"));
        fs::create_dir_all(deep).unwrap();
        let refused = Assets::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("let a web server have the large ones"), "{refused}");
    }
}
