//! A file added to the page or the client must reach the binary: the macro that embeds them sees changes, not additions.

fn main() {
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-changed=../client/src");
}
