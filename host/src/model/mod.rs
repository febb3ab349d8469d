//! The plain data types that all other modules share: addresses, events, sockets, timers, turns.
//!
//! Nothing here waits, locks, opens a file, writes to a connection or names wasmtime. `room` owns these values, `guest`
//! reads them and produces turns, `store` keeps those that must last.

mod address;
mod characters;
mod claims;
mod client_id;
mod event;
mod http;
mod message;
mod permissions;
mod personal_data;
mod post;
mod setting;
mod sockets;
mod storage;
mod timers;
mod turn;
mod usage;

pub use address::{Address, AddressError, NAME_BYTES, NAMESPACE_BYTES};
pub use characters::may_mislead;
pub use claims::{Claims, ClaimsTooLong, UserAccess};
pub use client_id::{LOOKED_INTO_BYTES, error_frame, forbidden_frame};
pub use event::{Close, Event};
pub use http::{ACT, CALLER, POST_KEY, Request, Response, TRACE_PARENT, TRACE_STATE, User, header_text, is_header};
pub use message::{EventId, Form, Message, OutboundMessage};
pub use permissions::{Permission, Permissions, UnknownPermission};
pub use personal_data::{DataOf, ErasedData, ExportedData};
pub use post::{Destination, Post, PostNumber, Posts};
pub use setting::{Declared, Setting, SettingKind};
pub use sockets::{
    AutoResponse, CLOSED_BY_OPERATOR, Client, ClientKind, Except, Filter, Listener, MOVED_REASON, MovedRoom,
    ROOM_MOVED, Socket, SocketKey, SocketUsage, Sockets, TenureId,
};
pub use storage::{Range, Storage, StorageFailed, Written, scan_over};
pub use timers::{Timer, Timers};
pub use turn::{Answer, Audience, Changes, Output, SocketChange, Turn, Writes};
pub use usage::{
    HOUR_MS, Hour, LevelChange, RoomReport, Usage, UsageBy, UsagePage, UsageQuery, UsageSubject, UserReport, hour_of,
};
