//! All rooms whose namespaces declare how they export and erase the data of a user, page by page: stored rooms, and
//! rooms that are only in memory. It wakes none of them.

use crate::limits::USER_DATA_PAGE;
use crate::model::{Address, StorageFailed};
use crate::room::{LookError, Rooms, RoomsQuery};

use super::record::{Place, Undeclared};

/// The namespaces that declare how, and those that do not but have rooms.
pub(super) fn namespaces(rooms: &Rooms) -> Result<(Vec<String>, Vec<Undeclared>), StorageFailed> {
    let (declared, silent) =
        rooms.namespaces().map(str::to_owned).partition::<Vec<_>, _>(|name| rooms.declares_personal_data(name));
    let stored = rooms.stored_namespaces()?;
    let gone = stored.into_iter().filter(|name| rooms.namespace(name).is_none());
    let because =
        |because: &'static str| move |namespace: String| Undeclared { namespace, because: because.to_owned() };
    let silent = silent.into_iter().map(because("its component does not export `personal-data`"));
    let gone = gone.map(because("rooms of it are stored, and the configuration does not name it"));
    Ok((declared, silent.chain(gone).collect()))
}

/// The way through the rooms of some namespaces.
pub(super) struct Walk {
    rooms: Rooms,
    namespaces: Vec<String>,
    /// Absent at the end.
    place: Option<Place>,
}

impl Walk {
    /// A walk through these namespaces, which begins behind `place`.
    pub(super) fn new(rooms: Rooms, namespaces: Vec<String>, place: Option<Place>) -> Self {
        let first = namespaces.first().map(|namespace| Place { namespace: namespace.clone(), name: None });
        Walk { rooms, namespaces, place: place.or(first) }
    }

    /// The rooms of the next page, which may be none, and the place behind them. Absent at the end.
    pub(super) async fn next(&mut self) -> Result<Option<(Vec<Address>, Option<Place>)>, StorageFailed> {
        let Some(Place { namespace, name }) = self.place.take() else { return Ok(None) };
        let query = RoomsQuery {
            namespace: Some(namespace.clone()),
            after: name.map(|name| format!("{namespace}/{name}")),
            limit: USER_DATA_PAGE,
            ..RoomsQuery::default()
        };
        let rooms = self.rooms.clone();
        let page = tokio::task::spawn_blocking(move || rooms.page(&query)).await;
        let page = page.expect("reading reports its errors and does not panic").map_err(|error| match error {
            LookError::Storage(error) => error,
            LookError::After => StorageFailed("the place of an erasure is none of a room".into()),
        })?;
        let next = page.next.as_deref().and_then(|next| next.split_once('/'));
        self.place = match next {
            Some((_, name)) => Some(Place { namespace, name: Some(name.to_owned()) }),
            None => {
                let following = self.namespaces.iter().skip_while(|other| **other != namespace).nth(1);
                following.map(|namespace| Place { namespace: namespace.clone(), name: None })
            }
        };
        let rooms = page.rooms.into_iter().map(|room| room.address).collect();
        Ok(Some((rooms, self.place.clone())))
    }
}
