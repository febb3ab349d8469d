//! Turns the types of the model and of rooms into those of links, and back. It knows no link.

use crate::cluster::link::wire::{self, Blob, Content, NoAnswer, NotSeated};
use crate::cluster::ownership::{Fence, Tenure};
use crate::model::{
    Address, AutoResponse, Claims, ClientKind, Close, ErasedData, EventId, ExportedData, Message, OutboundMessage,
    Permission, Permissions, Request, Response, Socket, TenureId, User, UserAccess,
};
use crate::room::{ConnectError, RequestError, UserDataError, UserDataPart};

pub(super) fn request_out(request: Request) -> wire::Request {
    let Request { method, path, query, headers, body, user, access } = request;
    let (body, user, access) = (Blob(body), user.map(user_out), access_out(&access));
    wire::Request { method, path, query, headers, body, user, access }
}

pub(super) fn request_in(request: wire::Request) -> Request {
    let wire::Request { method, path, query, headers, body, user, access } = request;
    Request { method, path, query, headers, body: body.0, user: user.map(user_in), access: access_in(&access) }
}

pub(super) fn response_out(response: Response) -> wire::Response {
    let Response { status, headers, body } = response;
    wire::Response { status, headers, body: Blob(body) }
}

pub(super) fn response_in(response: wire::Response) -> Response {
    let wire::Response { status, headers, body } = response;
    Response { status, headers, body: body.0 }
}

pub(super) fn user_out(user: User) -> (String, String) {
    (user.id, user.name)
}

pub(super) fn user_in((id, name): (String, String)) -> User {
    User { id, name }
}

pub(super) fn access_out(access: &UserAccess) -> wire::Access {
    let permissions = access.permissions();
    let bit = |(place, permission): (usize, Permission)| u8::from(permissions.has(permission)) << place;
    let permissions = Permission::ALL.into_iter().enumerate().map(bit).sum();
    wire::Access { claims: access.claims_json().into(), permissions }
}

/// Claims that cannot be read are of a node that does not keep its promises: the user has none then.
pub(super) fn access_in(access: &wire::Access) -> UserAccess {
    let claims = match &*access.claims {
        "{}" => Claims::default(),
        text => serde_json::from_str(text).ok().and_then(|claims| Claims::new(&claims).ok()).unwrap_or_default(),
    };
    let has = |(place, _): &(usize, Permission)| access.permissions >> place & 1 == 1;
    let permissions = Permission::ALL.into_iter().enumerate().filter(has).map(|(_, permission)| permission);
    UserAccess::new(claims, Permissions::from_iter(permissions))
}

pub(super) fn message_out(message: Message) -> Content {
    match message {
        Message::Text(text) => Content::Text(text),
        Message::Binary(bytes) => Content::Binary(Blob(bytes)),
    }
}

pub(super) fn message_in(content: Content) -> Message {
    match content {
        Content::Text(text) => Message::Text(text),
        Content::Binary(bytes) => Message::Binary(bytes.0),
    }
}

/// The messages of a room, of which several may be merged.
pub(super) fn said_out(message: &OutboundMessage, said: &mut Vec<wire::Said>) {
    match message.parts() {
        Ok(one) => {
            let id = message.event_id().map(|id| id.as_str().to_owned());
            said.push(wire::Said { content: message_out(one.clone()), id });
        }
        Err(several) => several.iter().for_each(|message| said_out(message, said)),
    }
}

pub(super) fn said_in(said: Vec<wire::Said>) -> OutboundMessage {
    let message = |wire::Said { content, id }| {
        let message = message_in(content);
        match id.and_then(EventId::new) {
            Some(id) => OutboundMessage::with_id(message, id),
            None => OutboundMessage::new(message),
        }
    };
    let mut messages = said.into_iter().map(message).collect::<Vec<_>>();
    if messages.len() == 1 { messages.remove(0) } else { OutboundMessage::together(messages) }
}

pub(super) fn close_out(close: Close) -> wire::Closed {
    let Close { code, reason, clean } = close;
    wire::Closed { code, reason, clean }
}

pub(super) fn close_in(close: wire::Closed) -> Close {
    let wire::Closed { code, reason, clean } = close;
    Close { code, reason, clean }
}

pub(super) fn kind_out(kind: ClientKind) -> wire::Kind {
    match kind {
        ClientKind::WebSocket => wire::Kind::WebSocket,
        ClientKind::EventStream => wire::Kind::EventStream,
        ClientKind::Local => wire::Kind::Local,
    }
}

pub(super) fn kind_in(kind: wire::Kind) -> ClientKind {
    match kind {
        wire::Kind::WebSocket => ClientKind::WebSocket,
        wire::Kind::EventStream => ClientKind::EventStream,
        wire::Kind::Local => ClientKind::Local,
    }
}

pub(super) fn tenure_out(tenure: TenureId) -> wire::Tenure {
    let TenureId { epoch, token } = tenure;
    wire::Tenure { epoch, token }
}

pub(super) fn tenure_in(tenure: wire::Tenure) -> TenureId {
    let wire::Tenure { epoch, token } = tenure;
    TenureId { epoch, token }
}

/// The tenure as the rules of ownership have it.
pub(super) fn tenure_of(tenure: wire::Tenure) -> Tenure {
    let wire::Tenure { epoch, token } = tenure;
    Tenure(Fence { epoch, token })
}

/// The tenure of the rules.
pub(super) fn tenure_from(tenure: Tenure) -> wire::Tenure {
    let Fence { epoch, token } = tenure.0;
    wire::Tenure { epoch, token }
}

/// A room that is offered to another node.
pub(super) fn offer_out(
    address: &Address,
    tenure: TenureId,
    sockets: Vec<Socket>,
    auto_response: Option<AutoResponse>,
) -> wire::Offer {
    let socket = |Socket { id, user, access, tags, attachment, since, client, .. }: Socket| wire::OfferedSocket {
        id,
        user: user_out(User::clone(&user)),
        access: access_out(&access),
        tags,
        attachment: Blob(attachment.into()),
        since,
        kind: kind_out(client.kind()),
    };
    wire::Offer {
        namespace: address.namespace().into(),
        name: address.name().into(),
        tenure: tenure_out(tenure),
        sockets: sockets.into_iter().map(socket).collect(),
        auto_response: auto_response.map(|AutoResponse { request, reply }| (request, reply)),
    }
}

pub(super) fn no_answer_out(error: &RequestError) -> NoAnswer {
    match error {
        RequestError::NoNamespace => NoAnswer::NoNamespace,
        RequestError::Failed => NoAnswer::Failed,
        RequestError::Overloaded => NoAnswer::Overloaded,
        RequestError::NoMemory => NoAnswer::NoMemory,
        RequestError::TooManyRooms => NoAnswer::TooManyRooms,
        RequestError::Broken => NoAnswer::Broken,
        RequestError::Moved(owner) => NoAnswer::Elsewhere(*owner),
        RequestError::NoSpace => NoAnswer::NoSpace,
        RequestError::Draining => NoAnswer::Draining,
    }
}

pub(super) fn no_answer_in(error: NoAnswer) -> RequestError {
    match error {
        NoAnswer::NoNamespace => RequestError::NoNamespace,
        NoAnswer::Failed => RequestError::Failed,
        NoAnswer::Overloaded => RequestError::Overloaded,
        NoAnswer::NoMemory => RequestError::NoMemory,
        NoAnswer::TooManyRooms => RequestError::TooManyRooms,
        NoAnswer::Broken => RequestError::Broken,
        NoAnswer::Elsewhere(owner) => RequestError::Moved(owner),
        NoAnswer::NoSpace => RequestError::NoSpace,
        // Only that node shuts down.
        NoAnswer::Draining => RequestError::Moved(None),
    }
}

pub(super) fn not_seated_out(error: ConnectError) -> NotSeated {
    match error {
        ConnectError::Refused(status, reason) => NotSeated::Refused(status, reason),
        ConnectError::NoAnswer(error) => NotSeated::NoAnswer(no_answer_out(&error)),
        ConnectError::Answered(response) => NotSeated::Answered(response_out(response)),
    }
}

pub(super) fn not_seated_in(error: NotSeated) -> ConnectError {
    match error {
        NotSeated::Refused(status, reason) => ConnectError::Refused(status, reason),
        NotSeated::NoAnswer(error) => ConnectError::NoAnswer(no_answer_in(error)),
        NotSeated::Answered(response) => ConnectError::Answered(response_in(response)),
    }
}

pub(super) fn user_data_out(part: UserDataPart) -> wire::UserData {
    match part {
        UserDataPart::Exported(ExportedData { items, next }) => wire::UserData::Exported(items, next),
        UserDataPart::Erased(ErasedData { items, next }) => wire::UserData::Erased(items, next),
    }
}

pub(super) fn user_data_in(part: wire::UserData) -> UserDataPart {
    match part {
        wire::UserData::Exported(items, next) => UserDataPart::Exported(ExportedData { items, next }),
        wire::UserData::Erased(items, next) => UserDataPart::Erased(ErasedData { items, next }),
    }
}

pub(super) fn no_user_data_out(error: UserDataError) -> wire::NoUserData {
    match error {
        UserDataError::Turn(text) => wire::NoUserData::Turn(text),
        UserDataError::NoAnswer(error) => wire::NoUserData::NoAnswer(no_answer_out(&error)),
    }
}

pub(super) fn no_user_data_in(error: wire::NoUserData) -> UserDataError {
    match error {
        wire::NoUserData::Turn(text) => UserDataError::Turn(text),
        wire::NoUserData::NoAnswer(error) => UserDataError::NoAnswer(no_answer_in(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_and_permissions_come_back_as_they_were() {
        let claims = Claims::new(json!({ "role": "host" }).as_object().unwrap()).unwrap();
        for permissions in
            [Permissions::NONE, Permissions::OPEN, Permissions::ALL, Permissions::from_iter([Permission::Admin])]
        {
            for claims in [claims.clone(), Claims::default()] {
                let access = UserAccess::new(claims, permissions);
                assert_eq!(access_in(&access_out(&access)), access);
            }
        }
    }

    #[test]
    fn merged_messages_keep_their_order_and_their_ids() {
        let with_id = OutboundMessage::with_id(Message::Text("one".into()), EventId::new("1".into()).unwrap());
        let plain = OutboundMessage::new(Message::Binary(vec![2]));
        let together = OutboundMessage::together(vec![with_id, plain]);
        let mut said = Vec::new();
        said_out(&together, &mut said);
        let back = said_in(said);
        let parts = back.parts().unwrap_err();
        assert_eq!(parts[0].event_id().map(EventId::as_str), Some("1"));
        assert_eq!(parts[1].message(), Some(&Message::Binary(vec![2])));
        let mut one = Vec::new();
        said_out(&parts[0], &mut one);
        assert_eq!(said_in(one).message(), Some(&Message::Text("one".into())));
    }
}
