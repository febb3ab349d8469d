//! The WIT contract as Rust, generated once for every room and router.
#![expect(missing_docs, reason = "generated; the documentation is in wit/")]

pub mod room {
    wit_bindgen::generate!({
        world: "connected-room-component",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_room",
        default_bindings_module: "dormouse_room::export::room",
        generate_all,
    });
}

pub mod router {
    wit_bindgen::generate!({
        world: "router-component",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_router",
        default_bindings_module: "dormouse_room::export::router",
        with: {
            "dormouse:room/types@0.1.2": crate::bindings::room::dormouse::room::types,
            "dormouse:room/context@0.1.2": crate::bindings::room::dormouse::room::context,
        },
    });
}
