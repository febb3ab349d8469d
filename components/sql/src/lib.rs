//! SQL for rooms: SQLite inside the component, with its pages under keys of the room's storage.
