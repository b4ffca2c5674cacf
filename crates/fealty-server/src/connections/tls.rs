//! TLS: certificates from files, read again when these change.

use std::{io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use fealty_auth::{LOOKED_AT_EVERY, WatchedFile};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _, prelude::X509Certificate};

use crate::config::{ConfigError, ServerSection, TlsSection};

/// TLS with the certificates that are configured.
#[derive(Debug)]
pub(crate) struct Tls(ArcSwap<ServerConfig>);

/// The files that it is made of.
pub(crate) struct TlsFiles {
    certificate: WatchedFile,
    key: WatchedFile,
    client_ca: Option<WatchedFile>,
    client_required: bool,
    http1: bool,
}

impl TlsFiles {
    fn open(section: &TlsSection, server: &ServerSection) -> Result<Option<Self>, ConfigError> {
        section.check()?;
        let file = |knob: &str, path: &Path| {
            WatchedFile::open(path).map_err(|error| {
                ConfigError::new(format!("tls.{knob}: {}: {error}", path.display()))
            })
        };
        let (Some(certificate), Some(key)) = (&section.certificate_file, &section.key_file) else {
            return Ok(None);
        };
        let (certificate, key) = (
            file("certificate_file", certificate)?,
            file("key_file", key)?,
        );
        let client_ca = section.client_ca_file.as_deref();
        let client_ca = client_ca
            .map(|path| file("client_ca_file", path))
            .transpose()?;
        Ok(Some(Self {
            certificate,
            key,
            client_ca,
            client_required: section.client_required,
            http1: server.grpc_web,
        }))
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("tls.{what}: {error}");
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.certificate.content()).collect();
        let chain = chain.map_err(|error| told("certificate_file", &error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.content());
        let key = key.map_err(|error| told("key_file", &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| told("certificate_file", &error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(ca.content()) {
                    let certificate =
                        certificate.map_err(|error| told("client_ca_file", &error))?;
                    roots
                        .add(certificate)
                        .map_err(|error| told("client_ca_file", &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if self.client_required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| told("client_ca_file", &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| told("certificate_file", &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        if self.http1 {
            config.alpn_protocols.push(b"http/1.1".to_vec());
        }
        Ok(config)
    }

    fn changed(&mut self) -> bool {
        let changed = [&mut self.certificate, &mut self.key].map(WatchedFile::read_again);
        let ca = self.client_ca.as_mut().is_some_and(WatchedFile::read_again);
        ca || changed.contains(&true)
    }
}

impl Tls {
    /// TLS as configured, if it is.
    pub(crate) fn open(
        section: &TlsSection,
        server: &ServerSection,
        shutdown: &CancellationToken,
    ) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(files) = TlsFiles::open(section, server)? else {
            return Ok(None);
        };
        let config = files.config().map_err(ConfigError::new)?;
        let tls = Arc::new(Self(ArcSwap::from_pointee(config)));
        tokio::spawn(Arc::clone(&tls).follow(files, shutdown.clone()));
        Ok(Some(tls))
    }

    /// Takes new certificates for new connections; bad ones change nothing.
    async fn follow(self: Arc<Self>, mut files: TlsFiles, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOKED_AT_EVERY) => {}
            }
            if !files.changed() {
                continue;
            }
            match files.config() {
                Ok(config) => {
                    self.0.store(Arc::new(config));
                    tracing::info!("new certificates are used");
                }
                // A key and its certificate are seldom moved at once.
                Err(error) => tracing::warn!(error, "the last good certificates are used on"),
            }
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

/// The names in a client certificate, and when it expires: seconds since 1970.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let expires_at_s = parsed.validity().not_after.timestamp();
    let names = parsed.subject_alternative_name().ok()??;
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        });
    Some((names.collect(), expires_at_s))
}
