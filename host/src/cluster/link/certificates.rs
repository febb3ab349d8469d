//! Certificates of the operator's own authority, in place of the key of a cluster.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};

use super::key::{KeyError, NODE_NAME, Tls, configure, roots};
use crate::file_problem::pem_problem;

/// The certificate of this node, with its private key, and the authorities that the certificates of all nodes come from.
#[derive(Debug)]
pub struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Reads three files in PEM: the authorities, this node's certificate with those between, and its private key.
    ///
    /// Fails: if other users may read the private key, if it is not that of the certificate, or if another node would
    /// not accept the certificate now. It must be for clients and for servers, and for the name `node.dormouse`.
    pub fn read(ca: &Path, cert: &Path, key: &Path) -> Result<Self, KeyError> {
        #[expect(clippy::disallowed_methods, reason = "the files of a node's certificate are read here only")]
        let is_open = fs::metadata(key).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0);
        if is_open {
            return Err(KeyError::Open(key.into()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error, "private key"))?;
        let certificates = Certificates { authorities: read(ca)?, chain: read(cert)?, key: private };
        certificates.check().map_err(|problem| KeyError::BadCertificate { path: cert.into(), problem })?;
        Ok(certificates)
    }

    /// A hash of the names and public keys of its authorities. Neither their order nor a renewal changes it.
    pub fn fingerprint(&self) -> Result<[u8; 32], KeyError> {
        let roots = roots(&self.authorities)?;
        let hash = |anchor: &TrustAnchor<'_>| {
            let key = Sha256::digest(&anchor.subject_public_key_info);
            Sha256::new().chain_update(key).chain_update(&anchor.subject).finalize()
        };
        let mut authorities = roots.roots.iter().map(hash).collect::<Vec<_>>();
        authorities.sort_unstable();
        Ok(Sha256::digest(authorities.concat()).into())
    }

    /// Uses the certificate for links.
    pub fn tls(&self) -> Result<Tls, KeyError> {
        configure(&self.authorities, &self.chain, &self.key)
    }

    /// Checks the certificate as the other nodes do, so that a fault is known at the start and not at the first link.
    fn check(&self) -> Result<(), String> {
        let text = |error: rustls::Error| error.to_string();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(self.key.clone_key()).map_err(text)?;
        rustls::sign::CertifiedKey::new(self.chain.clone(), key).keys_match().map_err(text)?;
        let roots = roots(&self.authorities).map_err(|error| error.to_string())?;
        let (certificate, between) = self.chain.split_first().ok_or("there is none")?;
        let (name, now) = (ServerName::try_from(NODE_NAME).expect("it is a name"), UnixTime::now());
        let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let server = server.map_err(|error| error.to_string())?;
        server.verify_server_cert(certificate, between, &name, &[], now).map_err(text)?;
        let client = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let client = client.map_err(|error| error.to_string())?;
        client.verify_client_cert(certificate, between, now).map_err(text)?;
        Ok(())
    }
}

fn unreadable(path: &Path, error: pem::Error, item: &str) -> KeyError {
    KeyError::ReadPem { path: PathBuf::from(path), problem: pem_problem(error, item) }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(unreadable(path, pem::Error::NoItemsFound, "certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, error, "certificate")),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };
    use tempfile::TempDir;

    use super::*;

    /// The files of an authority and of a node, which differ from good ones as wanted.
    struct Files {
        directory: TempDir,
    }

    impl Files {
        fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
            let mut authority = CertificateParams::default();
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let authority_key = KeyPair::generate().unwrap();
            let root = authority.self_signed(&authority_key).unwrap();
            let mut node = CertificateParams::new(vec![NODE_NAME.to_owned()]).unwrap();
            node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            change(&mut node);
            let key = KeyPair::generate().unwrap();
            let signed = node.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
            let files = Files { directory: TempDir::new().unwrap() };
            files.write("ca.pem", &root.pem(), 0o644);
            files.write("node.pem", &signed.pem(), 0o644);
            files.write("node.key", &key.serialize_pem(), 0o600);
            files
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            use std::os::unix::fs::PermissionsExt;
            fs::write(self.path(name), text).unwrap();
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn read(&self) -> Result<Certificates, KeyError> {
            Certificates::read(&self.path("ca.pem"), &self.path("node.pem"), &self.path("node.key"))
        }

        fn fingerprint(&self) -> [u8; 32] {
            self.read().unwrap().fingerprint().unwrap()
        }

        fn problem(&self) -> String {
            self.read().unwrap_err().to_string().replace(&self.directory.path().display().to_string(), "DIR")
        }
    }

    #[test]
    fn certificates_of_one_authority_work() {
        let files = Files::new(|_| {});
        let certificates = files.read().unwrap();
        certificates.tls().unwrap();
        assert_ne!(files.fingerprint(), Files::new(|_| {}).fingerprint());
    }

    #[test]
    fn the_order_of_authorities_does_not_matter() {
        let (files, other) = (Files::new(|_| {}), Files::new(|_| {}));
        let [one, two] = [&files, &other].map(|files| fs::read_to_string(files.path("ca.pem")).unwrap());
        files.write("ca.pem", &format!("{one}{two}"), 0o644);
        let before = files.fingerprint();
        files.write("ca.pem", &format!("{two}{one}"), 0o644);
        assert_eq!(files.fingerprint(), before);
    }

    #[test]
    fn what_others_would_refuse_is_refused_at_once() {
        let other_name = Files::new(|node| *node = CertificateParams::new(vec!["db.example".to_owned()]).unwrap());
        assert!(other_name.problem().contains("node.dormouse"), "{}", other_name.problem());
        let for_servers = Files::new(|node| node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert!(for_servers.problem().starts_with("the certificate DIR/node.pem"), "{}", for_servers.problem());
        let expired = Files::new(|node| node.not_after = date_time_ymd(2020, 1, 1));
        assert!(expired.problem().contains("expired"), "{}", expired.problem());
        let (files, other) = (Files::new(|_| {}), Files::new(|_| {}));
        fs::copy(other.path("ca.pem"), files.path("ca.pem")).unwrap();
        assert!(files.problem().starts_with("the certificate DIR/node.pem"), "{}", files.problem());
        let files = Files::new(|_| {});
        fs::copy(other.path("node.key"), files.path("node.key")).unwrap();
        assert!(files.problem().starts_with("the certificate DIR/node.pem"), "{}", files.problem());
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let files = Files::new(|_| {});
        files.write("node.key", &fs::read_to_string(files.path("node.key")).unwrap(), 0o644);
        assert_eq!(files.problem(), "other users may read the private key DIR/node.key; run `chmod 600` on it");
        files.write("node.key", "no key", 0o600);
        assert_eq!(files.problem(), "DIR/node.key cannot be read: it holds no private key in PEM");
        let files = Files::new(|_| {});
        files.write("ca.pem", "", 0o644);
        assert_eq!(files.problem(), "DIR/ca.pem cannot be read: it holds no certificate in PEM");
        fs::remove_file(files.path("node.pem")).unwrap();
        files.write("ca.pem", &fs::read_to_string(Files::new(|_| {}).path("ca.pem")).unwrap(), 0o644);
        assert_eq!(files.problem(), "DIR/node.pem cannot be read: it does not exist");
    }
}
