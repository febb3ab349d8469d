//! Runs each test of a room with and without hibernation.

/// Runs each test twice, each time with a new room of this component (bytes, or a [`TestRoom`](crate::TestRoom)). In
/// `awake::NAME` the instance stays from event to event; in `hibernating::NAME` it is dropped after each event. A test
/// is a function that takes the room.
///
/// A test that is not in the list would never run. With `#![deny(dead_code)]` at the top of the file, a forgotten test
/// does not compile.
///
/// ```no_run
/// # const ECHO: &[u8] = b"";
/// use dormouse_test::TestRoom;
///
/// dormouse_test::with_and_without_hibernation! { ECHO;
///     a_message_is_echoed,
/// }
///
/// fn a_message_is_echoed(mut room: TestRoom) {
///     let ana = room.join("ana");
///     room.send(&ana, "1");
///     assert_eq!(ana.received(), [1]);
/// }
/// ```
#[macro_export]
macro_rules! with_and_without_hibernation {
    ($room:expr; $($test:ident),+ $(,)?) => {
        mod awake {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($crate::TestRoom::from($room));
                }
            )+
        }

        mod hibernating {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($crate::TestRoom::from($room).hibernate_after_each_event(true));
                }
            )+
        }
    };
}
