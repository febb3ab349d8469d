//! Links the imports of a guest to their functions. Everything that a guest can reach is listed here; the functions of
//! the contract are in `imports`.

use wasmtime::bail;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::state::StoreData;
use super::{bindings, imports};

/// Links the imports that every room and every router may have.
pub(super) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    use bindings::room::dormouse::room::{access, context, sockets, storage, timers, types, upgrade};
    types::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    context::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    access::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    sockets::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    storage::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    timers::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    upgrade::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    link_wasi(linker)
}

/// Links the outbound imports. A call may wait, so all calls of such an instance are asynchronous; they run on fibers
/// in any case.
pub(super) fn link_connected(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    use bindings::room::dormouse::room::{outbox, rooms};
    rooms::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    outbox::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)?;
    imports::web::link(linker)
}

/// Links the imports that only routers may have.
pub(super) fn link_router(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    bindings::router::dormouse::room::grants::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)
}

/// Links the imports of a router that calls rooms.
pub(super) fn link_connected_router(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    bindings::room::dormouse::room::rooms::add_to_linker::<_, HasSelf<StoreData>>(linker, |data| data)
}

/// Whether an interface is outbound.
pub(super) fn is_outbound(import: &str) -> bool {
    ["dormouse:room/rooms@", "dormouse:room/outbox@", "wasi:http/"].iter().any(|prefix| import.starts_with(prefix))
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Links the functions that the standard library of Rust needs, and nothing else.
fn link_wasi(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<StoreData, WasiRandom>(linker, |data| data.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<StoreData, WasiRandom>(linker, |data| data.ctx().ctx.random())?;
    cli::environment::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::exit::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_input::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_output::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stdin::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stdout::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    cli::terminal_stderr::add_to_linker::<StoreData, WasiCli>(linker, StoreData::cli)?;
    filesystem::preopens::add_to_linker::<StoreData, WasiFilesystem>(linker, StoreData::filesystem)?;
    filesystem::types::add_to_linker::<StoreData, WasiFilesystem>(linker, StoreData::filesystem)?;
    forbid_waiting(linker)
}

/// A turn cannot wait for time to pass, because its time stands still.
fn forbid_waiting(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        clock.func_new(name, |_, _, _, _| bail!("a room cannot sleep: set a timer instead"))?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
