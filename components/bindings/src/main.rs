//! Generates the Rust bindings of `dormouse-room` from the contract in `wit/`, for rooms, for routers and for optional
//! exports of rooms.
//!
//! The bindings are in the source tree: to generate them in each build would cost a room's author a minute, mostly to
//! build the generator. After a change in `wit/`, run `cargo run --package dormouse-bindings`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

fn main() -> anyhow::Result<()> {
    for (file, code) in generated()? {
        fs::write(&file, code).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// The path and the content of each file.
fn generated() -> anyhow::Result<[(PathBuf, String); 4]> {
    let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(components.join("../wit"))?;
    let version = resolve.packages[package].name.version.clone().context("the contract has no version")?;
    let world = |resolve: &Resolve, name| resolve.select_world(&[package], Some(name));
    let (rooms, routers) = (world(&resolve, "connected-room-component")?, world(&resolve, "router-component")?);
    let personal_data = world(&resolve, "personal-data-component")?;
    let migration = world(&resolve, "migration-component")?;

    let room = Opts {
        export_macro_name: Some("export_room".into()),
        default_bindings_module: Some("dormouse_room::export::room".into()),
        generate_all: true,
        ..Opts::default()
    };
    let shared = |interface: &str| {
        let path = format!("crate::bindings::room::dormouse::room::{interface}");
        (format!("dormouse:room/{interface}@{version}"), WithOption::Path(path))
    };
    let router = Opts {
        export_macro_name: Some("export_router".into()),
        default_bindings_module: Some("dormouse_room::export::router".into()),
        with: vec![shared("types"), shared("context"), shared("access")],
        ..Opts::default()
    };
    let exports_of_users = Opts {
        export_macro_name: Some("export_personal_data".into()),
        default_bindings_module: Some("dormouse_room::export::personal_data".into()),
        ..Opts::default()
    };
    let exports_of_versions = Opts {
        export_macro_name: Some("export_migration".into()),
        default_bindings_module: Some("dormouse_room::export::migration".into()),
        ..Opts::default()
    };
    let file = |name| components.join("kit/src/bindings").join(name);
    Ok([
        (file("room.rs"), code(&resolve, rooms, room)?),
        (file("router.rs"), code(&resolve, routers, router)?),
        (file("personal_data.rs"), code(&resolve, personal_data, exports_of_users)?),
        (file("migration.rs"), code(&resolve, migration, exports_of_versions)?),
    ])
}

fn code(resolve: &Resolve, world: WorldId, opts: Opts) -> anyhow::Result<String> {
    let opts = Opts { format: true, pub_export_macro: true, ..opts };
    let mut files = Files::default();
    opts.build().generate(&mut resolve.clone(), world, &mut files)?;
    ensure!(files.iter().count() == 1, "more than one file was generated");
    let (_, code) = files.iter().next().context("nothing was generated")?;
    Ok(String::from_utf8(code.to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_match_the_contract() {
        for (file, code) in generated().unwrap() {
            let kept = fs::read_to_string(&file).unwrap_or_default();
            let file = file.display();
            assert!(kept == code, "{file} differs from wit/: run `cargo run --package dormouse-bindings`");
        }
    }
}
