//! Performs the operations of the fuzzer, and returns the answers of the host.

use dormouse_room::{Error, Message, Result, context, sockets, storage, timers};

use crate::operation::{Operation, Text};

/// Performs all operations, and returns the result of each.
pub(crate) fn execute_all(operations: Vec<Operation>) -> Result<Vec<String>> {
    operations.into_iter().map(perform).collect()
}

fn perform(operation: Operation) -> Result<String> {
    Ok(match operation {
        Operation::Get { key } => match storage::get(key.all()) {
            Some(value) => format!("{} B", value.len()),
            None => "nothing".into(),
        },
        Operation::Put { key, value } => done(storage::put(key.all(), value.all()).is_ok()),
        Operation::Delete { key } => storage::delete(key.all()).to_string(),
        Operation::DeleteRange { start, end, limit } => {
            storage::delete_range(&start.all(), &end.all(), limit).to_string()
        }
        Operation::List { prefix, start, end, reverse, limit } => {
            let range = storage::prefix(prefix.all()).from(start.all()).before(end.all()).limit(limit);
            let range = if reverse { range.reverse() } else { range };
            let entries = range.list();
            format!("{} from {:?}", entries.len(), entries.first().map(|(key, _)| key.len()))
        }
        Operation::SetTimer { name, at, payload } => done(timers::set_at(&name.all(), at, payload.all()).is_ok()),
        Operation::CancelTimer { name } => timers::cancel(&name.all()).to_string(),
        Operation::GetTimer { name } => format!("{:?}", timers::get(&name.all()).map(|timer| timer.at)),
        Operation::Tags { socket, tags } => {
            let tags = tags.iter().map(Text::all).collect::<Vec<_>>();
            done(nth(socket, |socket| socket.set_tags(&tags).is_ok()))
        }
        Operation::Attach { socket, note } => done(nth(socket, |socket| socket.set_attachment(&note.all()).is_ok())),
        Operation::Send { socket, id, text } => {
            let message = Message::Text(text.all());
            done(nth(socket, |socket| match id {
                Some(id) => socket.send_with_id(&message, &id.all()).is_ok(),
                None => socket.send(&message).is_ok(),
            }))
        }
        Operation::Close { socket, code, reason } => {
            done(nth(socket, |socket| socket.close(code, &reason.all()).is_ok()))
        }
        Operation::Broadcast { tag, user, id, text } => {
            let message = Message::Text(text.all());
            done(match id {
                Some(id) => selection(tag, user).broadcast_with_id(&message, &id.all()).is_ok(),
                None => selection(tag, user).broadcast(&message).is_ok(),
            })
        }
        Operation::Count { tag, user } => selection(tag, user).count().to_string(),
        Operation::Find { id } => format!("{:?}", sockets::get(id).map(|socket| socket.user().id)),
        Operation::AutoResponse { request, reply } => {
            done(sockets::set_auto_response(&request.all(), &reply.all()).is_ok())
        }
        Operation::Log { line } => {
            context::log(line.all());
            "done".into()
        }
        Operation::Config { key } => format!("{:?}", context::config(&key.all())),
        Operation::Fail => return Err(Error::new("told to fail")),
    })
}

fn done(done: bool) -> String {
    if done { "done" } else { "refused" }.into()
}

fn nth(socket: usize, act: impl FnOnce(&sockets::Socket) -> bool) -> bool {
    sockets::everyone().list().get(socket).is_some_and(act)
}

fn selection(tag: Option<Text>, user: Option<Text>) -> sockets::Selection {
    let everyone = sockets::everyone();
    let tagged = match tag {
        Some(tag) => everyone.tagged(tag.all()),
        None => everyone,
    };
    match user {
        Some(user) => tagged.of_user(user.all()),
        None => tagged,
    }
}
