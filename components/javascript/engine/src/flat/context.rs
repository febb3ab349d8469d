//! Where and when the room runs, the claims and permissions of its users, and the log.

use rquickjs::{Exception, Object};

use super::{functions, in_turn, log_line};
use crate::bindings::dormouse::room::{access, context, grants};
use crate::convert::{Bytes, Text, permissions};

/// The most random bytes that one call gives, as `crypto.getRandomValues` of the Web.
const MAX_RANDOM_BYTES: usize = 65_536;

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "namespace"() => Ok(context::namespace());
        turn "name"() => Ok(context::name());
        turn "now"() => Ok(context::now() as f64);
        turn "wokenBy"() => Ok(match context::woken_by() {
            context::WakeReason::Connect => "connect",
            context::WakeReason::Message => "message",
            context::WakeReason::Close => "close",
            context::WakeReason::Timer => "timer",
            context::WakeReason::Request => "request",
        });
        turn "incarnation"() => Ok(context::incarnation().to_string());
        turn "config"(key: Text) => Ok(context::config(&key.0));
        any "random"() => {
            in_turn(&ctx, "Math.random")?;
            Ok((context::random() >> 11) as f64 / (1_u64 << 53) as f64)
        };
        any "randomBytes"(length: usize) => {
            in_turn(&ctx, "crypto.getRandomValues")?;
            if length > MAX_RANDOM_BYTES {
                return Err(Exception::throw_range(&ctx, "randomBytes: at most 65,536 bytes"));
            }
            let mut bytes = Vec::with_capacity(length + 8);
            while bytes.len() < length {
                bytes.extend(context::random().to_le_bytes());
            }
            bytes.truncate(length);
            Ok(Bytes(bytes))
        };
        any "log"(level: u32, line: Text) => {
            log_line(level, &line.0);
            Ok(())
        };
        turn "claims"() => Ok(access::claims_json());
        turn "permissions"() => Ok(permissions(access::permissions()));
        turn "permissionsIn"(namespace: Text, name: Text) => {
            Ok(permissions(grants::permissions_in(&namespace.0, &name.0)))
        };
    );
    Ok(())
}
