//! The dashboard: a page of the admin listener. Its files hold no data, so they need no credential; everything that it
//! shows comes from the other routes, with the session of an operator.
//!
//! This file finds the files, and knows their Content-Security-Policy. `host/web/dashboard` has them.

use crate::edge::response::file::{PageFile, WEB};

/// The Content-Security-Policy: own files, and requests to the own origin. Nothing from outside, nothing inline, and in
/// no frame.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                 connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                                 base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The folder of the dashboard, in `host/web` and in paths.
const FOLDER: &str = "dashboard/";

/// The file at a path: `/` is the page, and below `/dashboard/` are the files that it needs.
pub(super) fn find(path: &str) -> Option<PageFile> {
    let name = match path {
        "/" => "dashboard/index.html",
        "/dashboard/favicon.svg" => "favicon.svg",
        path => path.strip_prefix('/').filter(|name| name.starts_with(FOLDER))?,
    };
    PageFile::find(&WEB, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_the_dashboard_are_found() {
        for path in ["/", "/dashboard/app.js", "/dashboard/pages/rooms.js", "/dashboard/favicon.svg"] {
            assert!(find(path).is_some(), "{path}");
        }
        for path in ["", "/app.js", "/dashboard", "/dashboard/", "/dashboard/../app.js", "/style.css", "/rooms"] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
