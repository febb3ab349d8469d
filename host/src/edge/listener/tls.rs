//! TLS: the certificate, its protocols (ALPN), and its replacement while connections go on.
//!
//! It knows no requests. `edge` accepts connections with it, and `dormouse check` tests the files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;
use crate::file_problem::pem_problem;
use crate::lock::ReadWriteLock;

/// The protocols that clients may choose, in our order of preference.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// The name of HTTP/2.
pub(in crate::edge) const HTTP_2: &[u8] = b"h2";

/// The certificate that new connections get.
pub(in crate::edge) struct Certificate {
    files: Tls,
    current: ReadWriteLock<Arc<ServerConfig>>,
}

/// Why a certificate cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{setting}: {path} cannot be read: {problem}")]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The problem.
        problem: String,
    },
    /// The certificate or the key cannot be used, or they do not match.
    #[error("tls: the certificate in {cert} does not work with the key in {key}: {problem}")]
    Bad {
        /// The file of the certificate.
        cert: std::path::PathBuf,
        /// The file of the key.
        key: std::path::PathBuf,
        /// The problem.
        problem: String,
    },
}

impl Certificate {
    pub(in crate::edge) fn load(files: &Tls) -> Result<Self, TlsError> {
        Ok(Certificate { files: files.clone(), current: ReadWriteLock::new(read(files)?) })
    }

    /// Reads the files again for new connections. If they cannot be used, the certificate before stays.
    pub(in crate::edge) fn reload(&self) -> Result<(), TlsError> {
        let fresh = read(&self.files)?;
        *self.current.write() = fresh;
        Ok(())
    }

    pub(in crate::edge) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().clone().into()
    }
}

/// Checks that the files of a certificate can be used and match.
pub fn check_certificate(files: &Tls) -> Result<(), TlsError> {
    read(files).map(drop)
}

fn read(files: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |setting, path: &Path, problem| TlsError::Read { setting, path: path.into(), problem };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("tls.cert", &files.cert, pem_problem(error, "certificate")))?;
    if chain.is_empty() {
        return Err(unreadable("tls.cert", &files.cert, pem_problem(pem::Error::NoItemsFound, "certificate")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable("tls.key", &files.key, pem_problem(error, "private key")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are on by default")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Bad {
            cert: files.cert.clone(),
            key: files.key.clone(),
            problem: error.to_string(),
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
