//! The pages of the database as the one file that SQLite knows: its operating system interface.
//!
//! There are no other files. SQLite keeps its rollback journal and temporary tables in memory, and locks mean nothing
//! here but the end of a transaction.

#![expect(unsafe_code, reason = "SQLite calls these functions with pointers")]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;

use libsqlite3_sys as sys;

use crate::limits::PAGE_BYTES;
use crate::pages::{Found, Pages, Problem};

/// The name of the file and of the interface.
pub(crate) const NAME: &CStr = c"room";

thread_local! {
    static PAGES: RefCell<Option<Pages>> = const { RefCell::new(None) };
}

/// Opens or forgets the database: its pages in memory.
pub(crate) fn set_pages(pages: Option<Pages>) {
    PAGES.set(pages);
}

/// Lends the pages.
///
/// Panics: without an open database, and while SQLite reads or writes a page.
pub(crate) fn with_pages<T>(work: impl FnOnce(&mut Pages) -> T) -> T {
    PAGES.with_borrow_mut(|pages| work(pages.as_mut().expect("the database is open")))
}

static METHODS: sys::sqlite3_io_methods = sys::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Called by `sqlite3_initialize`: SQLite is built without an operating system (`SQLITE_OS_OTHER`).
#[unsafe(no_mangle)]
extern "C" fn sqlite3_os_init() -> c_int {
    let vfs = Box::new(sys::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<sys::sqlite3_file>() as c_int,
        mxPathname: 64,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path_name),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: None,
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: the structure lives as long as the component.
    unsafe { sys::sqlite3_vfs_register(Box::leak(vfs), 1) }
}

/// The counterpart, which nothing calls.
#[unsafe(no_mangle)]
extern "C" fn sqlite3_os_end() -> c_int {
    sys::SQLITE_OK
}

unsafe extern "C" fn open(
    _: *mut sys::sqlite3_vfs,
    name: sys::sqlite3_filename,
    file: *mut sys::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes memory for a file, and a name that ends with a zero.
    unsafe {
        (*file).pMethods = ptr::null();
        if name.is_null() || CStr::from_ptr(name) != NAME || flags & sys::SQLITE_OPEN_MAIN_DB == 0 {
            return sys::SQLITE_CANTOPEN;
        }
        (*file).pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    sys::SQLITE_OK
}

unsafe extern "C" fn close(_: *mut sys::sqlite3_file) -> c_int {
    sys::SQLITE_OK
}

unsafe extern "C" fn read(_: *mut sys::sqlite3_file, to: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes a buffer of this size.
    let out = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), bytes as usize) };
    match with_pages(|pages| pages.read(offset as u64, out)) {
        Ok(Found::All) => sys::SQLITE_OK,
        Ok(Found::Part) => sys::SQLITE_IOERR_SHORT_READ,
        Err(Problem::Full | Problem::Invalid) => sys::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(_: *mut sys::sqlite3_file, from: *const c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes a buffer of this size.
    let content = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes as usize) };
    match with_pages(|pages| pages.write(offset as u64, content)) {
        Ok(()) => sys::SQLITE_OK,
        Err(Problem::Full) => sys::SQLITE_FULL,
        Err(Problem::Invalid) => sys::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(_: *mut sys::sqlite3_file, bytes: i64) -> c_int {
    match with_pages(|pages| pages.truncate(bytes as u64)) {
        Ok(()) => sys::SQLITE_OK,
        Err(_) => sys::SQLITE_IOERR_TRUNCATE,
    }
}

unsafe extern "C" fn sync(_: *mut sys::sqlite3_file, _: c_int) -> c_int {
    with_pages(Pages::sync);
    sys::SQLITE_OK
}

unsafe extern "C" fn file_size(_: *mut sys::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes a place for the result.
    unsafe { *out = with_pages(|pages| pages.bytes()) as i64 };
    sys::SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut sys::sqlite3_file, _: c_int) -> c_int {
    sys::SQLITE_OK
}

unsafe extern "C" fn unlock(_: *mut sys::sqlite3_file, _: c_int) -> c_int {
    // To a lock for readers, or to none: in either case nothing is being written any more.
    with_pages(Pages::unlock);
    sys::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut sys::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a place for the result.
    unsafe { *out = 0 };
    sys::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut sys::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    sys::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut sys::sqlite3_file) -> c_int {
    PAGE_BYTES as c_int
}

unsafe extern "C" fn device_characteristics(_: *mut sys::sqlite3_file) -> c_int {
    0
}

unsafe extern "C" fn delete(_: *mut sys::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    sys::SQLITE_OK
}

unsafe extern "C" fn access(_: *mut sys::sqlite3_vfs, _: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // There are no journals. SAFETY: SQLite passes a place for the result.
    unsafe { *out = 0 };
    sys::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _: *mut sys::sqlite3_vfs,
    name: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the name ends with a zero, and the buffer has this size.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > bytes as usize {
            return sys::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr(), out.cast(), name.len());
    }
    sys::SQLITE_OK
}

/// The seed of SQLite's random numbers comes from the turn's.
unsafe extern "C" fn randomness(_: *mut sys::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes a buffer of this size.
    let out = unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), bytes as usize) };
    let storage = with_pages(|pages| pages.storage());
    for part in out.chunks_mut(8) {
        part.copy_from_slice(&storage.random().to_le_bytes()[..part.len()]);
    }
    bytes
}

unsafe extern "C" fn sleep(_: *mut sys::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

/// The Unix epoch in milliseconds of the Julian day, as SQLite counts.
const UNIX_EPOCH_MS: i64 = 210_866_760_000_000;

unsafe extern "C" fn current_time_ms(_: *mut sys::sqlite3_vfs, out: *mut i64) -> c_int {
    let now = with_pages(|pages| pages.storage()).now() as i64;
    // SAFETY: SQLite passes a place for the result.
    unsafe { *out = now + UNIX_EPOCH_MS };
    sys::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut sys::sqlite3_vfs, out: *mut f64) -> c_int {
    let mut milliseconds = 0;
    // SAFETY: as above.
    unsafe {
        current_time_ms(vfs, &raw mut milliseconds);
        *out = milliseconds as f64 / 86_400_000.0;
    }
    sys::SQLITE_OK
}
