//! The server faces the world alone: TLS, HTTP/2, a new certificate while it runs.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::CertifiedKey;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{BASE, Server, within};

const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n";

/// Put a fresh certificate for `localhost` beside the configuration.
fn write_certificate(directory: &TempDir) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(directory.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

pub(crate) async fn tls_server() -> (Server, CertificateDer<'static>) {
    tls_server_with("").await
}

pub(crate) async fn tls_server_with(config: &str) -> (Server, CertificateDer<'static>) {
    let directory = Arc::new(TempDir::new().unwrap());
    let certificate = write_certificate(&directory);
    (Server::in_directory(directory, &format!("{TLS}{config}")).await, certificate)
}

/// A connection of a client that trusts one certificate, and speaks these protocols.
pub(crate) async fn connect(
    server: &Server,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn assert_healthy_over_http2(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("https://localhost{path}")).body(Empty::<Bytes>::new()).unwrap();
    let answer = within(sender.send_request(ask("/healthz"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    // Through the router to a room, from the page of our own origin, which HTTP/2 names in its own way.
    let mut request = ask(&format!("{BASE}/rooms/lobby/messages"));
    request.headers_mut().insert("cookie", "dormouse_token=1:ana".parse().unwrap());
    request.headers_mut().insert("origin", "https://localhost".parse().unwrap());
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = within(answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"messages":[]}"#);
}

#[tokio::test]
async fn clients_chat_over_tls() {
    let (server, certificate) = tls_server().await;
    server.wait_for_log("ready on https://").await;
    let mut sockets = Vec::new();
    for name in ["ana", "bo"] {
        let stream = connect(&server, &certificate, &["http/1.1"]).await.unwrap();
        let url = format!("wss://localhost{BASE}/rooms/lobby/ws?token={name}");
        let (socket, _) = within(tokio_tungstenite::client_async(url, stream)).await.unwrap();
        sockets.push(socket);
    }
    let message = r#"{"type":"message","content":"in private"}"#;
    within(futures_util::SinkExt::send(&mut sockets[0], Message::text(message))).await.unwrap();
    for socket in &mut sockets {
        let received = within(async {
            loop {
                let received = futures_util::StreamExt::next(socket).await.unwrap().unwrap();
                if received.to_text().unwrap().contains("in private") {
                    return received;
                }
            }
        });
        assert!(received.await.to_text().unwrap().contains(r#""seq":1"#));
    }
}

#[tokio::test]
async fn http2_is_negotiated_over_tls() {
    let (server, certificate) = tls_server().await;
    let stream = connect(&server, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_healthy_over_http2(stream).await;
}

#[tokio::test]
async fn plain_http2_is_served_only_if_it_is_turned_on() {
    let server = Server::with("h2c = true\n").await;
    assert_healthy_over_http2(TcpStream::connect(server.address).await.unwrap()).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn sighup_reloads_the_certificate_and_open_sockets_go_on() {
    let (server, before) = tls_server().await;
    let stream = connect(&server, &before, &["http/1.1"]).await.unwrap();
    let url = format!("wss://localhost{BASE}/rooms/lobby/ws?token=ana");
    let (mut socket, _) = within(tokio_tungstenite::client_async(url, stream)).await.unwrap();
    let after = write_certificate(&server.directory);
    send_sighup(&server);
    server.wait_for_log("dormouse: reloaded").await;
    assert!(connect(&server, &before, &[]).await.is_err(), "the old one is offered no more");
    connect(&server, &after, &[]).await.unwrap();
    within(futures_util::SinkExt::send(&mut socket, Message::text(r#"{"type":"ping"}"#))).await.unwrap();
    let pong = within(async {
        while let Some(Ok(received)) = futures_util::StreamExt::next(&mut socket).await {
            if received.to_text().unwrap().contains("pong") {
                return true;
            }
        }
        false
    });
    assert!(pong.await, "the socket has gone on");
    // Files that do not work leave the certificate that does.
    std::fs::write(server.directory.path().join("cert.pem"), "nonsense").unwrap();
    send_sighup(&server);
    server.wait_for_log("not reloaded; the old one stays in use").await;
    connect(&server, &after, &[]).await.unwrap();
}

fn send_sighup(server: &Server) {
    let sent = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn an_invalid_certificate_prevents_the_start() {
    let directory = Arc::new(TempDir::new().unwrap());
    let refused = async || Server::try_in_directory(directory.clone(), TLS).await.err().expect("it does not start");
    let log = refused().await;
    assert!(log.contains("cert.pem cannot be read"), "{log}");
    write_certificate(&directory);
    std::fs::write(directory.path().join("key.pem"), "nonsense").unwrap();
    let log = refused().await;
    assert!(log.contains("key.pem cannot be read"), "{log}");
    write_certificate(&directory);
    let cert = std::fs::read(directory.path().join("cert.pem")).unwrap();
    write_certificate(&directory);
    std::fs::write(directory.path().join("cert.pem"), cert).unwrap();
    let log = refused().await;
    assert!(log.contains("does not work with the key"), "{log}");
}

#[tokio::test]
async fn a_stalled_tls_handshake_is_cut_off_and_delays_no_client() {
    let directory = Arc::new(TempDir::new().unwrap());
    let certificate = write_certificate(&directory);
    let server = Server::in_directory(directory, &format!("{TLS}limits.header_timeout = \"5s\"\n")).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    connect(&server, &certificate, &[]).await.unwrap();
    for mut stream in silent {
        let mut nothing = [0; 1];
        assert_eq!(within(stream.read(&mut nothing)).await.unwrap_or(0), 0, "it is closed");
    }
}
