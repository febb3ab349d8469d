//! Rooms on a store that wants proofs, as if several nodes shared them. The guest stores what a message tells it, and
//! answers the sender.

use super::*;
use crate::config::Limits;
use crate::guest::Engine;
use crate::model::{AutoResponse, Message, MovedRoom, Permission, Socket, TenureId};
use crate::outbound::Allowed;
use crate::rollout::Rollout;
use crate::store::test_truth::{Asked, TestTruth};

/// Rooms of the guests `keeper` and `caller`, and their truth.
fn rooms() -> (Rooms, Arc<TestTruth>) {
    rooms_that_idle(Duration::from_secs(60))
}

/// The same rooms, which hibernate after this time.
fn rooms_that_idle(idle: Duration) -> (Rooms, Arc<TestTruth>) {
    let limits = Arc::new(Limits { awake_rooms: 10, ..Limits::default() });
    let engine = Engine::new(limits.clone()).expect("the engine starts");
    let namespace = |component| Namespace {
        code: Rollout::new("0", engine.room("a room", component).expect("it is a room")),
        component_name: "a room".into(),
        hibernate_after: idle,
        config: Arc::default(),
        message_in_bytes: 1 << 20,
        message_out_bytes: 1 << 20,
        to_send: Permission::Write,
        calls: ["CALLERS".to_owned()].into(),
        outbound: Allowed { public: Vec::new(), private: Vec::new() },
    };
    let namespaces = [("ROOMS", dormouse_bundle::KEEPER), ("CALLERS", dormouse_bundle::CALLER)]
        .map(|(name, component)| (name.to_owned(), namespace(component)));
    let (store, truth) = TestTruth::store();
    let long_turns = LongTurns::start().expect("there are threads");
    let outbound = HttpClient::new(None).expect("it has authorities");
    let rooms = Rooms::start(store, namespaces.into(), HostLimits::new(limits), long_turns, outbound, None);
    (rooms.expect("memory is read"), truth)
}

fn lobby() -> Address {
    Address::new("ROOMS", "lobby").unwrap()
}

/// A socket in the lobby, whose connect was proven.
async fn connect(rooms: &Rooms, truth: &TestTruth) -> LocalSocket {
    truth.confirm_all(true);
    let user = User { id: "1".into(), name: "ana".into() };
    let socket = rooms.connect_local(&lobby(), Request::get("/ws"), user).await.expect("it is let in");
    truth.confirm_all(false);
    socket
}

async fn say(socket: &LocalSocket, command: &str) {
    socket.send(Message::Text(command.into())).await.expect("the socket is open");
}

fn text(text: &str) -> Received {
    Received::Message(Message::Text(text.into()))
}

/// Whether the room has said something that was not received yet.
async fn has_said(socket: &mut LocalSocket) -> bool {
    let mut next = std::pin::pin!(socket.recv());
    std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context).is_ready())).await
}

#[tokio::test]
async fn what_a_silent_turn_says_leaves_after_a_proof() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    say(&socket, "noted").await;
    assert_eq!(truth.asked(1).await, [Asked::Proof(2)], "the connect was the first");
    assert!(!has_said(&mut socket).await);
    truth.confirm(1);
    assert_eq!(socket.recv().await, text("nothing"));
}

#[tokio::test]
async fn commits_and_proofs_keep_their_order() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    say(&socket, "note one").await;
    assert_eq!(truth.asked(1).await, [Asked::Commit(2, 1)]);
    say(&socket, "noted").await;
    assert_eq!(truth.asked(2).await[1..], [Asked::Proof(3)]);
    say(&socket, "note two").await;
    assert_eq!(truth.asked(3).await[2..], [Asked::Commit(4, 2)]);
    assert!(!has_said(&mut socket).await);
    truth.confirm(1);
    assert_eq!(socket.recv().await, text("noted"));
    assert!(!has_said(&mut socket).await, "the read waits for its proof");
    truth.confirm(1);
    assert_eq!(socket.recv().await, text("one"));
    assert!(!has_said(&mut socket).await);
    truth.confirm(1);
    assert_eq!(socket.recv().await, text("noted"));
}

#[tokio::test]
async fn turns_that_follow_each_other_share_a_proof() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    truth.confirm_all(true);
    let before = truth.proofs();
    // The room runs on this thread, so the messages wait for it together. A turn that takes long ends a batch early.
    for _ in 0..30 {
        say(&socket, "noted").await;
    }
    for _ in 0..30 {
        assert_eq!(socket.recv().await, text("nothing"));
    }
    let proofs = truth.proofs() - before;
    assert!((1..=15).contains(&proofs), "{proofs} proofs of 30 turns");
}

#[tokio::test]
async fn a_room_that_is_fenced_says_nothing_more_and_closes_its_sockets_with_1012() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    say(&socket, "note one").await;
    truth.asked(1).await;
    say(&socket, "noted").await;
    truth.asked(2).await;
    truth.fence(&lobby());
    assert_eq!(socket.recv().await, Received::Closed(1012, "the room moved; come back".into()));
    assert!(matches!(rooms.request(&lobby(), Request::get("/")).await, Err(RequestError::Moved(_))));
    truth.until_let_go(&lobby()).await;
}

#[tokio::test]
async fn a_sleeping_room_that_is_fenced_closes_its_sockets() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    rooms.hibernate(&lobby());
    while rooms.running() > 0 {
        tokio::task::yield_now().await;
    }
    truth.fence(&lobby());
    assert_eq!(socket.recv().await, Received::Closed(1012, "the room moved; come back".into()));
}

#[tokio::test]
async fn a_refused_statement_breaks_its_room_and_the_next_opening_goes_on() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    say(&socket, "note lost").await;
    truth.asked(1).await;
    truth.fail();
    assert_eq!(socket.recv().await, Received::Closed(1011, "the room failed; come back".into()));
    let mut socket = connect(&rooms, &truth).await;
    say(&socket, "noted").await;
    assert_eq!(truth.asked(1).await, [Asked::Proof(2)], "positions begin anew");
    truth.confirm(1);
    assert_eq!(socket.recv().await, text("nothing"));
}

#[tokio::test]
async fn a_room_of_another_node_answers_that_it_moved() {
    let (rooms, truth) = rooms();
    truth.give_away(&lobby());
    assert!(matches!(rooms.request(&lobby(), Request::get("/")).await, Err(RequestError::Moved(_))));
    let user = User { id: "1".into(), name: "ana".into() };
    let refused = rooms.connect_local(&lobby(), Request::get("/ws"), user).await;
    assert!(matches!(refused, Err(ConnectError::NoAnswer(RequestError::Moved(_)))));
}

#[tokio::test]
async fn a_call_in_the_middle_of_a_turn_waits_for_a_proof() {
    let (rooms, truth) = rooms();
    let room = |name: &str| Address::new("CALLERS", name).unwrap();
    let command = r#"{"do":"call","namespace":"CALLERS","name":"b","command":{"do":"get-count"}}"#;
    let request = Request { method: "POST".into(), body: command.into(), ..Request::get("/") };
    let (caller, callee) = (room("a"), room("b"));
    let answered = tokio::spawn({
        let rooms = rooms.clone();
        async move { rooms.request(&caller, request).await }
    });
    assert_eq!(truth.asked(1).await, [Asked::Proof(0)], "the call");
    assert!(rooms.0.registry.get(&callee).is_none(), "it has not left");
    truth.confirm(1);
    assert_eq!(truth.asked(1).await, [Asked::Proof(1)], "the answer of the other room");
    truth.confirm(1);
    assert_eq!(truth.asked(1).await, [Asked::Proof(1)], "the answer of the caller");
    truth.confirm(1);
    assert_eq!(answered.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn a_fenced_room_makes_no_call() {
    let (rooms, truth) = rooms();
    let room = |name: &str| Address::new("CALLERS", name).unwrap();
    let command = r#"{"do":"call","namespace":"CALLERS","name":"b","command":{"do":"count"}}"#;
    let request = Request { method: "POST".into(), body: command.into(), ..Request::get("/") };
    let answered = tokio::spawn({
        let (rooms, caller) = (rooms.clone(), room("a"));
        async move { rooms.request(&caller, request).await }
    });
    truth.asked(1).await;
    truth.fence(&room("a"));
    assert!(answered.await.unwrap().is_err());
    assert!(rooms.0.registry.get(&room("b")).is_none(), "nobody called it");
}

#[tokio::test]
async fn a_room_without_sockets_is_let_go() {
    let (rooms, truth) = rooms_that_idle(Duration::from_millis(1));
    let socket = connect(&rooms, &truth).await;
    truth.confirm_all(true);
    socket.close(1000, "");
    truth.until_let_go(&lobby()).await;
}

#[tokio::test]
async fn a_deleted_room_is_opened_again_as_another_one() {
    let (rooms, truth) = rooms();
    let mut socket = connect(&rooms, &truth).await;
    truth.confirm_all(true);
    say(&socket, "note one").await;
    assert_eq!(socket.recv().await, text("noted"));
    rooms.delete(&lobby(), true).await.unwrap();
    assert_eq!(socket.recv().await, Received::Closed(4410, "the room was deleted".into()));
    let mut socket = connect(&rooms, &truth).await;
    truth.confirm_all(true);
    say(&socket, "noted").await;
    assert_eq!(socket.recv().await, text("nothing"));
}

/// The other nodes: what each answers, in order, and what was asked of them.
#[derive(Default)]
struct TestPeers {
    place: Option<u64>,
    answers: std::sync::Mutex<Vec<Result<Response, RequestError>>>,
    asked: std::sync::Mutex<Vec<u64>>,
}

impl TestPeers {
    /// Rooms with these nodes, of which `place` should have the lobby.
    fn of(rooms: &Rooms, place: Option<u64>, answers: Vec<Result<Response, RequestError>>) -> Arc<Self> {
        let peers = Arc::new(TestPeers { place, answers: answers.into(), asked: Default::default() });
        rooms.set_peers(peers.clone());
        peers
    }

    fn answer(&self, node: u64) -> Result<Response, RequestError> {
        self.asked.lock().unwrap().push(node);
        self.answers.lock().unwrap().remove(0)
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl Peers for TestPeers {
    fn this_node(&self) -> u64 {
        1
    }

    fn place(&self, _: &Address) -> Option<u64> {
        self.place
    }

    fn found(&self, _: &Address, _: u64) {}

    fn leaves(&self, _: &Address, _: TenureId, _: Vec<Socket>, _: Option<AutoResponse>) {}

    fn gone(&self, _: &Address) {}

    fn takes_along(&self, _: &MovedRoom, _: u64, _: Arc<dyn Client>) -> (Box<dyn FarSeat>, SetsOut) {
        (Box::new(TestSeat), Box::new(|| ()))
    }

    fn arrives(&self, _: &Address, _: Option<TenureId>) -> Option<Arrived> {
        None
    }

    fn connect(
        &self,
        node: u64,
        _: Address,
        _: Request,
        _: Arc<User>,
        _: Arc<dyn Client>,
    ) -> Answers<Result<Box<dyn FarSeat>, ConnectError>> {
        let answer = self.answer(node).map(|_| Box::new(TestSeat) as Box<dyn FarSeat>);
        Box::pin(async move { answer.map_err(ConnectError::from) })
    }

    fn request(
        &self,
        node: u64,
        _: Address,
        _: Request,
        _: Option<(Address, crate::model::PostNumber)>,
    ) -> Answers<Result<Response, RequestError>> {
        let answer = self.answer(node);
        Box::pin(async move { answer })
    }

    fn user_data(
        &self,
        node: u64,
        _: Address,
        _: crate::model::DataOf,
        _: bool,
    ) -> Answers<Result<UserDataPart, UserDataError>> {
        let answer = self.answer(node).map(|_| UserDataPart::Erased(crate::model::ErasedData::default()));
        Box::pin(async move { answer.map_err(UserDataError::from) })
    }
}

struct TestSeat;

impl FarSeat for TestSeat {
    fn message(&self, _: Message) -> Delivered {
        Delivered::Never
    }

    fn set_access(&self, _: crate::model::UserAccess) -> Result<(), crate::model::UserAccess> {
        Ok(())
    }

    fn close(&mut self, _: crate::model::Close) {}
}

fn ok(text: &str) -> Result<Response, RequestError> {
    Ok(Response { status: 200, headers: Vec::new(), body: text.into() })
}

async fn body(rooms: &Rooms) -> Result<Vec<u8>, RequestError> {
    rooms.request(&lobby(), Request::get("/")).await.map(|response| response.body)
}

#[tokio::test]
async fn a_request_goes_to_the_place_of_its_room_and_follows_the_owner() {
    let (rooms, _truth) = rooms();
    let peers = TestPeers::of(&rooms, Some(2), vec![Err(RequestError::Moved(Some(3))), ok("three")]);
    assert_eq!(body(&rooms).await, Ok(b"three".to_vec()));
    assert_eq!(peers.asked(), [2, 3]);
    assert!(rooms.0.registry.get(&lobby()).is_none(), "nothing of it is here");
}

#[tokio::test]
async fn a_request_that_was_tried_here_goes_to_the_owner() {
    let (rooms, truth) = rooms();
    let peers = TestPeers::of(&rooms, None, vec![ok("there"), ok("")]);
    truth.give_away(&lobby());
    assert_eq!(body(&rooms).await, Ok(b"there".to_vec()));
    let user = User { id: "1".into(), name: "ana".into() };
    assert!(rooms.connect_local(&lobby(), Request::get("/ws"), user).await.is_ok(), "and so does a client");
    assert_eq!(peers.asked().len(), 2);
}

#[tokio::test]
async fn a_room_that_no_node_has_comes_here() {
    let (rooms, truth) = rooms();
    let peers = TestPeers::of(&rooms, Some(2), vec![Err(RequestError::Moved(None))]);
    truth.confirm_all(true);
    assert!(body(&rooms).await.is_ok());
    assert!(body(&rooms).await.is_ok(), "from then on it is here");
    assert_eq!(peers.asked(), [2]);
}

#[tokio::test]
async fn a_request_follows_two_answers_that_its_room_is_elsewhere() {
    let (rooms, _truth) = rooms();
    let moved = |owner| Err(RequestError::Moved(Some(owner)));
    let peers = TestPeers::of(&rooms, Some(2), vec![moved(3), moved(4), moved(5), ok("too late")]);
    assert_eq!(body(&rooms).await, moved(5).map(|_: Response| Vec::new()));
    assert_eq!(peers.asked(), [2, 3, 4]);
}

#[tokio::test]
async fn a_request_of_another_node_is_told_the_owner_and_goes_no_further() {
    let (rooms, truth) = rooms();
    let peers = TestPeers::of(&rooms, Some(2), Vec::new());
    truth.give_away(&lobby());
    let answered = rooms.request_from_node(&lobby(), Request::get("/"), None).await;
    assert!(matches!(answered, Err(RequestError::Moved(Some(_)))), "{answered:?}");
    assert!(peers.asked().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_missing_is_not_asked_for_again() {
    let (rooms, _truth) = rooms();
    let peers = TestPeers::of(&rooms, Some(2), vec![Err(RequestError::Broken), ok("twice")]);
    assert_eq!(body(&rooms).await, Err(RequestError::Broken));
    assert_eq!(peers.asked(), [2], "the room may have seen it");
}
