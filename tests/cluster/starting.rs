//! Which servers may share a database, and what a wrong setup says.

use std::path::Path;
use std::process::{Command, Output};

use dormouse::cluster::link::ClusterKey;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::cluster::Server as Postgres;
use crate::harness::Server;
use crate::nodes::{CONFIG, Nodes, config, directory, join_when_free, node_address, write_key};

fn dormouse(args: &[&str], directory: &TempDir) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.args(args).current_dir(directory.path()).env_remove("DORMOUSE_STORE").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_node_is_refused_while_a_cluster_runs() {
    let nodes = Nodes::start(1, CONFIG).await;
    let key = ClusterKey::generate().unwrap().to_pem();
    let alone = directory(&nodes.database.url, &key);
    let refused = Server::try_in_directory(alone, CONFIG).await.err().expect("it is refused");
    assert!(refused.contains("another server has the rooms of this database"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_key_is_refused_while_a_node_lives() {
    let mut nodes = Nodes::start(1, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut here = nodes.node(0).join(&room, "here").await;
    here.recv_type("history").await;
    let stranger = directory(&nodes.database.url, &ClusterKey::generate().unwrap().to_pem());
    let refused = Server::try_in_directory(stranger.clone(), &config(CONFIG)).await.err().expect("it is refused");
    assert!(
        refused.contains(&format!("the node at {} has another cluster key", node_address(nodes.node(0)))),
        "{refused}"
    );
    here.send_chat("still here").await;
    assert_eq!(here.recv_content().await, "still here");
    // Its row stays behind, and is no reason to refuse the new key.
    nodes.kill(0);
    let stranger = Server::in_directory(stranger, &config(CONFIG)).await;
    let path = format!("{}/rooms/{room}/ws?token=id-ana:ana", crate::harness::BASE);
    join_when_free(&stranger, &path).await;
}

/// Certificates of one authority, for as many nodes as wanted: `ca.pem`, and for each its certificate and key.
struct Authority(CertificateParams, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(params, KeyPair::generate().unwrap())
    }

    fn write_for_a_node(&self, directory: &Path) {
        let mut node = CertificateParams::new(vec!["node.dormouse".to_owned()]).unwrap();
        node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = node.signed_by(&key, &Issuer::from_params(&self.0, &self.1)).unwrap();
        std::fs::write(directory.join("ca.pem"), self.0.self_signed(&self.1).unwrap().pem()).unwrap();
        std::fs::write(directory.join("node.pem"), certificate.pem()).unwrap();
        write_key(directory, &key.serialize_pem());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_certificates_of_one_authority_share_rooms() {
    let files = "{ ca = \"ca.pem\", cert = \"node.pem\", key = \"cluster.key\" }";
    let config = format!("{CONFIG}\n[cluster]\naddress = \"127.0.0.1:0\"\ncertificates = {files}\n");
    let database = Postgres::shared().empty_database().await;
    let authority = Authority::new();
    let new_directory = |authority: &Authority| {
        let directory = directory(&database.url, "");
        authority.write_for_a_node(directory.path());
        directory
    };
    let [one, two] = [new_directory(&authority), new_directory(&authority)];
    let (one, two) = (Server::in_directory(one, &config).await, Server::in_directory(two, &config).await);
    let path = |user: &str| format!("{}/rooms/lobby/ws?token=id-{user}:{user}", crate::harness::BASE);
    let mut ana = join_when_free(&one, &path("ana")).await;
    let mut bo = join_when_free(&two, &path("bo")).await;
    bo.send_chat("over a link").await;
    assert_eq!(ana.recv_content().await, "over a link");
    let stranger = Server::try_in_directory(new_directory(&Authority::new()), &config).await.err();
    assert!(stranger.expect("it is refused").contains("has another cluster key"));
    // The key of a cluster is not one of its certificates.
    let other = Server::try_in_directory(
        directory(&database.url, &ClusterKey::generate().unwrap().to_pem()),
        &crate::nodes::config(CONFIG),
    )
    .await
    .err();
    assert!(other.expect("it is refused").contains("has another cluster key"));
    let checked = dormouse(&["check", "--config", "dormouse.toml", "--store", &database.url], &one.directory);
    assert!(text(&checked).contains("node.pem is good"), "{}", text(&checked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_talk_to_one_that_lives_is_refused() {
    let nodes = Nodes::start(1, CONFIG).await;
    // A node of a later release, as others see it.
    let admin = nodes.database.admin().await;
    let later = "INSERT INTO dormouse.nodes (id, address, beat, leaving, schema, links_oldest, links_newest) \
                 VALUES (999, '127.0.0.1:9', 1, false, 3, 7, 8)";
    admin.batch_execute(later).await.unwrap();
    let beating = tokio::spawn(async move {
        loop {
            admin.batch_execute("UPDATE dormouse.nodes SET beat = beat + 1 WHERE id = 999").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let refused = Server::try_in_directory(nodes.directory(), &config(CONFIG)).await.err().expect("it is refused");
    assert!(refused.contains("the node at 127.0.0.1:9 speaks the versions 7 to 8 of the links"), "{refused}");
    let ours = dormouse::cluster::link::VERSIONS;
    assert!(refused.contains(&format!("this program {} to {}", ours.oldest, ours.newest)), "{refused}");
    beating.abort();
    let left = nodes.database.admin().await.query("SELECT FROM dormouse.nodes", &[]).await.unwrap();
    assert_eq!(left.len(), 2, "the refused one has left no row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_does_not_lead_to_it_is_refused() {
    let nodes = Nodes::start(1, CONFIG).await;
    let (silent, nothing) = crate::harness::refusing_address();
    let something = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_one, taken) = (something.local_addr().unwrap(), node_address(nodes.node(0)));
    for (address, said) in [
        (nothing.to_string(), "the other nodes would not reach this one"),
        (silent_one.to_string(), "the other nodes would not reach this one"),
        (taken.clone(), "belongs to node "),
    ] {
        let cluster = format!("[cluster]\naddress = \"{address}\"\nlisten = \"127.0.0.1:0\"\nkey = \"cluster.key\"\n");
        let refused = Server::try_in_directory(nodes.directory(), &format!("{CONFIG}\n{cluster}")).await;
        let refused = refused.err().expect("it is refused");
        assert!(refused.contains(said) && refused.contains(&address), "{refused}");
    }
    drop(silent);
    // It never joined.
    let rows = nodes.database.admin().await.query("SELECT address FROM dormouse.nodes", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), [taken]);
}

#[test]
fn the_key_of_a_cluster_is_printed_and_checked() {
    let directory = TempDir::new().unwrap();
    let printed = dormouse(&["cluster-key"], &directory);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{}", text(&printed));
    let pem = String::from_utf8(printed.stdout).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_ne!(pem.as_bytes(), dormouse(&["cluster-key"], &directory).stdout, "each is new");
    write_key(directory.path(), &pem);
    let path = directory.path().join("cluster.key");
    ClusterKey::read(&path).unwrap().tls().unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(ClusterKey::read(&path).unwrap_err().to_string().contains("chmod 600"));
    write_key(directory.path(), "-----BEGIN NONSENSE-----");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(ClusterKey::read(&path).unwrap_err().to_string().contains("dormouse cluster-key"));
}

#[test]
fn a_node_without_its_other_settings_is_refused_with_advice() {
    let directory = TempDir::new().unwrap();
    for (args, advice) in [
        (&["serve", "--node-address", "127.0.0.1:0"][..], "pass --cluster-key"),
        (&["serve", "--cluster-key", "cluster.key"], "pass --node-address"),
        (&["check", "--node-address", "127.0.0.1:1", "--cluster-key", "cluster.key"], "pass --store"),
        (
            &["check", "--node-address", "0.0.0.0:1", "--cluster-key", "x", "--store", "postgres://a/b"],
            "cluster.listen",
        ),
    ] {
        let refused = dormouse(args, &directory);
        assert!(!refused.status.success() && text(&refused).contains(advice), "{args:?}: {}", text(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reads_the_key_and_names_the_address() {
    let nodes = Nodes::start(1, CONFIG).await;
    let directory = nodes.node(0).directory.clone();
    let file = directory.path().join("dormouse.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let checked = command.args(["check", "--config"]).arg(file).env("DORMOUSE_STORE", &nodes.database.url);
    let checked = checked.output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(text(&checked).contains("cluster.key is good"), "{}", text(&checked));
    assert!(node_address(nodes.node(0)).starts_with("127.0.0.1:"));
    // Another key is refused as long as a node lives that has this one.
    write_key(directory.path(), &ClusterKey::generate().unwrap().to_pem());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let file = directory.path().join("dormouse.toml");
    let checked = command.args(["check", "--config"]).arg(file).env("DORMOUSE_STORE", &nodes.database.url);
    let refused = checked.output().unwrap();
    let expected = format!("the node at {} has another cluster key", node_address(nodes.node(0)));
    assert!(!refused.status.success() && text(&refused).contains(&expected), "{}", text(&refused));
}
