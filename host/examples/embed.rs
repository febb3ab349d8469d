//! Rooms in a program of your own.

use dormouse::config::{Config, Namespace};
use dormouse::model::{Message, Request, User};
use dormouse::{Host, StartError};

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let mut config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    config.namespaces.insert("OTHERS".into(), Namespace::of("builtin:chat-room"));
    let host = Host::builder(config).start().await?;

    let lobby = host.rooms().get("OTHERS", "lobby").unwrap();
    let answer = lobby.request(Request::get("/messages").by(User::new("1", "ana"))).await.unwrap();
    lobby.broadcast(Message::Text(r#"{"type":"notice","text":"tea is ready"}"#.into())).await.unwrap();
    println!("http://{} is up, and the lobby says {}", host.address().unwrap(), String::from_utf8_lossy(&answer.body));

    host.shutdown().await;
    Ok(())
}
