//! What a component declares about its configuration.

/// Declare the settings of this component: which keys the operator may set in `config` of its namespace, and which values
/// they take. The host checks them when it starts, and refuses a key that is not declared. Once in a crate; without it,
/// every key and value is taken, and [`context::config`](crate::context::config) gives what was set.
///
/// ```
/// dormouse_room::settings! {
///     "title": text,
///     "seats": number 2..=8,
/// }
/// ```
///
/// With `message_out_bytes >= 4096;` before them, a namespace whose rooms may only send shorter messages is refused as
/// well.
#[macro_export]
macro_rules! settings {
    ($(message_out_bytes >= $bytes:literal;)? $($name:literal: $kind:ident $($from:literal..=$to:literal)?),* $(,)?) => {
        $crate::declare! {
            $("message_out_bytes least ", $bytes, "\n",)?
            $($name, " ", stringify!($kind), $(" ", $from, " ", $to,)? "\n",)*
        }
    };
}

/// Declare the namespaces that this router names: the host does not start without one of them. Once in a crate.
///
/// ```
/// dormouse_room::routes_to!["ROOMS", "POLLS"];
/// ```
#[macro_export]
macro_rules! routes_to {
    ($($namespace:literal),+ $(,)?) => {
        $crate::declare! { $($namespace, " routed\n",)+ }
    };
}

/// A custom section with this text, behind the version of the form. `host/src/guest/declared.rs` reads it.
#[doc(hidden)]
#[macro_export]
macro_rules! declare {
    ($($text:expr,)*) => {
        const _: () = {
            const DECLARED: &str = concat!("1\n", $($text,)*);
            #[cfg(target_arch = "wasm32")]
            #[expect(unsafe_code, reason = "a section of its own holds nothing but this text")]
            #[used]
            #[unsafe(link_section = "dormouse:settings")]
            static SECTION: [u8; DECLARED.len()] = match DECLARED.as_bytes().first_chunk() {
                Some(bytes) => *bytes,
                None => unreachable!(),
            };
            #[cfg(not(target_arch = "wasm32"))]
            let _ = DECLARED;
        };
    };
}
