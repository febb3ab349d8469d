//! The room's timers.

use rquickjs::Object;
use rquickjs::prelude::Opt;

use super::{Problem, functions};
use crate::bindings::dormouse::room::timers::{self, Due, TimerError};
use crate::convert::{Bytes, Text};

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "setTimer"(name: Text, at: f64, payload: Opt<Option<Bytes>>) => {
            let payload = payload.0.flatten().map_or_else(Vec::new, |Bytes(payload)| payload);
            // The conversion saturates: a negative number and NaN are 0.
            Ok(Problem::of(timers::set(&name.0, Due::At(at as u64), &payload), |error| match error {
                TimerError::BadName => "bad-name",
                TimerError::PayloadTooLarge => "payload-too-large",
                TimerError::TooMany => "too-many",
            }))
        };
        turn "getTimer"(name: Text) => Ok(timers::get(&name.0));
        turn "cancelTimer"(name: Text) => Ok(timers::cancel(&name.0));
        turn "timers"() => Ok(timers::list());
    );
    Ok(())
}
