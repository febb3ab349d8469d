//! Your own edge: an axum server with its own login and pages, and with rooms mounted into it.
//!
//! `cargo run --package dormouse --example axum_edge`, then:
//!
//! ```sh
//! curl -c jar -d name=ana http://127.0.0.1:8788/login
//! curl -b jar -N http://127.0.0.1:8788/realtime/rooms/lobby/events &
//! curl -b jar -d '{"content":"hello"}' http://127.0.0.1:8788/realtime/rooms/lobby/messages
//! curl -d 'tea is ready' http://127.0.0.1:8788/announce/lobby
//! curl http://127.0.0.1:8788/rooms
//! ```

mod app;

use dormouse::config::Limits;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = app::host("./dormouse-data".as_ref(), Limits::default()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8788").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app::routes(&host))
        .with_graceful_shutdown(async {
            // If the signal cannot be received, the server stops at once.
            let _ = tokio::signal::ctrl_c().await;
            // This comes first: an event stream ends with the goodbye of its room, and the server waits for its
            // streams.
            host.shutdown().await;
        })
        .await?;
    Ok(())
}
