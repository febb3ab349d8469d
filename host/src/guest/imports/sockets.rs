//! `sockets`: the clients of the room.

use bytes::Bytes;
use wasmtime::component::Resource;

use crate::guest::bindings::SocketHandle;
use crate::guest::bindings::room::dormouse::room::access::PermissionSet;
use crate::guest::bindings::room::dormouse::room::sockets::{
    self, EventError, Except, Filter, HostSocket, SocketError,
};
use crate::guest::bindings::room::dormouse::room::types::{Message, User};
use crate::guest::convert;
use crate::guest::state::StoreData;
use crate::limits;
use crate::model::{self, Audience, AutoResponse, EventId, OutboundMessage, Output, SocketChange, SocketKey};

impl StoreData {
    /// The key of a handle, if its client is still connected.
    fn connected_key(&mut self, handle: &Resource<SocketHandle>) -> wasmtime::Result<Result<SocketKey, SocketError>> {
        let key = handle.rep();
        let is_connected = self.resources()?.sockets.get(key).is_some_and(|socket| !socket.gone);
        Ok(if is_connected { Ok(key) } else { Err(SocketError::Gone) })
    }

    fn send_to(
        &mut self,
        message: Message,
        id: Option<EventId>,
        audience: Audience,
    ) -> wasmtime::Result<Result<(), SocketError>> {
        let message = convert::message_from(message);
        let max_bytes = self.resources()?.message_out_bytes;
        if message.len() > max_bytes {
            return Ok(Err(too_large(max_bytes)));
        }
        self.count_output(message.len() + id.as_ref().map_or(0, |id| id.as_str().len()))?;
        let message = match id {
            Some(id) => OutboundMessage::with_id(message, id),
            None => OutboundMessage::new(message),
        };
        self.turn.outputs.push(Output::Message(message, audience));
        Ok(Ok(()))
    }

    /// The receivers that match a filter now.
    fn audience(&mut self, filter: Filter) -> wasmtime::Result<Audience> {
        Ok(match from_wit(filter) {
            model::Filter { tag: None, user: None, except } => Audience::Everyone(except),
            narrow => {
                let keys = self.resources()?.sockets.select(&narrow);
                self.count_output(size_of_val(keys.as_slice()))?;
                Audience::These(keys)
            }
        })
    }
}

impl HostSocket for StoreData {
    fn id(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<u64> {
        Ok(self.socket(handle.rep())?.id)
    }

    fn user(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<User> {
        Ok(convert::user(&self.socket(handle.rep())?.user))
    }

    fn claims_json(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<String> {
        Ok(self.socket(handle.rep())?.access.claims_json().to_owned())
    }

    fn permissions(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<PermissionSet> {
        Ok(convert::permissions(self.socket(handle.rep())?.access.permissions()))
    }

    fn tags(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.socket(handle.rep())?.tags.clone())
    }

    fn set_tags(
        &mut self,
        handle: Resource<SocketHandle>,
        tags: Vec<String>,
    ) -> wasmtime::Result<Result<(), SocketError>> {
        if tags.len() > limits::TAGS {
            return Ok(Err(SocketError::TooMany(limits::TAGS as u32)));
        }
        if tags.iter().any(|tag| tag.len() > limits::TAG_BYTES) {
            return Ok(Err(too_large(limits::TAG_BYTES)));
        }
        let key = match self.connected_key(&handle)? {
            Ok(key) => key,
            Err(gone) => return Ok(Err(gone)),
        };
        let before = self.socket(key)?.tags.clone();
        self.count_output(before.iter().map(|tag| size_of::<String>() + tag.len()).sum())?;
        self.turn.sockets_before.push((key, SocketChange::Tags(before)));
        self.resources()?.sockets.set_tags(key, tags);
        Ok(Ok(()))
    }

    fn attachment(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.socket(handle.rep())?.attachment.to_vec())
    }

    fn set_attachment(
        &mut self,
        handle: Resource<SocketHandle>,
        attachment: Vec<u8>,
    ) -> wasmtime::Result<Result<(), SocketError>> {
        if attachment.len() > limits::ATTACHMENT_BYTES {
            return Ok(Err(too_large(limits::ATTACHMENT_BYTES)));
        }
        let key = match self.connected_key(&handle)? {
            Ok(key) => key,
            Err(gone) => return Ok(Err(gone)),
        };
        self.count_output(attachment.len())?;
        let before = self.socket(key)?.attachment.clone();
        self.turn.sockets_before.push((key, SocketChange::Attachment(before)));
        self.resources()?.sockets.set_attachment(key, Bytes::from(attachment));
        Ok(Ok(()))
    }

    fn send(&mut self, handle: Resource<SocketHandle>, message: Message) -> wasmtime::Result<Result<(), SocketError>> {
        match self.connected_key(&handle)? {
            Ok(key) => self.send_to(message, None, Audience::These(vec![key])),
            Err(gone) => Ok(Err(gone)),
        }
    }

    fn send_with_id(
        &mut self,
        handle: Resource<SocketHandle>,
        message: Message,
        id: String,
    ) -> wasmtime::Result<Result<(), EventError>> {
        let Some(id) = EventId::new(id) else { return Ok(Err(EventError::BadId)) };
        let sent = match self.connected_key(&handle)? {
            Ok(key) => self.send_to(message, Some(id), Audience::These(vec![key]))?,
            Err(gone) => Err(gone),
        };
        Ok(sent.map_err(EventError::NotSent))
    }

    fn close(
        &mut self,
        handle: Resource<SocketHandle>,
        code: u16,
        reason: String,
    ) -> wasmtime::Result<Result<(), SocketError>> {
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Ok(Err(SocketError::BadCloseCode));
        }
        if reason.len() > limits::CLOSE_REASON_BYTES {
            return Ok(Err(too_large(limits::CLOSE_REASON_BYTES)));
        }
        let socket = match self.connected_key(&handle)? {
            Ok(key) => key,
            Err(gone) => return Ok(Err(gone)),
        };
        self.count_output(reason.len())?;
        self.turn.outputs.push(Output::Close { socket, code, reason });
        Ok(Ok(()))
    }

    fn buffered(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<u64> {
        Ok(self.socket(handle.rep())?.client.buffered() as u64)
    }

    fn auto_responded_at(&mut self, handle: Resource<SocketHandle>) -> wasmtime::Result<Option<u64>> {
        Ok(self.socket(handle.rep())?.client.auto_responded_at())
    }

    fn drop(&mut self, _: Resource<SocketHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl sockets::Host for StoreData {
    fn all(&mut self, filter: Filter) -> wasmtime::Result<Vec<Resource<SocketHandle>>> {
        let keys = self.resources()?.sockets.select(&from_wit(filter));
        Ok(keys.into_iter().map(Resource::new_own).collect())
    }

    fn count(&mut self, filter: Filter) -> wasmtime::Result<u32> {
        let sockets = &mut self.resources()?.sockets;
        let filter = from_wit(filter);
        let count = if filter == model::Filter::default() { sockets.len() } else { sockets.select(&filter).len() };
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn get(&mut self, id: u64) -> wasmtime::Result<Option<Resource<SocketHandle>>> {
        Ok(self.resources()?.sockets.find(id).map(Resource::new_own))
    }

    fn broadcast(&mut self, message: Message, filter: Filter) -> wasmtime::Result<Result<(), SocketError>> {
        let audience = self.audience(filter)?;
        self.send_to(message, None, audience)
    }

    fn broadcast_with_id(
        &mut self,
        message: Message,
        id: String,
        filter: Filter,
    ) -> wasmtime::Result<Result<(), EventError>> {
        let Some(id) = EventId::new(id) else { return Ok(Err(EventError::BadId)) };
        let audience = self.audience(filter)?;
        Ok(self.send_to(message, Some(id), audience)?.map_err(EventError::NotSent))
    }

    fn max_message_bytes(&mut self) -> wasmtime::Result<u32> {
        let limits = &self.limits;
        let of_turn = limits.turn_output_bytes.saturating_sub(limits::MESSAGE_OVERHEAD_BYTES);
        let max_bytes = limits.socket_queue_bytes.min(of_turn).min(self.resources()?.message_out_bytes);
        Ok(u32::try_from(max_bytes).unwrap_or(u32::MAX))
    }

    fn set_auto_response(&mut self, request: String, reply: String) -> wasmtime::Result<Result<(), SocketError>> {
        if request.len().max(reply.len()) > limits::AUTO_RESPONSE_BYTES {
            return Ok(Err(too_large(limits::AUTO_RESPONSE_BYTES)));
        }
        self.count_output(request.len() + reply.len())?;
        self.turn.outputs.push(Output::AutoResponse(Some(AutoResponse { request, reply })));
        Ok(Ok(()))
    }

    fn clear_auto_response(&mut self) -> wasmtime::Result<()> {
        self.count_output(0)?;
        self.turn.outputs.push(Output::AutoResponse(None));
        Ok(())
    }
}

fn from_wit(filter: Filter) -> model::Filter {
    let except = match filter.except {
        Except::Nobody => model::Except::Nobody,
        Except::Socket(id) => model::Except::Socket(id),
        Except::User(id) => model::Except::User(id),
    };
    model::Filter { tag: filter.tag, user: filter.user, except }
}

fn too_large(limit: usize) -> SocketError {
    SocketError::TooLarge(u32::try_from(limit).unwrap_or(u32::MAX))
}
