//! The optional export `personal-data` of a room: finds it in a component, calls it, and checks what it returns. It does
//! not know who asks for the data of a user; `instance` calls it in a turn.

use serde::de::IgnoredAny;
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

use super::bindings::personal_data::{PersonalDataComponent, PersonalDataComponentIndices};
use super::state::StoreData;
use crate::limits::{EXPORTED_BYTES, NEXT_PART_BYTES};
use crate::model::{Answer, DataOf, ErasedData, ExportedData};

/// The name of the interface, without its version.
const INTERFACE: &str = "dormouse:room/personal-data@";

/// The memory of the host that an item takes beside its text, in bytes.
const ITEM_BYTES: usize = 32;

/// The error of a room whose component does not export the interface. Another version of its code may.
const NOT_DECLARED: &str = "its component does not export `personal-data`";

/// The export of a component.
#[derive(Clone)]
pub(super) struct PersonalData(PersonalDataComponentIndices);

impl PersonalData {
    /// The export of a component; absent if it has none.
    pub(super) fn of(engine: &Engine, pre: &InstancePre<StoreData>) -> wasmtime::Result<Option<Self>> {
        let is_declared = declares(engine, pre.component());
        is_declared.then(|| PersonalDataComponentIndices::new(pre).map(PersonalData)).transpose()
    }

    fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> wasmtime::Result<PersonalDataComponent> {
        self.0.load(store, instance)
    }
}

fn declares(engine: &Engine, component: &Component) -> bool {
    component.component_type().exports(engine).any(|(name, _)| name.starts_with(INTERFACE))
}

/// Asks for a part of the data of a user. The guest can change nothing meanwhile.
pub(super) async fn export_user(
    export: Option<&PersonalData>,
    instance: &Instance,
    store: &mut Store<StoreData>,
    of: DataOf,
) -> wasmtime::Result<Result<Answer, String>> {
    let Some(export) = export else { return Ok(Err(NOT_DECLARED.into())) };
    let export = export.load(store, instance)?;
    store.data_mut().allow_changes(false);
    let guest = export.dormouse_room_personal_data();
    let exported = guest.call_export_user(&mut *store, &of.user, of.after.as_deref()).await;
    store.data_mut().allow_changes(true);
    Ok(exported?.and_then(|exported| {
        let items = checked_items(exported.items)?;
        let next = checked_next("export-user", exported.next, &of)?;
        Ok(Answer::Exported(ExportedData { items, next }))
    }))
}

/// Erases a part of the data of a user.
pub(super) async fn erase_user(
    export: Option<&PersonalData>,
    instance: &Instance,
    store: &mut Store<StoreData>,
    of: DataOf,
) -> wasmtime::Result<Result<Answer, String>> {
    let Some(export) = export else { return Ok(Err(NOT_DECLARED.into())) };
    let export = export.load(store, instance)?;
    let guest = export.dormouse_room_personal_data();
    let erased = guest.call_erase_user(&mut *store, &of.user, of.after.as_deref()).await?;
    Ok(erased.and_then(|erased| {
        let next = checked_next("erase-user", erased.next, &of)?;
        Ok(Answer::Erased(ErasedData { items: erased.items, next }))
    }))
}

/// Checks that each item is JSON, and makes it one line: a line break in JSON is only space between two tokens.
fn checked_items(mut items: Vec<String>) -> Result<Vec<String>, String> {
    let bytes = items.iter().map(|item| item.len() + ITEM_BYTES).sum::<usize>();
    if bytes > EXPORTED_BYTES {
        return Err(format!("export-user returned {bytes} B, and a part may have {EXPORTED_BYTES} B: return `next`"));
    }
    for (at, item) in items.iter_mut().enumerate() {
        serde_json::from_str::<IgnoredAny>(item)
            .map_err(|error| format!("item {at} that export-user returned is not JSON: {error}"))?;
        if item.contains(['\n', '\r']) {
            *item = item.replace(['\n', '\r'], " ");
        }
    }
    Ok(items)
}

/// Checks the place of the next part. One that does not change would be asked for without end.
fn checked_next(function: &str, next: Option<String>, of: &DataOf) -> Result<Option<String>, String> {
    match &next {
        Some(next) if next.len() > NEXT_PART_BYTES => {
            Err(format!("{function} returned a `next` of {} B, and it may have {NEXT_PART_BYTES} B", next.len()))
        }
        Some(_) if next == of.after => Err(format!("{function} returned a `next` that is equal to `after`")),
        _ => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_json_of_one_line() {
        let items = |items: &[&str]| checked_items(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(items(&["1", "{\"a\":\n\r[]}"]).unwrap(), ["1", "{\"a\":  []}"]);
        for wrong in ["", "{", "1 2", "\"a\nb\"", "a"] {
            assert!(items(&["1", wrong]).unwrap_err().starts_with("item 1 "), "{wrong}");
        }
        assert!(items(&[&format!("\"{}\"", "x".repeat(EXPORTED_BYTES))]).is_err());
    }

    #[test]
    fn the_next_part_is_another_one() {
        let of = |after: Option<&str>| DataOf { user: "1".into(), after: after.map(str::to_owned) };
        let next = |text: &str, after| checked_next("erase-user", Some(text.into()), &of(after));
        assert_eq!(next("a", None), Ok(Some("a".into())));
        assert_eq!(next("b", Some("a")), Ok(Some("b".into())));
        assert!(next("a", Some("a")).is_err() && next(&"x".repeat(NEXT_PART_BYTES + 1), None).is_err());
        assert_eq!(checked_next("erase-user", None, &of(None)), Ok(None));
    }
}
