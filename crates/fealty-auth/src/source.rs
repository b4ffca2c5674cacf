//! Where keys and revocations come from, and how they stay fresh. The last good
//! set is kept while its source is away.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    SettingsError, Tokens, WatchedFile,
    keys::{InvalidKeys, JWKS_LEN_MAX, Keys},
    watched::LOOKED_AT_EVERY,
};

/// How long an answer of the issuer is waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks that callers with unknown keys bring about.
const LOOKS_APART: Duration = Duration::from_secs(10);

/// Keys that could not be had.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("the issuer's keys could not be fetched")]
    Fetch(#[from] reqwest::Error),
    #[error("the issuer's keys are not usable")]
    Invalid(#[from] InvalidKeys),
}

/// Where the keys are.
enum Source {
    File(WatchedFile),
    Url {
        client: reqwest::Client,
        url: reqwest::Url,
        /// What was answered last.
        text: Vec<u8>,
    },
    Nowhere,
}

impl Source {
    fn of(tokens: &Tokens) -> Result<Self, SettingsError> {
        let settings = &tokens.settings;
        if let Some(path) = &settings.jwks_file {
            let file = WatchedFile::open(path);
            let file = file.map_err(|error| told("jwks_file", path, &error))?;
            return Ok(Self::File(file));
        }
        let Some(url) = &settings.jwks_url else {
            return Ok(Self::Nowhere);
        };
        let parsed = reqwest::Url::parse(url);
        let url = parsed.map_err(|error| SettingsError::new("jwks_url", error.to_string()))?;
        // Who can change the answer on its way can issue tokens.
        let is_local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if url.scheme() != "https" && !is_local {
            let rule = "must begin with https:// unless it is on loopback";
            return Err(SettingsError::new("jwks_url", rule));
        }
        let tls = roots(settings.jwks_ca_file.as_ref())?;
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| SettingsError::new("jwks_url", error.to_string()))?;
        Ok(Self::Url {
            client,
            url,
            text: Vec::new(),
        })
    }

    /// Reads the keys for the first time.
    async fn read(&mut self) -> Result<Option<Keys>, KeysError> {
        match self {
            Self::File(file) => Ok(Some(Keys::parse(file.content())?)),
            Self::Url { .. } | Self::Nowhere => self.read_again().await,
        }
    }

    /// Reads the keys, if they have changed.
    async fn read_again(&mut self) -> Result<Option<Keys>, KeysError> {
        match self {
            Self::File(file) => {
                if !file.read_again() {
                    return Ok(None);
                }
                Ok(Some(Keys::parse(file.content())?))
            }
            Self::Url { client, url, text } => {
                let mut answer = client.get(url.clone()).send().await?.error_for_status()?;
                let mut answered = Vec::new();
                while let Some(part) = answer.chunk().await? {
                    answered.extend_from_slice(&part);
                    if answered.len() > JWKS_LEN_MAX {
                        return Err(InvalidKeys::TooLong.into());
                    }
                }
                // The same keys again: what they verified stays remembered.
                if answered == *text {
                    return Ok(None);
                }
                let keys = Keys::parse(&answered)?;
                *text = answered;
                Ok(Some(keys))
            }
            Self::Nowhere => Ok(None),
        }
    }
}

fn told(knob: &'static str, path: &std::path::Path, error: &std::io::Error) -> SettingsError {
    SettingsError::new(knob, format!("{}: {error}", path.display()))
}

/// Whom to believe at the issuer's address.
fn roots(ca_file: Option<&PathBuf>) -> Result<rustls::ClientConfig, SettingsError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca_file {
        let invalid = |error: String| SettingsError::new("jwks_ca_file", error);
        let read = CertificateDer::pem_file_iter(path);
        for certificate in read.map_err(|error| invalid(error.to_string()))? {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| invalid(error.to_string()))?;
        }
    } else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::new("jwks_url", error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Reads keys and revocations, answers, and reads them again for ever in the
/// returned future. A file that cannot be read at first is an error; an issuer
/// that does not answer yet is not, and nobody is known until it does.
pub async fn keep_fresh(
    tokens: Arc<Tokens>,
) -> Result<impl Future<Output = ()> + Send + 'static, SettingsError> {
    let mut source = Source::of(&tokens)?;
    match source.read().await {
        Ok(keys) => tokens.set_keys(keys.unwrap_or_default()),
        Err(error @ KeysError::Fetch(_)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "nobody is known yet"
            );
        }
        Err(error) => {
            let knob = if tokens.settings.jwks_file.is_some() {
                "jwks_file"
            } else {
                "jwks_url"
            };
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let rule = format!("{error}: {}", source.unwrap_or_default());
            return Err(SettingsError::new(knob, rule));
        }
    }
    let path = tokens.settings.revoked_file.as_ref();
    let revoked = path
        .map(|path| WatchedFile::open(path).map_err(|error| told("revoked_file", path, &error)));
    let revoked = revoked.transpose()?;
    if let Some(file) = &revoked {
        tokens.set_revoked(file.content());
    }
    Ok(follow(tokens, source, revoked))
}

async fn follow(tokens: Arc<Tokens>, mut source: Source, mut revoked: Option<WatchedFile>) {
    let every = match &source {
        Source::Url { .. } => Duration::from_secs(tokens.settings.jwks_refresh_s),
        Source::File(_) | Source::Nowhere => LOOKED_AT_EVERY,
    };
    let mut looks = tokio::time::interval(LOOKED_AT_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_keys = Instant::now() + every;
    let mut last_asked: Option<Instant> = None;
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            () = tokens.wanted.notified() => true,
        };
        if let Some(file) = &mut revoked
            && file.read_again()
        {
            tokens.set_revoked(file.content());
        }
        let rests = last_asked.is_some_and(|at| at.elapsed() < LOOKS_APART);
        tokens.may_look.store(!rests, Ordering::Relaxed);
        if Instant::now() >= next_keys || (asked && !rests) {
            next_keys = Instant::now() + every;
            if asked {
                last_asked = Some(Instant::now());
                tokens.may_look.store(false, Ordering::Relaxed);
            }
            match source.read_again().await {
                Ok(Some(keys)) => tokens.set_keys(keys),
                Ok(None) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the last good keys are used on");
                }
            }
            tokens.looked.send_modify(|looks| *looks += 1);
        }
    }
}
