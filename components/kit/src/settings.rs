//! The macros with which a component declares its configuration.

/// Declares the settings of this component: the keys that the operator may set in `config` of its namespace, and their
/// types. The host checks them when it starts, and refuses an undeclared key. Use it once in a crate. Without it the
/// host accepts every key and value. [`context::config`](crate::context::config) reads them.
///
/// ```
/// dormouse_room::settings! {
///     "title": text,
///     "seats": number 2..=8,
/// }
/// ```
///
/// With `message_out_bytes >= 4096;` before them, the host also refuses a namespace that limits the messages of its
/// rooms to less. `message_in_bytes >= 256;` after that is the same for messages of clients.
#[macro_export]
macro_rules! settings {
    (
        $(message_out_bytes >= $out_bytes:literal;)?
        $(message_in_bytes >= $in_bytes:literal;)?
        $($name:literal: $kind:ident $($from:literal..=$to:literal)?),* $(,)?
    ) => {
        $crate::declare! {
            $("message_out_bytes least ", $out_bytes, "\n",)?
            $("message_in_bytes least ", $in_bytes, "\n",)?
            $($name, " ", stringify!($kind), $(" ", $from, " ", $to,)? "\n",)*
        }
    };
}

/// Declares the namespaces that this router uses: the host does not start if one of them is missing. Use it once in a
/// crate.
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

/// A custom section with this text, after the version of its format. `host/src/guest/declared.rs` reads it.
#[doc(hidden)]
#[macro_export]
macro_rules! declare {
    ($($text:expr,)*) => {
        const _: () = {
            const DECLARED: &str = concat!("1\n", $($text,)*);
            #[cfg(target_arch = "wasm32")]
            #[expect(unsafe_code, reason = "the section holds only this text")]
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
