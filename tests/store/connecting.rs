//! Which servers are used, how they are verified, and that a password is nowhere but on its way to the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse::store::postgres::{ConnectError, HostFailure, Purpose, Secrets, Target, connect, promises};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Server, target};

async fn failures(target: &Target) -> Vec<HostFailure> {
    let error = connect(target, Purpose::Setup).await.unwrap_err();
    error.hosts.into_iter().map(|(_, failure)| failure).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_and_the_next_host_is_tried() {
    let primary = Server::start(&[]);
    let standby = primary.standby().await;
    let database = primary.database("postgres");
    assert_eq!(failures(&standby.database("postgres").target).await, [HostFailure::ReadOnly]);
    for _ in 0..8 {
        let connection = connect(&database.or_on(&standby), Purpose::Lane).await.unwrap();
        assert_eq!(connection.host(), format!("127.0.0.1:{}", primary.port()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_takes_three_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let started_at = Instant::now();
    assert_eq!(failures(&target(&format!("postgres://u@{address}/d"))).await, [HostFailure::TimedOut]);
    assert!((2.5..4.5).contains(&started_at.elapsed().as_secs_f64()));
    let closed = target("postgres://u@127.0.0.1:1/d");
    let error = connect(&closed, Purpose::Setup).await.unwrap_err();
    assert!(error.to_string().starts_with("postgres://u@127.0.0.1:1/d cannot be used: 127.0.0.1:1: "), "{error}");
}

/// A relay that removes the options of the connection from the first message, as PgBouncer does when it is told to
/// ignore them. It keeps everything that the client sends.
async fn pooler(port: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_too = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = seen_too.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let length = client.read_u32().await.unwrap() as usize;
                let mut start = vec![0; length - 4];
                client.read_exact(&mut start).await.unwrap();
                seen.lock().unwrap().extend(&start);
                let fields = start[4..].split(|byte| *byte == 0).collect::<Vec<_>>();
                let kept =
                    fields.chunks(2).filter(|pair| pair[0] != b"options" && pair.len() == 2 && !pair[0].is_empty());
                let kept = kept.flat_map(|pair| [pair[0], b"\0", pair[1], b"\0"].concat()).collect::<Vec<_>>();
                let message = [&start[..4], &kept, b"\0"].concat();
                server.write_u32(u32::try_from(message.len() + 4).unwrap()).await.unwrap();
                server.write_all(&message).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (own, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_swallows_options_is_refused_by_name() {
    let (port, seen) = pooler(Server::shared().port()).await;
    let error =
        connect(&target(&format!("postgres://postgres@127.0.0.1:{port}/postgres")), Purpose::Lane).await.unwrap_err();
    assert_eq!(error.hosts[0].1, HostFailure::NotDirect);
    assert!(error.to_string().contains("PgBouncer"), "{error}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.contains("dormouse lane") && seen.contains("-c plan_cache_mode=force_generic_plan"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_refuses_options_is_refused_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let length = client.read_u32().await.unwrap() as usize;
        client.read_exact(&mut vec![0; length - 4]).await.unwrap();
        let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        client.write_all(b"E").await.unwrap();
        client.write_u32(u32::try_from(fields.len() + 4).unwrap()).await.unwrap();
        client.write_all(fields).await.unwrap();
    });
    assert_eq!(failures(&target(&format!("postgres://u@{address}/d"))).await, [HostFailure::NotDirect]);
}

/// A role with settings that would hide warnings or change what statements mean.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_role_do_not_reach_our_connections() {
    let database = Server::shared().empty_database().await;
    let role = format!("u{}", rand::random::<u32>());
    let settings = [
        "client_min_messages = error",
        "default_transaction_isolation = serializable",
        "standard_conforming_strings = off",
        "plan_cache_mode = force_custom_plan",
    ];
    let admin = database.admin().await;
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    for setting in settings {
        admin.batch_execute(&format!("ALTER ROLE {role} SET {setting}")).await.unwrap();
    }
    let target = target(&database.url.replace("postgres@", &format!("{role}@")));
    for purpose in [Purpose::Lane, Purpose::Claims, Purpose::Setup, Purpose::Reader] {
        // The server has shown each option of the connection; those are the ones that the role has set otherwise.
        connect(&target, purpose).await.unwrap();
        let mut ours = settings.iter().map(|setting| setting.split(' ').next().unwrap());
        assert!(ours.all(|name| purpose.options().any(|(option, _)| option == name)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_comes_from_the_url_the_environment_or_a_file_and_is_never_shown() {
    let server = Server::shared();
    let admin = server.admin("postgres").await;
    let set = "SET password_encryption = 'scram-sha-256'; CREATE ROLE with_password LOGIN PASSWORD 's3cr3t/:x'";
    admin.batch_execute(set).await.unwrap();
    let (port, seen) = pooler(server.port()).await;
    let url = |password: &str, port: u16| format!("postgres://with_password{password}@127.0.0.1:{port}/postgres");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgpass");
    fs::write(&file, format!("# a comment\n127.0.0.1:{}:*:with_password:s3cr3t/\\:x\n", server.port())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let environment = Secrets { password: Some("s3cr3t/:x".into()), passfile: None };
    let by_file = Secrets { password: None, passfile: Some(file.clone()) };
    let nothing = Secrets::default();
    let right = [
        Target::parse(&url(":s3cr3t%2F%3Ax", server.port()), &nothing).unwrap(),
        Target::parse(&url("", server.port()), &environment).unwrap(),
        Target::parse(&url("", server.port()), &by_file).unwrap(),
        Target::parse(&format!("{}?passfile={}", url("", server.port()), file.display()), &nothing).unwrap(),
    ];
    for target in right {
        let connection = connect(&target, Purpose::Setup).await.unwrap();
        let shown = format!("{target} {target:?} {connection:?} {:?}", promises(&connection).await);
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
    // Refused with the right password behind the relay, and with a wrong one.
    for (password, port) in [("s3cr3t/:x", port), ("s3cr3t", server.port())] {
        let secrets = Secrets { password: Some(password.into()), passfile: None };
        let target = Target::parse(&url("", port), &secrets).unwrap();
        let error = connect(&target, Purpose::Setup).await.unwrap_err();
        assert!(!format!("{error} {error:?} {target:?} {secrets:?}").contains("s3cr3t"), "{error}");
    }
    assert!(!String::from_utf8_lossy(&seen.lock().unwrap()).contains("s3cr3t"));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = Target::parse(&url("", server.port()), &by_file).unwrap_err().to_string();
    assert!(open.contains("chmod 600") && !open.contains("s3cr3t"), "{open}");
    let missing = format!("{}?passfile=/nowhere/pgpass", url("", server.port()));
    let missing = Target::parse(&missing, &nothing).unwrap_err().to_string();
    assert!(missing.contains("it does not exist"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_verifies_the_authority_and_the_name_unless_told_otherwise() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, &authority_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = Server::start(&[]);
    server.write("server.crt", &own.pem());
    server.write("server.key", &key.serialize_pem());
    let admin = server.admin("postgres").await;
    admin.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("ca.pem");
    fs::write(&roots, certificate.pem()).unwrap();
    let attempt = async |host: &str, mode: &str, with_roots: bool| {
        let roots = if with_roots { format!("&sslrootcert={}", roots.display()) } else { String::new() };
        let url = format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}{roots}", server.port());
        connect(&target(&url), Purpose::Setup).await.map(drop)
    };
    let refused = |result: Result<(), ConnectError>, why: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    attempt("localhost", "verify-full", true).await.unwrap();
    attempt("127.0.0.1", "verify-ca", true).await.unwrap();
    attempt("127.0.0.1", "require", false).await.unwrap();
    attempt("127.0.0.1", "disable", false).await.unwrap();
    refused(attempt("127.0.0.1", "verify-full", true).await, "not valid for name");
    refused(attempt("localhost", "verify-full", false).await, "UnknownIssuer");
    refused(attempt("localhost", "verify-ca", false).await, "UnknownIssuer");
    refused(attempt("localhost", "verify-full", true).await.and(attempt("x", "verify-full", true).await), "x:");
    let plain = Server::shared();
    let url = format!("postgres://postgres@localhost:{}/postgres?sslmode=require", plain.port());
    refused(connect(&target(&url), Purpose::Setup).await.map(drop), "TLS");
}
