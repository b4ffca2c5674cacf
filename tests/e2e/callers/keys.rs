//! Keys, revocations and certificates that change while a service runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fealty_auth::{Grant, Issuer, Role};
use fealty_cli::token::{AUDIENCE, ISSUER, Keys, grant, now_s};
use fealty_client::{Channel, Credentials, connect};
use fealty_proto::{
    operations::v1::{GetFeedStatusRequest, feed_service_client::FeedServiceClient},
    points::v1::{WatchTransactionsRequest, ledger_service_client::LedgerServiceClient},
};
use fealty_stack::{Stack, Supervised, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Code, Status};

use crate::harness::{fealty, stack, until};

/// A points service with its own settings.
pub(crate) struct Lone {
    /// What it stands on, as long as it runs.
    _stack: Stack,
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
    log: PathBuf,
    _process: Supervised,
}

impl Lone {
    /// Starts one. `variables` hears the folder and says what it is told.
    pub(crate) async fn start(variables: impl FnOnce(&Path) -> Vec<(String, String)>) -> Self {
        let stack = stack().await;
        stack
            .postgres
            .create_database("points")
            .expect("a database");
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port().expect("a port");
        let mut env = BTreeMap::from([
            (
                "FEALTY_SERVER_LISTEN".to_owned(),
                format!("127.0.0.1:{port}"),
            ),
            (
                "FEALTY_DATABASE_URL".to_owned(),
                stack.postgres.url("points"),
            ),
        ]);
        env.extend(variables(folder.path()));
        let log = folder.path().join("log");
        let args = ["serve", "points"];
        let process = Supervised::start(&fealty(), args, env, &log, "TERM", None);
        Self {
            _stack: stack,
            port,
            log,
            folder,
            _process: process.expect("it runs"),
        }
    }

    pub(crate) fn channel(&self, token: &str) -> Channel {
        let url = format!("http://127.0.0.1:{}", self.port);
        connect(&url, &Credentials::token(token)).expect("a URL")
    }

    /// A connection that shows nothing by itself.
    pub(crate) fn bare_channel(&self) -> Channel {
        let url = format!("http://127.0.0.1:{}", self.port);
        connect(&url, &Credentials::default()).expect("a URL")
    }

    /// Waits until it answers, whatever it answers.
    pub(crate) async fn until_it_answers(&self) {
        until("it answers", || async {
            match status(self.channel("x")).await {
                Err(refused) => refused.code() != Code::Unavailable,
                Ok(()) => true,
            }
        })
        .await;
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A call that auditors may make.
pub(crate) async fn status(channel: Channel) -> Result<(), Status> {
    let mut client = FeedServiceClient::new(channel);
    client
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .map(drop)
}

fn pairs(variables: impl IntoIterator<Item = (&'static str, String)>) -> Vec<(String, String)> {
    let variables = variables.into_iter();
    variables
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// A set with the keys of both.
fn both(one: &Issuer, other: &Issuer) -> String {
    let keys = [one, other].map(|issuer| {
        let mut set: serde_json::Value = serde_json::from_str(&issuer.jwks()).expect("JSON");
        set["keys"][0].take()
    });
    serde_json::json!({ "keys": keys }).to_string()
}

fn signed(issuer: &Issuer) -> String {
    let auditor = grant("aude", &[Role::Auditor]);
    issuer.sign(&auditor, now_s()).expect("signed")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_come_and_go() {
    let (old, new) = (Issuer::generate(ISSUER), Issuer::generate(ISSUER));
    let (old, new) = (old.expect("a key"), new.expect("a key"));
    let lone = Lone::start(|folder| {
        let file = folder.join("jwks.json");
        std::fs::write(&file, old.jwks()).expect("written");
        let file = file.display().to_string();
        pairs([
            ("FEALTY_AUTH_ISSUER", ISSUER.to_owned()),
            ("FEALTY_AUTH_JWKS_FILE", file),
        ])
    })
    .await;
    lone.until_it_answers().await;
    let (by_old, by_new) = (signed(&old), signed(&new));
    status(lone.channel(&by_old)).await.expect("it is taken");
    let refused = status(lone.channel(&by_new)).await.expect_err("not known");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let file = lone.folder.path().join("jwks.json");
    std::fs::write(&file, both(&old, &new)).expect("written");
    until("the new key is known", || async {
        status(lone.channel(&by_new)).await.is_ok()
    })
    .await;
    status(lone.channel(&by_old)).await.expect("it is taken on");
    // Half a file, or none: the last good set counts.
    std::fs::write(&file, "{\"keys\": [").expect("written");
    until("it was read", || async {
        lone.log().contains("last good keys")
    })
    .await;
    status(lone.channel(&by_old)).await.expect("it is taken on");
    // Tokens that are remembered go with their key.
    std::fs::write(&file, new.jwks()).expect("written");
    until("the old key is gone", || async {
        status(lone.channel(&by_old)).await.is_err()
    })
    .await;
    status(lone.channel(&by_new)).await.expect("it is taken");
    // A set without keys says that all are withdrawn.
    std::fs::write(&file, "{\"keys\": []}").expect("written");
    until("no key is left", || async {
        status(lone.channel(&by_new)).await.is_err()
    })
    .await;
}

/// Serves a set of keys that can change, and counts who asks.
async fn serve_keys(keys: Arc<std::sync::Mutex<Option<String>>>, asked: Arc<AtomicU32>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let _ = stream.read(&mut [0; 4_096]).await;
            asked.fetch_add(1, Ordering::SeqCst);
            let body = keys.lock().expect("no panic").clone();
            let answer = match body {
                Some(body) => format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                ),
                None => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\
                         connection: close\r\n\r\n"
                    .to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_an_address_are_asked_for_seldom_and_kept_while_it_is_down() {
    let (old, new) = (Issuer::generate(ISSUER), Issuer::generate(ISSUER));
    let (old, new) = (old.expect("a key"), new.expect("a key"));
    let keys = Arc::new(std::sync::Mutex::new(Some(old.jwks())));
    let asked = Arc::new(AtomicU32::new(0));
    let port = serve_keys(Arc::clone(&keys), Arc::clone(&asked)).await;
    let lone = Lone::start(|_| {
        let url = format!("http://127.0.0.1:{port}/jwks");
        pairs([
            ("FEALTY_AUTH_ISSUER", ISSUER.to_owned()),
            ("FEALTY_AUTH_JWKS_URL", url),
        ])
    })
    .await;
    lone.until_it_answers().await;
    status(lone.channel(&signed(&old)))
        .await
        .expect("it is taken");
    // A new key is known with the first call that shows it.
    *keys.lock().expect("no panic") = Some(both(&old, &new));
    status(lone.channel(&signed(&new)))
        .await
        .expect("it is taken");
    // Whoever shows keys that are none has the issuer asked no more often.
    *keys.lock().expect("no panic") = None;
    let before = asked.load(Ordering::SeqCst);
    let stranger = Issuer::generate(ISSUER).expect("a key");
    let calls = (0..300).map(|_| status(lone.channel(&signed(&stranger))));
    for refused in futures::future::join_all(calls).await {
        assert_eq!(
            refused.expect_err("not known").code(),
            Code::Unauthenticated
        );
    }
    let asked = asked.load(Ordering::SeqCst) - before;
    assert!(asked <= 2, "the issuer was asked {asked} times");
    status(lone.channel(&signed(&old)))
        .await
        .expect("the last good set counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_a_revoked_one_is_taken_no_longer() {
    let lone = Lone::start(|folder| {
        let keys = Keys::make(&folder.join("keys")).expect("a key");
        let revoked = folder.join("revoked");
        std::fs::write(&revoked, "# none yet\n").expect("written");
        let revoked = revoked.display().to_string();
        let mut variables = pairs(keys.variables());
        variables.extend(pairs([("FEALTY_AUTH_REVOKED_FILE", revoked)]));
        variables
    })
    .await;
    lone.until_it_answers().await;
    let keys = Keys::open(&lone.folder.path().join("keys")).expect("the key");
    let watch = |grant: Grant| {
        let token = keys.sign(&grant).expect("signed");
        let mut client = LedgerServiceClient::new(lone.channel(&token));
        async move {
            let request = WatchTransactionsRequest::default();
            client
                .watch_transactions(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let ends = async |grant: Grant| {
        let mut feed = watch(grant).await.expect("it is open");
        let ended = async {
            loop {
                match feed.message().await {
                    Ok(Some(_)) => {}
                    ended => return ended.expect_err("not by itself"),
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        ended.expect("it ends").code()
    };
    // Expired, but for a moment of the minute that clocks may differ.
    let short = Grant {
        valid_s: -57,
        ..grant("short", &[Role::Auditor])
    };
    let revoked = Grant {
        token_id: Some("token-7".to_owned()),
        ..grant("revoked", &[Role::Auditor])
    };
    let revoking = async {
        // Once it is open, and remembered.
        watch(revoked.clone()).await.expect("it is taken");
        std::fs::write(lone.folder.path().join("revoked"), "token-7\n").expect("written");
    };
    let (by_time, by_list, ()) = tokio::join!(ends(short), ends(revoked.clone()), revoking);
    assert_eq!(
        (by_time, by_list),
        (Code::Unauthenticated, Code::Unauthenticated)
    );
    let refused = watch(revoked).await.expect_err("it was revoked");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Certificates for tests.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new([]).expect("valid");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a certificate for names, and its key.
    pub(crate) fn write(&self, names: &[&str], certificate: &Path, key: &Path) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).expect("valid");
        let pair = rcgen::KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.issuer).expect("signed");
        std::fs::write(key, pair.serialize_pem()).expect("written");
        std::fs::write(certificate, signed.pem()).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_proves_the_service_and_a_client_certificate_stands_for_a_token() {
    let authority = Authority::new();
    let lone = Lone::start(|folder| {
        let path = |name: &str| folder.join(name);
        std::fs::write(path("ca.pem"), &authority.pem).expect("written");
        authority.write(
            &["localhost", "127.0.0.1"],
            &path("server.pem"),
            &path("server.key"),
        );
        let text = |name: &str| path(name).display().to_string();
        pairs([
            ("FEALTY_TLS_CERTIFICATE_FILE", text("server.pem")),
            ("FEALTY_TLS_KEY_FILE", text("server.key")),
            ("FEALTY_TLS_CLIENT_CA_FILE", text("ca.pem")),
            (
                "FEALTY_AUTH_CERTIFICATES",
                "tiers.fealty.svc=service".to_owned(),
            ),
        ])
    })
    .await;
    let path = |name: &str| lone.folder.path().join(name);
    authority.write(
        &["tiers.fealty.svc"],
        &path("tiers.pem"),
        &path("tiers.key"),
    );
    authority.write(&["somebody.else"], &path("other.pem"), &path("other.key"));
    let url = format!("https://127.0.0.1:{}", lone.port);
    let shows = |name: Option<&str>| Credentials {
        ca_file: Some(path("ca.pem")),
        certificate_file: name.map(|name| path(&format!("{name}.pem"))),
        key_file: name.map(|name| path(&format!("{name}.key"))),
        ..Credentials::default()
    };
    let asks = |name| {
        let channel = connect(&url, &shows(name)).expect("a URL");
        async move { status(channel).await }
    };
    until("it serves", || async { asks(Some("tiers")).await.is_ok() }).await;
    for unknown in [None, Some("other")] {
        let refused = asks(unknown).await.expect_err("not known");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    // Whoever does not believe the certificate does not call, nor who speaks
    // plain text.
    for (url, shown) in [
        (url.clone(), Credentials::default()),
        (url.replace("https", "http"), shows(None)),
    ] {
        let refused = status(connect(&url, &shown).expect("a URL")).await;
        let refused = refused.expect_err("no connection");
        // Nobody of ours has said so: the connection was not made.
        assert_eq!(fealty_client::reason(&refused), None, "{refused:?}");
    }
    // New certificates, of another authority, are shown without a restart.
    let other = Authority::new();
    std::fs::write(path("other-ca.pem"), &other.pem).expect("written");
    other.write(&["127.0.0.1"], &path("server.pem"), &path("server.key"));
    let believes_other = Credentials {
        ca_file: Some(path("other-ca.pem")),
        ..shows(Some("tiers"))
    };
    until("the new certificate is shown", || async {
        status(connect(&url, &believes_other).expect("a URL"))
            .await
            .is_ok()
    })
    .await;
}

/// What `fealty serve points` says with these variables, which it cannot serve
/// with.
fn refuses(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = Command::new(fealty())
        .args(["serve", "points"])
        .args(arguments)
        .env_remove("FEALTY_TEST_BINARY")
        .env_remove("FEALTY_TEST_CLIENTS")
        .env("FEALTY_SERVER_LISTEN", "127.0.0.1:0")
        .env("FEALTY_DATABASE_URL", "postgres://localhost/none")
        .envs(variables.iter().copied())
        .output()
        .expect("the command runs");
    assert!(!output.status.success(), "{variables:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn who_may_call_must_be_said() {
    let check = &["--check-config"][..];
    assert!(refuses(&[], check).contains("who may call is not said"));
    let anywhere = [("FEALTY_SERVER_LISTEN", "0.0.0.0:7001")];
    let told = refuses(&anywhere, &["--check-config", "--insecure"]);
    assert!(told.contains("an address of loopback"), "{told}");
    let jwks = ("FEALTY_AUTH_JWKS_FILE", "/dev/null");
    let both = [jwks, ("FEALTY_AUTH_ISSUER", "x")];
    let told = refuses(&both, &["--check-config", "--insecure"]);
    assert!(told.contains("cannot both be set"), "{told}");
    assert!(refuses(&[jwks], check).contains("auth.issuer must be set"));
    let certificates = [("FEALTY_AUTH_CERTIFICATES", "tiers=king")];
    assert!(refuses(&certificates, check).contains("no role"));
    // A certificate keeps nobody to a member or a brand.
    let certificates = [("FEALTY_AUTH_CERTIFICATES", "app.example.com=member")];
    assert!(refuses(&certificates, check).contains("needs a token"));
    let half = [
        jwks,
        ("FEALTY_AUTH_ISSUER", "x"),
        ("FEALTY_TLS_KEY_FILE", "x"),
    ];
    assert!(refuses(&half, check).contains("must be set together"));
    let origin = [
        jwks,
        ("FEALTY_AUTH_ISSUER", "x"),
        ("FEALTY_SERVER_CORS_ORIGINS", "app.example.com"),
    ];
    assert!(refuses(&origin, check).contains("server.cors_origins"));
    let mistyped = [
        jwks,
        ("FEALTY_AUTH_ISSUER", "x"),
        ("FEALTY_SERVER_LISTENN", "x"),
    ];
    assert!(refuses(&mistyped, check).contains("FEALTY_SERVER_LISTENN"));
    // What services expect if nothing is said.
    assert_eq!(AUDIENCE, fealty_auth::Settings::default().audience);
}
