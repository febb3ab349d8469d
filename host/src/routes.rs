//! The routes that `builtin:router` gives to the configured namespaces, for `dormouse check`. The router in
//! `components/router` makes them itself; a router of your own may have others.

use crate::config::Config;

/// The router that the binary contains.
const BUILTIN: &str = "builtin:router";

/// A namespace and the route of its rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name in the configuration.
    pub namespace: String,
    /// Such as `/api/realtime/polls/{name}`; absent if another namespace has the same spelling.
    pub path: Option<String>,
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
        let path = (!taken.contains(&spelled)).then(|| format!("{base}/{spelled}/{{name}}"));
        taken.push(spelled);
        Route { namespace: namespace.clone(), path }
    };
    config.namespaces.keys().map(route).collect()
}

/// Warnings about likely mistakes: namespaces without a route, and a demo page without its namespaces.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for Route { namespace, .. } in routes(config).iter().filter(|route| route.path.is_none()) {
        let spelled = spelling(namespace);
        warnings.push(format!(
            "the namespace {namespace} has no route: another namespace has the path `{spelled}` too; rename one of them"
        ));
    }
    if config.page && config.router == BUILTIN {
        let has = |spelled: &str| config.namespaces.keys().any(|namespace| spelling(namespace) == spelled);
        for missing in ["rooms", "presence"].into_iter().filter(|spelled| !has(spelled)) {
            warnings.push(format!(
                "the demo page needs the namespace {}, which is missing; add it, or set `page = false`",
                missing.to_ascii_uppercase()
            ));
        }
    }
    warnings
}

/// The spelling of a namespace in a path: lower case, with `-` for `_`.
fn spelling(namespace: &str) -> String {
    namespace.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Namespace;

    fn config(namespaces: &[&str]) -> Config {
        let namespaces = namespaces.iter().map(|name| ((*name).to_owned(), Namespace::of("builtin:chat-room")));
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
    fn the_operator_is_warned_about_missing_routes() {
        let warned = warnings(&config(&["A_B", "a-b", "ROOMS", "PRESENCE"]));
        assert!(matches!(&warned[..], [one] if one.contains("a-b has no route")), "{warned:?}");
        let warned = warnings(&config(&["ROOMS"]));
        assert!(matches!(&warned[..], [one] if one.contains("PRESENCE")), "{warned:?}");
        assert!(warnings(&Config { page: false, ..config(&["ROOMS"]) }).is_empty());
        assert!(warnings(&Config { router: "mine.wasm".into(), ..config(&["A_B", "a-b"]) }).is_empty());
        assert!(warnings(&Config::default()).is_empty());
    }
}
