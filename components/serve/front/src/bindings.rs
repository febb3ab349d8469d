//! The generated bindings of the contract, for the caller of the rooms.

wit_bindgen::generate!({
    world: "dormouse:serve/front",
    path: ["../../../wit", "../wit"],
    generate_all,
});
