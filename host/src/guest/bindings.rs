//! The Rust bindings of the WIT contract, generated once for rooms and once for routers.

/// A handle of the guest contains only the key of its socket.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum SocketHandle {}

/// The world of a room, with all imports that the host has. A room that is not connected imports fewer, and exports the
/// same.
pub(super) mod room {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "connected-room-component",
        imports: {
            "dormouse:room/rooms.call": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "dormouse:room/sockets.socket": crate::guest::bindings::SocketHandle },
    });
}

/// An export that a room may have beside its events: the data of a user.
pub(super) mod personal_data {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "personal-data-component",
        exports: { default: async },
    });
}

/// An export that a room may have beside its events: the version of its data.
pub(super) mod migration {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "migration-component",
        exports: { default: async },
    });
}

/// The world of a router.
pub(super) mod router {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "router-component",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "dormouse:room/types": crate::guest::bindings::room::dormouse::room::types,
            "dormouse:room/context": crate::guest::bindings::room::dormouse::room::context,
            "dormouse:room/access": crate::guest::bindings::room::dormouse::room::access,
        },
    });
}
