//! HTTP/2 frame by frame: floods end the connection, and busy clients go on.

use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{BASE, Server, TEST_TIMEOUT, within};
use crate::shares::{bearer, connect_http2, prepare_long_answer, request_long_answer, unruly_jwt_server};
use crate::tls::{connect, tls_server, tls_server_with};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LIMIT: &str = "http2_frames_per_second";

/// The length of a flood, twenty times what the server allows at once.
const FRAMES: u32 = 20_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request to a room, without a credential. In HPACK 0x82 and 0x83 are GET and POST, 0x86 is `http`.
fn head(method: u8, stream: u32, ends: bool) -> Vec<u8> {
    let path = format!("{BASE}/rooms/a/messages");
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let fields = [&[method, 0x86][..], &literal(0x04, &path), &literal(0x01, "localhost")].concat();
    frame(1, if ends { 0x5 } else { 0x4 }, stream, &fields)
}

/// A flood: its name, the frames before it, and the frames of it by number.
type Flood = (&'static str, Vec<u8>, fn(u32) -> Vec<u8>);

fn floods() -> Vec<Flood> {
    let flood = |name, before, frames: fn(u32) -> Vec<u8>| (name, before, frames);
    vec![
        flood("PRIORITY", Vec::new(), |_| frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        flood("SETTINGS", Vec::new(), |_| frame(4, 0, 0, b"")),
        flood("the answer to SETTINGS", Vec::new(), |_| frame(4, 1, 0, b"")),
        flood("PING", Vec::new(), |_| frame(6, 0, 0, b"how long")),
        flood("the answer to PING", Vec::new(), |_| frame(6, 1, 0, b"how long")),
        flood("WINDOW_UPDATE", Vec::new(), |_| frame(8, 0, 0, &[0, 0, 0, 1])),
        flood("an unknown frame", Vec::new(), |_| frame(0xfe, 0xff, 7, b"")),
        flood("an unknown frame with something in it", Vec::new(), |_| frame(0xfe, 0, 0, &[0; 300])),
        flood("empty DATA", head(0x83, 1, false), |_| frame(0, 0, 1, b"")),
        flood("DATA with nothing but padding", head(0x83, 1, false), |_| frame(0, 8, 1, &[1, 0])),
        flood("requests that are reset at once", Vec::new(), |number| {
            // Streams that clients open have odd numbers.
            let stream = 2 * number + 1;
            [head(0x82, stream, true), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        }),
        flood("resets", [head(0x83, 1, false), frame(3, 0, 1, &[0, 0, 0, 8])].concat(), |_| {
            frame(3, 0, 1, &[0, 0, 0, 8])
        }),
    ]
}

/// Sends a flood. Fails the test unless the server ends the connection.
async fn assert_flood_ends_connection(stream: impl AsyncRead + AsyncWrite + Unpin, (name, before, frames): &Flood) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sends = async {
        let first = [PREFACE, &frame(4, 0, 0, b""), before].concat();
        let mut sent = writer.write_all(&first).await;
        for number in (0..FRAMES).step_by(100) {
            let some = (number..number + 100).flat_map(frames).collect::<Vec<_>>();
            sent = sent.and(writer.write_all(&some).await);
            if sent.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    };
    let receives = async {
        let mut received = [0; 8_192];
        while let Ok(1..) = reader.read(&mut received).await {}
    };
    let both = async { tokio::join!(sends, receives) };
    assert!(tokio::time::timeout(TEST_TIMEOUT, both).await.is_ok(), "{name}: the connection goes on");
}

#[tokio::test]
async fn floods_of_http2_frames_end_the_connection_and_log_nothing() {
    let server = Server::with("h2c = true\n").await;
    let before = server.log();
    for flood in floods() {
        assert_flood_ends_connection(TcpStream::connect(server.address).await.unwrap(), &flood).await;
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    let log = server.log();
    let warnings = log[before.len()..].lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    assert_eq!(warnings.collect::<Vec<_>>(), Vec::<&str>::new(), "clients cannot fill the log");
    // h2 ends unexpected acknowledgements, empty DATA and some resets by rules of its own.
    server.wait_for_count(&format!("refused_total{{limit=\"{LIMIT}\"}}"), 7).await;
}

#[tokio::test]
async fn floods_of_http2_frames_end_the_connection_over_tls() {
    let (server, certificate) = tls_server().await;
    for flood in floods() {
        assert_flood_ends_connection(connect(&server, &certificate, &["h2"]).await.unwrap(), &flood).await;
    }
    server.wait_for_refusal(LIMIT).await;
}

#[tokio::test]
async fn a_missing_http2_preface_ends_the_connection() {
    let limit = "limits.header_timeout = \"300ms\"\n";
    let (server, certificate) = tls_server_with(limit).await;
    let mut silent = connect(&server, &certificate, &["h2"]).await.unwrap();
    let _ = within(silent.read_to_end(&mut Vec::new())).await;
    let server = Server::with(&format!("h2c = true\n{limit}")).await;
    let mut begun = TcpStream::connect(server.address).await.unwrap();
    begun.write_all(&[PREFACE, &frame(4, 0, 0, b"")].concat()).await.unwrap();
    let mut unfinished = TcpStream::connect(server.address).await.unwrap();
    unfinished.write_all(&PREFACE[..10]).await.unwrap();
    let _ = within(unfinished.read_to_end(&mut Vec::new())).await;
    // The connection that began earlier may be silent for longer.
    begun.write_all(&frame(6, 0, 0, b"how long")).await.unwrap();
    let (answer, mut received) = (frame(6, 1, 0, b"how long"), Vec::new());
    let answered = async {
        while !received.windows(answer.len()).any(|received| received == answer) {
            assert_ne!(begun.read_buf(&mut received).await.unwrap(), 0, "it was cut off");
        }
    };
    within(answered).await;
}

#[tokio::test]
async fn too_many_http2_frames_get_enhance_your_calm() {
    let server = Server::with("h2c = true\n").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, b"")].concat()).await.unwrap();
    let (ping, answer) = (frame(6, 0, 0, b"how long"), frame(6, 1, 0, b"how long"));
    let (mut received, mut pings) = (Vec::new(), 0);
    // One at a time: a connection that is closed with unread bytes is reset, and the GOAWAY could get lost.
    let to_the_end = async {
        loop {
            stream.write_all(&ping).await.unwrap();
            pings += 1;
            while !received.windows(answer.len()).any(|received| received == answer) {
                if stream.read_buf(&mut received).await.unwrap() == 0 {
                    return;
                }
            }
            received.clear();
        }
    };
    within(to_the_end).await;
    assert!(pings >= 990, "a thousand come at once: {pings}");
    let enhance_your_calm = frame(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11]);
    assert_eq!(received.escape_ascii().to_string(), enhance_your_calm.escape_ascii().to_string());
}

#[tokio::test]
async fn a_long_answer_may_be_acknowledged_in_many_steps() {
    let server = unruly_jwt_server("", "").await;
    let ana = bearer(&server, "ana");
    prepare_long_answer(&server, &ana).await;
    // The client sends a WINDOW_UPDATE for each kilobyte or less, at least 900 for each answer.
    let sender = connect_http2::<Full<bytes::Bytes>>(&server, 1_024).await;
    for _ in 0..5 {
        let answer = request_long_answer(&sender, &ana).await;
        let body = within(answer.into_body().collect()).await.expect("it is whole").to_bytes();
        assert!(body.len() >= 900_000);
    }
}
