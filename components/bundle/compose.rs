//! Composes `components/serve` into one component: the HTTP front, the unchanged rooms and router, and the storage in
//! files.
//!
//! ```text
//! wasi:http/incoming-handler ◀── front ──▶ router
//!                                 │  ├──▶ chat-room ────────┐
//!                                 │  └──▶ presence-tracker ─┤  sockets, storage, timers, context, access
//!                                 └──────▶ disk ◀───────────┘
//! ```

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};

/// The components of the composition.
pub(crate) struct Parts {
    pub(crate) disk: Vec<u8>,
    pub(crate) router: Vec<u8>,
    pub(crate) chat_room: Vec<u8>,
    pub(crate) presence_tracker: Vec<u8>,
    pub(crate) front: Vec<u8>,
}

/// The names under which the front imports the two rooms. Both export the same interface, but a component can import a
/// name only once.
const CHAT: &str = "dormouse:serve/chat";
const PRESENCE: &str = "dormouse:serve/presence";

/// Connects the parts. The composition itself imports only WASI, which no part exports.
pub(crate) fn compose(parts: Parts) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut graph = CompositionGraph::new();
    let mut register = |name, bytes| -> Result<PackageId, Box<dyn std::error::Error>> {
        let package = Package::from_bytes(name, None, bytes, graph.types_mut())?;
        Ok(graph.register_package(package)?)
    };
    let disk = register("dormouse:disk", parts.disk)?;
    let router = register("dormouse:router", parts.router)?;
    let chat_room = register("dormouse:chat-room", parts.chat_room)?;
    let presence_tracker = register("dormouse:presence-tracker", parts.presence_tracker)?;
    let front = register("dormouse:front", parts.front)?;

    let disk = Instance { package: disk, node: graph.instantiate(disk) };
    let on_disk = |graph: &mut CompositionGraph, package| -> Result<Instance, Box<dyn std::error::Error>> {
        let instance = Instance { package, node: graph.instantiate(package) };
        connect(graph, &disk, &instance, str::to_owned)?;
        Ok(instance)
    };
    let router = on_disk(&mut graph, router)?;
    let chat_room = on_disk(&mut graph, chat_room)?;
    let presence_tracker = on_disk(&mut graph, presence_tracker)?;
    let front = on_disk(&mut graph, front)?;
    connect(&mut graph, &router, &front, str::to_owned)?;
    connect(&mut graph, &chat_room, &front, |name| renamed(name, CHAT))?;
    connect(&mut graph, &presence_tracker, &front, |name| renamed(name, PRESENCE))?;

    for name in exports(&graph, &front) {
        let export = graph.alias_instance_export(front.node, &name)?;
        graph.export(export, name)?;
    }
    Ok(graph.encode(EncodeOptions::default())?)
}

struct Instance {
    package: PackageId,
    node: NodeId,
}

/// Connects each export of one instance to the import of another that has the name `import_name(export)`. Names are
/// compared without versions: all parts are built from the same WIT files.
fn connect(
    graph: &mut CompositionGraph,
    from: &Instance,
    to: &Instance,
    import_name: impl Fn(&str) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let imports = graph.types()[graph[to.package].ty()].imports.keys().cloned().collect::<Vec<_>>();
    for export in exports(graph, from) {
        let wanted = import_name(without_version(&export));
        if let Some(import) = imports.iter().find(|import| without_version(import) == wanted) {
            let alias = graph.alias_instance_export(from.node, &export)?;
            graph.set_instantiation_argument(to.node, import, alias)?;
        }
    }
    Ok(())
}

fn exports(graph: &CompositionGraph, of: &Instance) -> Vec<String> {
    graph.types()[graph[of.package].ty()].exports.keys().cloned().collect()
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn renamed(name: &str, room: &str) -> String {
    if name == "dormouse:room/room" { room.to_owned() } else { name.to_owned() }
}
