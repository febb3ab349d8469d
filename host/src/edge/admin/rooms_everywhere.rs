//! The rooms of all nodes in one list. Each node lists the rooms that it has in memory and those that are stored, which
//! are the same for all; this merges their pages. It is pure: values in and out.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::Value;

use crate::room::RoomOrder;

/// The member of a room that has its place in the order, between nodes.
pub(super) const PLACE: &str = "place";

/// A page of one node.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The rooms, each with its [`PLACE`].
    pub(super) rooms: Vec<Value>,
    /// The place behind which more follow.
    pub(super) next: Option<String>,
}

/// A place in an order: a value, from the largest on, and the namespace and the name of the room.
type Place = (Reverse<u64>, String, String);

fn place(order: RoomOrder, text: &str) -> Option<Place> {
    let (value, address) = match order {
        RoomOrder::Name => (0, text),
        _ => {
            let (value, address) = text.split_once('/')?;
            (value.parse().ok()?, address)
        }
    };
    let (namespace, name) = address.split_once('/')?;
    Some((Reverse(value), namespace.to_owned(), name.to_owned()))
}

/// Merges pages. A room that is in memory somewhere is shown as that node shows it. `awake` leaves out rooms that are
/// asleep, or awake.
pub(super) fn merged(order: RoomOrder, pages: Vec<Page>, awake: Option<bool>, limit: usize) -> Page {
    // Behind the end of a page that has a next one, rooms of that node may be missing.
    let ends = pages.iter().filter_map(|page| Some((place(order, page.next.as_deref()?)?, page.next.clone())));
    let end = ends.min_by(|(one, _), (other, _)| one.cmp(other));
    let mut rooms = HashMap::<(String, String), (Place, Value)>::new();
    for room in pages.into_iter().flat_map(|page| page.rooms) {
        let Some(at) = room[PLACE].as_str().and_then(|text| place(order, text)) else { continue };
        if end.as_ref().is_some_and(|(end, _)| at > *end) {
            continue;
        }
        let address = (at.1.clone(), at.2.clone());
        // A node that has lost a room may have it in memory for a moment.
        let weight = |room: &Value| (room["inMemory"].as_bool(), room["lastEventAt"].as_u64());
        if rooms.get(&address).is_none_or(|(_, known)| weight(known) < weight(&room)) {
            rooms.insert(address, (at, room));
        }
    }
    let is_meant = |room: &Value| awake.is_none_or(|awake| room["awake"].as_bool() == Some(awake));
    let mut rooms = rooms.into_values().filter(|(_, room)| is_meant(room)).collect::<Vec<_>>();
    rooms.sort_by(|(one, _), (other, _)| one.cmp(other));
    let has_more = rooms.len() > limit;
    rooms.truncate(limit);
    let last = rooms.last().filter(|_| has_more).and_then(|(_, room)| room[PLACE].as_str().map(str::to_owned));
    let mut rooms = rooms.into_iter().map(|(_, room)| room).collect::<Vec<_>>();
    for room in &mut rooms {
        room.as_object_mut().map(|room| room.remove(PLACE));
    }
    Page { rooms, next: last.or_else(|| end.and_then(|(_, text)| text)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room(place: &str, in_memory: bool, awake: bool, node: Option<u64>) -> Value {
        json!({ "place": place, "inMemory": in_memory, "awake": awake, "node": node, "lastEventAt": node })
    }

    fn names(page: &Page) -> Vec<(Option<u64>, bool)> {
        page.rooms.iter().map(|room| (room["node"].as_u64(), room["awake"].as_bool().unwrap())).collect()
    }

    #[test]
    fn a_room_is_shown_as_the_node_shows_it_that_has_it() {
        let one = Page { rooms: vec![room("R/a", true, true, Some(1)), room("R/b", false, false, None)], next: None };
        let two = Page { rooms: vec![room("R/a", false, false, None), room("R/b", true, true, Some(2))], next: None };
        let both =
            || vec![Page { rooms: one.rooms.clone(), next: None }, Page { rooms: two.rooms.clone(), next: None }];
        let all = merged(RoomOrder::Name, both(), None, 10);
        assert_eq!((names(&all), all.next), (vec![(Some(1), true), (Some(2), true)], None));
        assert!(merged(RoomOrder::Name, both(), Some(false), 10).rooms.is_empty(), "both are awake somewhere");
        let first = merged(RoomOrder::Name, both(), None, 1);
        assert_eq!((names(&first), first.next.as_deref()), (vec![(Some(1), true)], Some("R/a")));
    }

    #[test]
    fn a_page_ends_where_the_first_of_its_nodes_ends() {
        let one = Page { rooms: vec![room("R/a", true, true, Some(1))], next: Some("R/a".into()) };
        let two = Page { rooms: vec![room("R/a", false, false, None), room("R/c", true, true, Some(2))], next: None };
        let merged = merged(RoomOrder::Name, vec![one, two], None, 10);
        assert_eq!((names(&merged), merged.next.as_deref()), (vec![(Some(1), true)], Some("R/a")));
    }

    #[test]
    fn rooms_in_another_order_come_by_their_values() {
        let one =
            Page { rooms: vec![room("7/R/b", true, true, Some(1)), room("2/R/a", true, true, Some(1))], next: None };
        let two = Page { rooms: vec![room("5/R/c", true, false, Some(2))], next: None };
        let merged = merged(RoomOrder::Sockets, vec![one, two], None, 2);
        assert_eq!(names(&merged), [(Some(1), true), (Some(2), false)]);
        assert_eq!(merged.next.as_deref(), Some("5/R/c"));
    }
}
