//! The key of a cluster: a certificate authority that only its nodes have. Each process makes itself a certificate at
//! its start, and trusts only those that this authority has signed, as a client and as a server.
//!
//! The file has the private key alone. The certificate of the authority has a fixed name, so each process makes the same
//! one from the key. Certificates do not expire: a node is trusted because it has the key, and a process ends.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::file_problem::FileProblem;

/// The name in each certificate. Addresses may change, so they are not in it.
pub(super) const NODE_NAME: &str = "node.dormouse";

const AUTHORITY_NAME: &str = "dormouse cluster";

/// A key file is shorter.
const FILE_BYTES: u64 = 64 << 10;

/// The protocol of links.
const HTTP_2: &[u8] = b"h2";

/// The key of a cluster.
pub struct ClusterKey(KeyPair);

/// The certificate of this process, and the authority that it trusts. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
}

/// The reason why the key of the cluster cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("the cluster key {path} cannot be read: {problem}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: FileProblem,
    },
    /// Others may read it.
    #[error("other users may read the private key {0}; run `chmod 600` on it")]
    Open(PathBuf),
    /// It is not such a key.
    #[error("{0} is not a cluster key; `dormouse cluster-key` prints one, which all nodes of a cluster share")]
    Bad(PathBuf),
    /// A file of the operator's own certificates cannot be read.
    #[error("{path} cannot be read: {problem}")]
    ReadPem {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// Other nodes would refuse the operator's own certificate.
    #[error(
        "the certificate {path} does not work: {problem}. It must come from `ca`, belong to its private key, and be for \
         {NODE_NAME}, for clients and servers"
    )]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The certificate cannot be made.
    #[error("the cluster key does not work: {0}")]
    Unusable(String),
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

fn unusable(error: impl ToString) -> KeyError {
    KeyError::Unusable(error.to_string())
}

impl ClusterKey {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate().map(ClusterKey).map_err(unusable)
    }

    /// The content of its file, in PEM.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The SHA-256 of its public part. It tells keys apart, and gives none away.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.0.public_key_pem()).into()
    }

    /// Reads the file of a key.
    ///
    /// Fails: if other users may read it, too.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |error: io::Error| KeyError::Read { path: path.into(), problem: error.into() };
        #[expect(clippy::disallowed_methods, reason = "the key of the cluster is read here only")]
        let file = fs::File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.into()));
        }
        let mut text = String::new();
        file.take(FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
        // The error of the parser may quote the key.
        KeyPair::from_pem(&text).map(ClusterKey).map_err(|_| KeyError::Bad(path.into()))
    }

    /// Makes a certificate for this process.
    pub fn tls(&self) -> Result<Tls, KeyError> {
        let authority = authority();
        let root = authority.self_signed(&self.0).map_err(unusable)?;
        let key = KeyPair::generate().map_err(unusable)?;
        let issuer = Issuer::from_params(&authority, &self.0);
        let mut params = CertificateParams::new(vec![NODE_NAME.to_owned()]).map_err(unusable)?;
        params.distinguished_name = named("dormouse node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).map_err(unusable)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        configure(&[root.der().clone()], &[certificate.der().clone()], &key)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(super) fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, KeyError> {
    let mut roots = RootCertStore::empty();
    authorities.iter().try_for_each(|authority| roots.add(authority.clone())).map_err(unusable)?;
    Ok(Arc::new(roots))
}

/// Presents this certificate at both ends of a link, and accepts those that come from these authorities.
pub(super) fn configure(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Tls, KeyError> {
    let roots = roots(authorities)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier.map_err(unusable)?)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(unusable)?;
    server.alpn_protocols = vec![HTTP_2.to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.to_vec(), key.clone_key())
        .map_err(unusable)?;
    client.alpn_protocols = vec![HTTP_2.to_vec()];
    Ok(Tls { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
}
