//! Every test of a room, in both lives that a room may lead.

/// Run each test twice, with a new room of this component (bytes, or a [`TestRoom`](crate::TestRoom)): as `kept::NAME`, where the instance stays from event to
/// event, and as `forgetful::NAME`, where it is dropped after each. A test is a function that takes the room.
///
/// A test that is not on the list would never run. Put `#![deny(dead_code)]` at the top of the file, and one that was
/// forgotten does not compile.
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
