//! Rebuilds the binary when a file is added to the page or the client. The macro that embeds them sees changes of
//! files, but not new files.

fn main() {
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-changed=../client/src");
}
