//! Rooms in a program of your own.

use dormouse::config::{Config, Namespace};
use dormouse::model::{Address, Request, User};
use dormouse::{Host, StartError};

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let mut config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    config.namespaces.insert("OTHERS".into(), Namespace::of("builtin:chat-room"));
    let host = Host::builder(config).start().await?;

    let user = Some(User { id: "1".into(), name: "ana".into() });
    let request = Request { method: "GET".into(), path: "/messages".into(), user, ..Request::default() };
    let answer = host.rooms().request(&Address::new("OTHERS", "lobby").unwrap(), request).await.unwrap();
    println!("http://{} is up, and the lobby says {}", host.address(), String::from_utf8_lossy(&answer.body));

    host.shutdown().await;
    Ok(())
}
