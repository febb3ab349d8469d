//! The end of the edge: every socket gets a close frame that says when to come back, and then every connection ends.
//!
//! It knows no requests. `host` calls it at a shutdown; `accept` and `admin` see that it has begun.

use std::time::Duration;

use tokio::sync::watch;

use super::Edge;
use super::sockets::close::CloseReason;
use crate::clock;
use crate::model::Client;
use crate::random;

/// Sockets closed in one stage of a shutdown, and the time between two stages: 100,000 clients get a close frame within
/// two seconds.
const GOODBYES_A_STAGE: usize = 500;
const STAGE: Duration = Duration::from_millis(10);
/// How long clients may take to answer the close frames.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long connection tasks may take to end after the signal.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How long a shutdown waits for connections without a socket: a client may just have connected, and its request
/// arrives a round trip later. Browsers also hold connections that they never use.
pub(super) const LAST_ANSWERS_WITHIN: Duration = Duration::from_millis(500);

impl Edge {
    /// Accepts no more connections and closes every socket at once, with 1001 and a delay for the reconnect.
    pub fn say_goodbye(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        sockets.iter().for_each(|socket| goodbye(&**socket, longest));
    }

    /// Accepts no more connections, closes every socket in stages, waits a moment for the answers, and then cuts the
    /// connections that did not answer. It takes no longer than `at_most`; if there is less time, clients get less.
    pub async fn drain(&self, at_most: Duration) {
        let until = clock::monotonic() + at_most;
        let left = || until.saturating_duration_since(clock::monotonic());
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        for stage in sockets.chunks(GOODBYES_A_STAGE) {
            stage.iter().for_each(|socket| goodbye(&**socket, longest));
            // Meanwhile answers are read, and turns go on.
            clock::sleep(STAGE.min(left())).await;
        }
        drop(sockets);
        if self.all_gone_within(GOODBYE_WITHIN.min(left())).await {
            return;
        }
        let silent = self.sockets.all();
        tracing::info!(clients = silent.len(), "some clients did not answer the close frame");
        silent.iter().for_each(|client| client.abort());
        self.all_gone_within(CUT_WITHIN.min(left())).await;
    }

    /// Waits a moment until no connection is left, so that the last requests get their answers. It takes no longer than
    /// `at_most`. Call it when [`serve`](Self::serve) has ended.
    pub async fn send_last_answers(&self, at_most: Duration) {
        let all_ended = async {
            while self.metrics.connections.get() > 0 {
                clock::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = clock::timeout(LAST_ANSWERS_WITHIN.min(at_most), all_ended).await;
    }

    async fn all_gone_within(&self, within: Duration) -> bool {
        let all_gone = async {
            while !self.sockets.is_empty() {
                clock::sleep(Duration::from_millis(5)).await;
            }
        };
        clock::timeout(within, all_gone).await.is_ok()
    }
}

/// The longest delay until clients come back, in seconds: the next server then meets at most a thousand a second.
fn comes_back_within(sockets: usize) -> u32 {
    u32::try_from(sockets / 1_000).unwrap_or(u32::MAX).clamp(3, 60)
}

fn goodbye(client: &dyn Client, longest_s: u32) {
    CloseReason::GoingAway { retry_after_s: random::seconds(1..=longest_s) }.end(client);
}

/// Waits until draining has begun.
pub(super) async fn begun(draining: &mut watch::Receiver<bool>) {
    // The sender lives in the edge, and every caller holds the edge.
    let _ = draining.wait_for(|draining| *draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_of_more_clients_are_spread_over_more_time() {
        assert_eq!([0, 2_999, 10_000, 1_000_000].map(comes_back_within), [3, 3, 10, 60]);
    }
}
