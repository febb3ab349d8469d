//! Bindings of the contract, generated from `wit/`.

wit_bindgen::generate!({
    path: ["../../../wit", "wit"],
    world: "dormouse:javascript-engine/engine",
    pub_export_macro: true,
    generate_all,
    default_bindings_module: "crate::bindings",
});
