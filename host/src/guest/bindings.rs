//! The Rust bindings of the WIT contract, generated once for rooms and once for routers.

/// A handle of the guest contains only the key of its socket.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum SocketHandle {}

/// The world of a room.
pub(super) mod room {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "room-component",
        imports: { default: trappable },
        exports: { default: async },
        with: { "dormouse:room/sockets.socket": crate::guest::bindings::SocketHandle },
    });
}

/// The additional imports of a connected room.
pub(super) mod reach {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "package dormouse:host; world reach { import dormouse:room/rooms@0.1.2; import dormouse:room/outbox@0.1.2; }",
        world: "dormouse:host/reach",
        imports: {
            "dormouse:room/rooms.call": async | trappable,
            default: trappable,
        },
        with: { "dormouse:room/types": crate::guest::bindings::room::dormouse::room::types },
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
        },
    });
}
