//! The part of the host that a path leads to.
//!
//! It is pure: it knows the files of the page by name, and neither methods nor users.

use super::page::{self, Asset};

/// The destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Readiness,
    /// A file of the demo page, or its settings.
    Page(Asset),
    /// `/tickets`, below the base path.
    Ticket,
    /// A path below the base path, which the router maps to a room. It begins with a slash.
    Room(String),
    /// Neither of these.
    Nowhere,
}

impl Route {
    /// Parses a path; `base` is the base path of the API. Without a page its paths are free.
    pub(super) fn of(path: &str, base: &str, has_page: bool) -> Self {
        match path {
            "/healthz" => return Route::Health,
            "/readyz" => return Route::Readiness,
            _ => {}
        }
        let page = |path| if has_page { page::find(path) } else { None };
        if base != "/" {
            let below = path.strip_prefix(base).filter(|rest| rest.starts_with('/'));
            return below.map_or_else(|| page(path).map_or(Route::Nowhere, Route::Page), Route::below);
        }
        // The page's own paths are not the API's.
        match page(path) {
            Some(asset) => Route::Page(asset),
            // `OPTIONS *`, and CONNECT, which names no path.
            None if !path.starts_with('/') => Route::Nowhere,
            None if has_page && (path == "/" || path.starts_with("/client/")) => Route::Nowhere,
            None => Route::below(path),
        }
    }

    fn below(path: &str) -> Self {
        if path == "/tickets" { Route::Ticket } else { Route::Room(path.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(path: &str) -> Route {
        Route::Room(path.to_owned())
    }

    fn is_page(route: &Route) -> bool {
        matches!(route, Route::Page(_))
    }

    #[test]
    fn a_path_below_the_base_path_leads_to_a_room() {
        let of = |path| Route::of(path, "/api/realtime", true);
        assert_eq!(of("/api/realtime/rooms/a/ws"), room("/rooms/a/ws"));
        assert_eq!(of("/api/realtime/"), room("/"));
        assert_eq!(of("/api/realtime/tickets"), Route::Ticket);
        assert_eq!(of("/api/realtime/tickets/"), room("/tickets/"));
        assert_eq!(of("/api/realtime/healthz"), room("/healthz"));
        assert_eq!(of("/api/realtime/readyz"), room("/readyz"));
        for nowhere in ["/api/realtimes/rooms", "/api/realtime", "/rooms/a/ws", "/tickets", "/client/", "*", ""] {
            assert_eq!(of(nowhere), Route::Nowhere, "{nowhere}");
        }
        assert_eq!(of("/healthz"), Route::Health);
        assert_eq!(of("/readyz"), Route::Readiness);
        for page in ["/", "/index.html", "/config.json", "/client/room-socket.js"] {
            assert!(is_page(&of(page)), "{page}");
        }
    }

    #[test]
    fn the_page_keeps_its_paths_if_the_base_path_is_the_root() {
        let of = |path| Route::of(path, "/", true);
        assert_eq!(of("/rooms/a/ws"), room("/rooms/a/ws"));
        assert_eq!(of("/tickets"), Route::Ticket);
        assert_eq!(of("/healthz"), Route::Health);
        assert_eq!(of("/readyz"), Route::Readiness);
        for nowhere in ["/client/none.js", "*", ""] {
            assert_eq!(of(nowhere), Route::Nowhere, "{nowhere}");
        }
        for page in ["/", "/index.html", "/config.json", "/client/room-socket.js"] {
            assert!(is_page(&of(page)), "{page}");
        }
    }

    #[test]
    fn without_a_page_its_paths_lead_to_rooms_or_nowhere() {
        for path in ["/", "/index.html", "/config.json", "/client/room-socket.js", "/client/a/ws"] {
            assert_eq!(Route::of(path, "/", false), room(path));
            assert_eq!(Route::of(path, "/api/realtime", false), Route::Nowhere, "{path}");
        }
        assert_eq!(Route::of("/healthz", "/", false), Route::Health);
        assert_eq!(Route::of("/readyz", "/", false), Route::Readiness);
    }
}
