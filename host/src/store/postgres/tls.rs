//! TLS of a connection to the database: which certificates are accepted. `connect` asks it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::file_problem::pem_problem;

/// How far the server of a connection is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// The connection has no TLS.
    Off,
    /// Any certificate: it keeps listeners out, and no attacker who answers in place of the server.
    None,
    /// The certificate is of a known authority; its name is not compared.
    Authority,
    /// The certificate is of a known authority and has the name of the host.
    Full,
}

/// Makes the TLS of connections. Fails with a sentence if the file of authorities cannot be used.
pub(super) fn connector(verification: Verification, authorities: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are on by default");
    let config = match verification {
        Verification::Off | Verification::None => {
            let verifier = Lenient { provider, authorities: None };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        Verification::Authority => {
            let roots = Arc::new(roots(authorities)?);
            let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let webpki = webpki.map_err(|error| format!("the authorities cannot be used: {error}"))?;
            let verifier = Lenient { provider, authorities: Some(webpki) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        Verification::Full => builder.with_root_certificates(roots(authorities)?).with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The authorities in a file, else those of browsers.
fn roots(authorities: Option<&Path>) -> Result<RootCertStore, String> {
    let Some(path) = authorities else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() });
    };
    let unreadable = |problem: String| format!("the certificates in {} cannot be read: {problem}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(pem_problem(error, "certificate")))?;
    if certificates.is_empty() {
        return Err(unreadable(pem_problem(pem::Error::NoItemsFound, "certificate")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    Ok(roots)
}

/// Verifies less than rustls does, because an operator has asked for it.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// Absent if any certificate will do.
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match authorities.verify_server_cert(certificate, chain, name, ocsp, now) {
            // The chain was verified before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
