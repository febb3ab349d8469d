//! QuickJS behind the contract of rooms and routers.
//!
//! `dormouse build` runs a bundle's top level in this module, takes a snapshot of its memory, and makes a component of
//! it: see `build.rs` in this directory's `src` for that side. Each instance of the component begins with that memory.
//! Events come in through `events.rs`, which calls the hooks that the bundle has registered; the hooks use the contract
//! through the functions of `flat`, which `host.d.ts` describes.
//!
//! Everything here is inside the sandbox. A panic, an allocation that fails and a full stack end the turn.

pub mod trace;
pub mod urls;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod build;
#[cfg(target_arch = "wasm32")]
mod codec;
#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(target_arch = "wasm32")]
mod crypto;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod events;
#[cfg(target_arch = "wasm32")]
mod flat;
#[cfg(target_arch = "wasm32")]
mod hooks;
#[cfg(target_arch = "wasm32")]
mod memory;
