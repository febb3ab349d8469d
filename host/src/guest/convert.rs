//! Conversions between the types of the model and those of the contract.

use super::bindings::room::dormouse::room::access::PermissionSet;
use super::bindings::room::dormouse::room::{timers, types};
use crate::model::{Message, Permission, Permissions, Request, Response, Timer, User, UserAccess};

pub(super) fn user(user: &User) -> types::User {
    types::User { id: user.id.clone(), name: user.name.clone() }
}

pub(super) fn message(message: Message) -> types::Message {
    match message {
        Message::Text(text) => types::Message::Text(text),
        Message::Binary(bytes) => types::Message::Binary(bytes),
    }
}

pub(super) fn message_from(message: types::Message) -> Message {
    match message {
        types::Message::Text(text) => Message::Text(text),
        types::Message::Binary(bytes) => Message::Binary(bytes),
    }
}

pub(super) fn request(request: Request) -> types::Request {
    types::Request {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: request.headers,
        body: request.body,
        user: request.user.map(|user| types::User { id: user.id, name: user.name }),
    }
}

pub(super) fn request_from(request: types::Request) -> Request {
    Request {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: request.headers,
        body: request.body,
        user: request.user.map(|user| User { id: user.id, name: user.name }),
        access: UserAccess::default(),
    }
}

pub(super) fn permissions(permissions: Permissions) -> PermissionSet {
    let flag = |permission| match permission {
        Permission::Read => PermissionSet::READ,
        Permission::Write => PermissionSet::WRITE,
        Permission::Presence => PermissionSet::PRESENCE,
        Permission::Moderate => PermissionSet::MODERATE,
        Permission::Admin => PermissionSet::ADMIN,
    };
    permissions.iter().fold(PermissionSet::empty(), |set, permission| set | flag(permission))
}

pub(super) fn response(response: types::Response) -> Response {
    Response { status: response.status, headers: response.headers, body: response.body }
}

pub(super) fn response_to(response: Response) -> types::Response {
    types::Response { status: response.status, headers: response.headers, body: response.body }
}

pub(super) fn timer(timer: &Timer) -> timers::Timer {
    timers::Timer { name: timer.name.clone(), at: timer.at, payload: timer.payload.to_vec(), attempt: timer.attempt }
}
