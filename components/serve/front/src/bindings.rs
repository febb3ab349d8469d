//! The contract as Rust, from the side of who calls rooms.

wit_bindgen::generate!({
    world: "dormouse:serve/front",
    path: ["../../../wit", "../wit"],
    generate_all,
});
