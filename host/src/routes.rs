//! The routes that `builtin:router` gives to the configured namespaces, for `dormouse check`. The router in
//! `components/router` makes them itself; a router of your own may have others.

use crate::config::Config;

/// The router that the binary contains.
const BUILTIN: &str = "builtin:router";

/// The namespaces of the demo page, by their spelling in a path, and the shipped rooms that it expects there.
const OF_THE_PAGE: [(&str, &str); 2] = [("rooms", "builtin:chat-room"), ("presence", "builtin:presence-tracker")];

/// The first part of the paths of the demo page that begin like those of a room.
const OWNED_BY_THE_PAGE: &str = "client";

/// A namespace and the route of its rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name in the configuration.
    pub namespace: String,
    /// Such as `/api/realtime/polls/{name}`; absent if something else answers there.
    pub path: Option<String>,
    /// The reason for an absent path.
    taken_by: Option<TakenBy>,
}

/// That which answers at the path of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenBy {
    Namespace,
    Page,
}

/// The routes of all namespaces, sorted by name. Empty if the router is not the built-in one.
pub fn routes(config: &Config) -> Vec<Route> {
    if config.router != BUILTIN {
        return Vec::new();
    }
    let base = config.base_path.trim_end_matches('/');
    let mut taken = Vec::new();
    let route = |namespace: &String| {
        let spelled = spelling(namespace);
        let path = format!("{base}/{spelled}/{{name}}");
        let taken_by = match spelled.as_str() {
            OWNED_BY_THE_PAGE if config.has_demo_page() && base.is_empty() => Some(TakenBy::Page),
            spelled if taken.iter().any(|taken| taken == spelled) => Some(TakenBy::Namespace),
            _ => None,
        };
        taken.push(spelled);
        Route { namespace: namespace.clone(), path: taken_by.is_none().then_some(path), taken_by }
    };
    config.namespaces.keys().map(route).collect()
}

/// Warnings about likely mistakes: namespaces without a route, and a demo page without its rooms.
pub fn warnings(config: &Config) -> Vec<String> {
    let no_route = routes(config).into_iter().filter_map(|Route { namespace, taken_by, .. }| {
        let spelled = spelling(&namespace);
        let reason = match taken_by? {
            TakenBy::Namespace => format!("another namespace has the path `{spelled}` too; rename one of them"),
            TakenBy::Page => format!(
                "the demo page answers below `/{spelled}/`; rename the namespace, set `page = false`, or choose another \
                 `base_path`"
            ),
        };
        Some(format!("the namespace {namespace} has no route: {reason}"))
    });
    no_route.chain(of_the_page(config)).collect()
}

fn of_the_page(config: &Config) -> Vec<String> {
    if !config.has_demo_page() || config.router != BUILTIN {
        return Vec::new();
    }
    let warning = |(spelled, expected): (&str, &str)| {
        let upper = spelled.to_ascii_uppercase();
        let Some((name, found)) = config.namespaces.iter().find(|(name, _)| spelling(name) == spelled) else {
            return Some(format!(
                "the demo page needs the namespace {upper}, which is missing; add it, or set `page = false`"
            ));
        };
        // A room of your own may speak the same protocol.
        (found.component.starts_with("builtin:") && found.component != expected).then(|| {
            format!(
                "namespaces.{name}.component: the demo page expects {expected} there, and does not work with {}; write \
                 {expected}, use another namespace, or set `page = false`",
                found.component
            )
        })
    };
    OF_THE_PAGE.into_iter().filter_map(warning).collect()
}

/// The spelling of a namespace in a path: lower case, with `-` for `_`.
pub(crate) fn spelling(namespace: &str) -> String {
    namespace.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Namespace;

    fn config(namespaces: &[&str]) -> Config {
        let component = |name: &str| match name {
            "PRESENCE" => "builtin:presence-tracker",
            _ => "builtin:chat-room",
        };
        let namespaces = namespaces.iter().map(|name| ((*name).to_owned(), Namespace::of(component(name))));
        Config { namespaces: namespaces.collect(), ..Config::default() }
    }

    #[test]
    fn every_namespace_has_a_route_unless_names_collide() {
        let routes = routes(&config(&["BIG_POLLS", "big-polls", "rooms"]));
        let routes = routes.iter().map(|route| (&*route.namespace, route.path.as_deref()));
        let expected = [
            ("BIG_POLLS", Some("/api/realtime/big-polls/{name}")),
            ("big-polls", None),
            ("rooms", Some("/api/realtime/rooms/{name}")),
        ];
        assert_eq!(routes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_path_of_the_page_is_no_route() {
        let at = |base_path: &str, page| {
            let config = Config { base_path: base_path.into(), page, ..config(&["CLIENT", "HEALTHZ", "TICKETS"]) };
            let paths = routes(&config).into_iter().filter_map(|route| route.path).collect::<Vec<_>>().join(" ");
            (paths, warnings(&config).join("\n"))
        };
        let (paths, warned) = at("/", true);
        assert_eq!(paths, "/healthz/{name} /tickets/{name}");
        assert!(
            warned.contains("the namespace CLIENT has no route: the demo page answers below `/client/`"),
            "{warned}"
        );
        assert_eq!(at("/", false), ("/client/{name} /healthz/{name} /tickets/{name}".into(), String::new()));
        assert!(at("/api", true).0.starts_with("/api/client/{name} "));
    }

    #[test]
    fn the_operator_is_warned_about_missing_routes() {
        let warned = warnings(&config(&["A_B", "a-b", "ROOMS", "PRESENCE"]));
        assert!(matches!(&warned[..], [one] if one.contains("a-b has no route")), "{warned:?}");
        let mut swapped = Config::default();
        let tracker = Namespace::of("builtin:presence-tracker");
        swapped.namespaces.insert("ROOMS".into(), tracker);
        let warned = warnings(&swapped);
        assert!(
            matches!(&warned[..], [one] if one.contains("ROOMS.component: the demo page expects builtin:chat-room"))
        );
        swapped.namespaces.insert("ROOMS".into(), Namespace::of("mine.wasm"));
        assert!(warnings(&swapped).is_empty(), "a room of your own may speak the protocol");
        let warned = warnings(&config(&["ROOMS"]));
        assert!(matches!(&warned[..], [one] if one.contains("PRESENCE")), "{warned:?}");
        assert!(warnings(&Config { page: false, ..config(&["ROOMS"]) }).is_empty());
        assert!(warnings(&Config { router: "mine.wasm".into(), ..config(&["A_B", "a-b"]) }).is_empty());
        assert!(warnings(&Config::default()).is_empty());
    }
}
