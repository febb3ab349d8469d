//! Opens a store whose rooms are in a database. The data directory then has a cache, and the files of the server beside
//! it. The host calls it.

use std::path::Path;
use std::sync::Arc;

use super::Settings;
use super::driver::{Started, start};
use crate::store::error::{DiskError, OpenError};
use crate::store::inner::Inner;
use crate::store::truth::Truth;
use crate::store::{Store, StoreOptions, records};

impl Store {
    /// Opens the rooms in a database, with a cache of them in `data`. It blocks on the network.
    ///
    /// Fails: if the database cannot be reached or promises too little, if another server has its rooms, and if `data`
    /// has rooms of its own.
    pub fn in_database(data: &Path, options: StoreOptions, settings: &Settings) -> Result<Self, OpenError> {
        let Started { truth, local, node } = start(data, &options, settings)?;
        let mut found = None;
        let read = truth.read(&mut |reader| {
            let read = || Ok::<_, DiskError>((records::secret(reader)?, records::incarnation(reader)?));
            found = Some(read());
        });
        read.map_err(|error| OpenError::Database(error.to_string()))?;
        let missing = || OpenError::Database("the schema `dormouse` has lost records of the store".into());
        let (secret, incarnation) = match found {
            Some(Ok((Some(secret), Some((incarnation, _))))) => (secret, incarnation),
            Some(Err(error)) => return Err(OpenError::Database(error.to_string())),
            _ => return Err(missing()),
        };
        Ok(Store(Arc::new(Inner {
            local,
            truth: Arc::new(truth),
            directory: Some(data.to_owned()),
            options,
            epoch: node.0,
            incarnation,
            secret,
            owned: Arc::default(),
        })))
    }
}
