//! Runs each test of a room with and without hibernation.

/// Runs each test twice, each time with a new room of this component (bytes, or a [`TestRoom`](crate::TestRoom)). In
/// `kept::NAME` the instance stays from event to event; in `forgetful::NAME` it is dropped after each event. A test is
/// a function that takes the room.
///
/// A test that is not in the list would never run. With `#![deny(dead_code)]` at the top of the file, a forgotten test
/// does not compile.
///
/// ```no_run
/// # const ECHO: &[u8] = b"";
/// use dormouse_test::TestRoom;
///
/// dormouse_test::kept_and_forgetful! { ECHO;
///     what_is_said_comes_back,
/// }
///
/// fn what_is_said_comes_back(mut room: TestRoom) {
///     let ana = room.join("ana");
///     room.say(&ana, "1");
///     assert_eq!(ana.hears(), [1]);
/// }
/// ```
#[macro_export]
macro_rules! kept_and_forgetful {
    ($room:expr; $($test:ident),+ $(,)?) => {
        mod kept {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($crate::TestRoom::from($room));
                }
            )+
        }

        mod forgetful {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($crate::TestRoom::from($room).forgetful(true));
                }
            )+
        }
    };
}
