//! The allocator of QuickJS: that of the C library, except that an allocation that fails ends the turn.
//!
//! QuickJS would throw an exception that the room could catch, in the middle of anything. A turn that ran out of memory
//! must not be kept, so it traps.

#![expect(unsafe_code, reason = "an allocator hands out pointers")]

use std::ffi::c_void;

use rquickjs::allocator::Allocator;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn calloc(count: usize, size: usize) -> *mut c_void;
    fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn free(pointer: *mut c_void);
    fn malloc_usable_size(pointer: *mut c_void) -> usize;
}

pub(crate) struct Trapping;

/// Ends the turn if there is no memory. Zero bytes may be a null pointer.
fn present(pointer: *mut c_void, size: usize) -> *mut u8 {
    if pointer.is_null() && size > 0 {
        core::arch::wasm32::unreachable();
    }
    pointer.cast()
}

// SAFETY: all functions are those of one C allocator, whose blocks are aligned to 16 bytes.
unsafe impl Allocator for Trapping {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        present(unsafe { malloc(size) }, size)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        present(unsafe { calloc(count, size) }, count.saturating_mul(size))
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        unsafe { free(pointer.cast()) }
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, size: usize) -> *mut u8 {
        if size == 0 {
            unsafe { free(pointer.cast()) };
            return std::ptr::null_mut();
        }
        present(unsafe { realloc(pointer.cast(), size) }, size)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        unsafe { malloc_usable_size(pointer.cast()) }
    }
}
