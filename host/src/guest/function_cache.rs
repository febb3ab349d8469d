//! Keeps the compiled code of single functions in memory, so that code that differs little from earlier code compiles in
//! a fraction of the time. Cranelift names a function by a hash of all that its code depends on.
//!
//! It is for development: each room in JavaScript is the same engine with another content of its memory. A server that
//! deploys once a day would pay memory for nothing. `Engine` compiles with it; the command line makes it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::CacheStore;

use crate::limits::FUNCTION_CACHE_BYTES;
use crate::lock::Lock;

/// Compiled functions, in memory. Cheap to clone: clones share their content. When it is full, it begins anew.
#[derive(Clone, Default)]
pub struct FunctionCache(Arc<Lock<Functions>>);

#[derive(Default)]
struct Functions {
    by_key: HashMap<Vec<u8>, Vec<u8>>,
    /// Of the keys and the values.
    bytes: usize,
}

impl std::fmt::Debug for FunctionCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let functions = self.0.lock();
        write!(f, "FunctionCache({} functions, {} B)", functions.by_key.len(), functions.bytes)
    }
}

impl FunctionCache {
    pub(super) fn store(&self) -> Arc<dyn CacheStore> {
        Arc::new(self.clone())
    }
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.0.lock().by_key.get(key).map(|code| Cow::Owned(code.clone()))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let mut functions = self.0.lock();
        let bytes = key.len() + code.len();
        if functions.bytes + bytes > FUNCTION_CACHE_BYTES {
            *functions = Functions::default();
        }
        functions.bytes += bytes;
        if let Some(before) = functions.by_key.insert(key.to_vec(), code) {
            functions.bytes -= key.len() + before.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_of_functions_begins_anew() {
        let cache = FunctionCache::default();
        cache.insert(b"a", vec![1; 10]);
        cache.insert(b"a", vec![2; 20]);
        assert_eq!(format!("{cache:?}"), "FunctionCache(1 functions, 21 B)");
        assert_eq!(cache.get(b"a").as_deref(), Some(&[2; 20][..]));
        cache.insert(b"b", vec![0; FUNCTION_CACHE_BYTES - 1]);
        assert!(cache.get(b"a").is_none() && cache.get(b"b").is_some());
    }
}
