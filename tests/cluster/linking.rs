//! Links between nodes, over real connections.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse::cluster::link::wire::{
    Answered, Asked, Blob, Content, Down, NoAnswer, Request, Response, Said, Taken, Told, Up,
};
use dormouse::cluster::link::{
    Answers, Bounds, ClusterKey, DialError, Greeting, Handler, Link, Receiver, Refusal, Refusals, Sender, Tls,
    Versions, Why, dial, listen,
};
use dormouse::cluster::ownership::NodeId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const STORE: &str = "a-store";

/// Bounds with which a test takes no minute.
fn bounds() -> Bounds {
    Bounds {
        queue_bytes: 1 << 20,
        busy_bytes: 64 << 10,
        stall: Duration::from_millis(500),
        ping_every: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(300),
        ..Bounds::default()
    }
}

fn greeting(node: u64) -> Greeting {
    Greeting::new(STORE, NodeId(node))
}

fn tls(key: &ClusterKey) -> Tls {
    key.tls().unwrap()
}

type Linked = (Sender<Down>, Receiver<Up>);

/// The links of a node, and the refusals.
struct Accepted {
    links: mpsc::Sender<Linked>,
    refusals: mpsc::Sender<String>,
}

impl Handler for Accepted {
    fn linked(&self, down: Sender<Down>, up: Receiver<Up>) {
        self.links.try_send((down, up)).ok().unwrap();
    }

    fn request(&self, from: NodeId, asked: Asked) -> Answers<Answered> {
        Box::pin(async move {
            match &*asked.request.path {
                "/elsewhere" => Err(NoAnswer::Elsewhere(Some(9))),
                path => {
                    let body = Blob(format!("{path} for node {}", from.0).into());
                    Ok(Response { status: 200, headers: Vec::new(), body })
                }
            }
        })
    }

    fn told(&self, from: NodeId, told: Told) -> Answers<Taken> {
        Box::pin(async move { Err(format!("node {} told {told:?}", from.0)) })
    }
}

impl Refusals for Accepted {
    fn refused(&self, _: String, reason: String) {
        let _ = self.refusals.try_send(reason);
    }
}

/// A node that accepts links.
struct Node {
    address: String,
    links: mpsc::Receiver<Linked>,
    refusals: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Node {
    async fn start(key: &ClusterKey, me: Greeting) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (links, received_links) = mpsc::channel(16);
        let (refusals, received_refusals) = mpsc::channel(16);
        let accepted = Arc::new(Accepted { links, refusals });
        let task = tokio::spawn(listen(listener, tls(key), bounds(), me, accepted.clone(), accepted));
        Node { address, links: received_links, refusals: received_refusals, task }
    }

    async fn dial(&self, key: &ClusterKey, me: &Greeting, to: u64) -> Result<(Link, Receiver<Down>), DialError> {
        dial(&tls(key), bounds(), me, Some(NodeId(to)), &self.address).await
    }

    async fn linked(&mut self) -> Linked {
        within(self.links.recv()).await.expect("the node lives")
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it does not hang")
}

/// A node, a link to it, and its other end.
async fn linked() -> (Node, Link, Receiver<Down>, Linked) {
    let key = ClusterKey::generate().unwrap();
    let mut node = Node::start(&key, greeting(2)).await;
    let (link, down) = node.dial(&key, &greeting(1), 2).await.unwrap();
    let other = node.linked().await;
    (node, link, down, other)
}

fn text(length: usize) -> Content {
    Content::Text("x".repeat(length))
}

#[tokio::test]
async fn messages_arrive_in_order_in_both_directions() {
    let (_node, link, mut down, (sender, mut up)) = linked().await;
    assert_eq!((sender.peer(), link.up.peer()), (NodeId(1), NodeId(2)));
    let sent = tokio::spawn(async move {
        for number in 0..5_000 {
            link.up.send(&Up::Message(number, text((number % 300) as usize))).unwrap();
            link.up.freed().await;
        }
        link
    });
    for number in 0..5_000 {
        sender
            .send(&Down::Say(vec![number, 7], vec![Said { content: text(number as usize % 500), id: None }]))
            .unwrap();
        assert_eq!(within(up.next()).await, Ok(Up::Message(number, text((number % 300) as usize))));
        let said = vec![Said { content: text(number as usize % 500), id: None }];
        assert_eq!(within(down.next()).await, Ok(Down::Say(vec![number, 7], said)));
    }
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn a_message_of_several_megabytes_is_one_message() {
    let (_node, link, _down, (_sender, mut up)) = linked().await;
    let long = Up::Message(1, Content::Binary(Blob(vec![7; 5 << 20])));
    link.up.send(&long).unwrap();
    assert_eq!(within(up.next()).await, Ok(long));
}

#[tokio::test]
async fn a_request_has_its_own_answer_even_while_the_link_is_full() {
    let (_node, link, mut down, (sender, _up)) = linked().await;
    let request = |path: &str| Asked {
        namespace: "ROOMS".into(),
        name: "lobby".into(),
        request: Request {
            method: "GET".into(),
            path: path.into(),
            query: None,
            headers: Vec::new(),
            body: Blob::default(),
            user: None,
            access: dormouse::cluster::link::wire::Access { claims: "{}".into(), permissions: 7 },
        },
        post: None,
    };
    // Nobody reads the messages of the link.
    for _ in 0..3 {
        sender.send(&Down::Say(vec![1], vec![Said { content: text(300 << 10), id: None }])).unwrap();
    }
    let answers = (0..100).map(|number| {
        let (link, request) = (link.clone(), request(&format!("/{number}")));
        tokio::spawn(async move { link.request(&request).await })
    });
    for (number, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
        let body = Blob(format!("/{number} for node 1").into());
        assert_eq!(within(answer).await.unwrap(), Ok(Ok(Response { status: 200, headers: Vec::new(), body })));
    }
    assert_eq!(within(link.request(&request("/elsewhere"))).await, Ok(Err(NoAnswer::Elsewhere(Some(9)))));
    let told = within(link.tell(&Told::Revoked("ana".into()))).await;
    assert_eq!(told, Ok(Err("node 1 told Revoked(\"ana\")".into())));
    assert!(within(down.next()).await.is_ok());
}

#[tokio::test]
async fn a_node_with_another_key_is_refused_by_name() {
    let mut node = Node::start(&ClusterKey::generate().unwrap(), greeting(2)).await;
    let error = node.dial(&ClusterKey::generate().unwrap(), &greeting(1), 2).await.err().unwrap();
    assert!(matches!(error, DialError::Stranger { .. }), "{error}");
    assert!(error.to_string().contains("all nodes need the same cluster key"), "{error}");
    assert!(within(node.refusals.recv()).await.is_some(), "the other end knows, too");
    assert!(node.links.try_recv().is_err());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let key = ClusterKey::generate().unwrap();
    let mut node = Node::start(&key, greeting(2)).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll(provider)))
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(&node.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("node.dormouse").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(trusting)).connect(name, stream).await.unwrap();
    // TLS 1.3 lets a client believe that it is in; the refusal comes with the first read.
    let read = within(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 100])).await;
    assert!(read.as_ref().err().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData), "{read:?}");
    assert!(within(node.refusals.recv()).await.is_some() && node.links.try_recv().is_err());
}

#[derive(Debug)]
struct TrustsAll(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn other_stores_versions_and_nodes_are_refused_by_name() {
    let key = ClusterKey::generate().unwrap();
    let mut node = Node::start(&key, greeting(2)).await;
    let refusal = |dialled: Result<(Link, Receiver<Down>), DialError>| match dialled {
        Err(DialError::Refused { refusal, .. }) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    };
    let other = Greeting::new("another-store", NodeId(1));
    assert_eq!(refusal(node.dial(&key, &other, 2).await), Refusal::OtherStore(STORE.into()));
    let versions = Versions { oldest: 7, newest: 9 };
    let newer = Greeting { versions, ..greeting(1) };
    let refused = refusal(node.dial(&key, &newer, 2).await);
    assert!(matches!(refused, Refusal::OtherVersions { ours, .. } if ours == versions), "{refused}");
    assert!(refused.to_string().contains("7 to 9"), "{refused}");
    assert_eq!(refusal(node.dial(&key, &greeting(1), 3).await), Refusal::OtherNode(2));
    for _ in 0..3 {
        let refused = within(node.refusals.recv()).await.unwrap();
        assert!(refused.starts_with("node 1 does not fit"), "{refused}");
    }
    assert!(node.links.try_recv().is_err());
}

#[tokio::test]
async fn nothing_listens_is_told_from_no_answer() {
    let key = ClusterKey::generate().unwrap();
    let node = Node::start(&key, greeting(2)).await;
    node.task.abort();
    let _ = within(async {
        while tokio::net::TcpStream::connect(&node.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let error = node.dial(&key, &greeting(1), 2).await.err().unwrap();
    assert!(matches!(error, DialError::NoListener(_)), "{error}");
    // A listener whose process is paused: the kernel accepts, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let error = dial(&tls(&key), bounds(), &greeting(1), None, &address).await.err().unwrap();
    assert!(matches!(error, DialError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn a_slow_reader_loses_its_link_and_not_our_memory() {
    let (_node, link, mut down, (sender, _up)) = linked().await;
    let began = Instant::now();
    let mut sent = 0;
    // The peer reads nothing. After what HTTP/2 has room for, the queue fills.
    while sender.send(&Down::Say(vec![1], vec![Said { content: text(10 << 10), id: None }])).is_ok() {
        sent += 10 << 10;
        assert!(sent < 64 << 20, "the queue has no bound");
        assert!(sender.queued_bytes() <= 1 << 20);
        tokio::task::yield_now().await;
    }
    assert_eq!(within(sender.until_ended()).await, Why::TooSlow);
    assert!(began.elapsed() < Duration::from_secs(5));
    let end = within(async {
        loop {
            if let Err(why) = down.next().await {
                return why;
            }
        }
    });
    assert_eq!(end.await, Why::Ended);
    assert_eq!(within(link.up.until_ended()).await, Why::Ended);
}

#[tokio::test]
async fn a_link_that_stands_still_is_cut_even_if_little_waits() {
    let (_node, _link, _down, (sender, _up)) = linked().await;
    // Until HTTP/2 has no room any more, then one message more.
    while sender.queued_bytes() < 200 << 10 {
        sender.send(&Down::Say(vec![1], vec![Said { content: text(10 << 10), id: None }])).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(within(sender.until_ended()).await, Why::TooSlow);
}

#[tokio::test]
async fn both_ends_learn_that_the_other_one_is_gone() {
    let (node, link, mut down, (sender, mut up)) = linked().await;
    link.up.cut(Why::Closed);
    assert_eq!(within(up.next()).await, Err(Why::Ended));
    assert_eq!(within(sender.until_ended()).await, Why::Ended);
    assert!(link.up.send(&Up::Buffered(1, 1)).is_err());
    assert!(within(down.next()).await.is_err());
    drop(node);
}

#[tokio::test]
async fn a_silent_peer_is_found_by_pings() {
    let key = ClusterKey::generate().unwrap();
    let mut node = Node::start(&key, greeting(2)).await;
    // A relay that stops passing anything on, as a cable that is pulled.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relayed = relay.local_addr().unwrap().to_string();
    let behind = node.address.clone();
    let (pull, pulled) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut one, _) = relay.accept().await.unwrap();
        let mut other = tokio::net::TcpStream::connect(behind).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut one, &mut other) => {}
            _ = pulled => std::future::pending().await,
        }
    });
    let dialled = dial(&tls(&key), bounds(), &greeting(1), Some(NodeId(2)), &relayed).await;
    let (link, _down) = dialled.unwrap();
    let (sender, _up) = node.linked().await;
    pull.send(()).unwrap();
    let began = Instant::now();
    assert_eq!(within(link.up.until_ended()).await, Why::Ended);
    assert_eq!(within(sender.until_ended()).await, Why::Ended);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
