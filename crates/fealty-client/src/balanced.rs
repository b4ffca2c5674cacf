//! Calls spread over all addresses of a service.
//!
//! Each address has a connection of its own. A call goes to the one of two taken
//! by chance that has fewer calls under way. One that cannot be reached rests for
//! a moment, longer each time: without that it would look idle, and draw calls.
//! Names are looked up again every few seconds, and at once when a connection
//! fails; what is new is used, what is gone gets no further calls.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response, Uri};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::Service;

use crate::{ConnectError, Credentials, credentials::TlsFiles};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often names are looked up again.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(5);
/// Between two look-ups that failures bring about.
const LOOK_UPS_APART: Duration = Duration::from_millis(500);
/// How long an address rests that could not be reached: doubled each time.
const REST_FIRST: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(5);
/// How long the first call waits for the first look-up.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// Names, or addresses, of a service.
#[derive(Clone, Debug)]
pub(crate) struct Targets(Vec<Uri>);

impl Targets {
    /// Reads `http://host:port`, or several of them divided by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let uris = text.split(',').map(|part| {
            let invalid = || ConnectError::Url(part.to_owned());
            let uri: Uri = part.trim().parse().map_err(|_| invalid())?;
            let known = matches!(uri.scheme_str(), Some("http" | "https"));
            if !known || uri.host().is_none() || !matches!(uri.path(), "" | "/") {
                return Err(invalid());
            }
            Ok(uri)
        });
        uris.collect::<Result<_, _>>().map(Self)
    }
}

/// An address and the name that it was found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    address: SocketAddr,
    target: usize,
}

/// An instance of the service.
struct Instance {
    found: Found,
    channel: Channel,
    /// Calls that are under way.
    pending: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after the balancer began until which it rests.
    rests_until_ms: AtomicU64,
}

/// The instances there are, and what connections to them are made of.
struct Known {
    tls: TlsFiles,
    instances: Vec<Arc<Instance>>,
}

struct Shared {
    targets: Targets,
    credentials: Credentials,
    known: ArcSwap<Known>,
    began: Instant,
    /// A connection failed: names may have other addresses now.
    failed: Arc<Notify>,
    looked_up: watch::Sender<bool>,
}

/// Calls to a service, spread over its instances.
#[derive(Clone)]
pub struct Balanced(Arc<Shared>);

impl fmt::Debug for Balanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Balanced").field(&self.0.targets).finish()
    }
}

impl Balanced {
    /// Over the addresses of these names, which it follows as long as it is.
    pub(crate) fn over(targets: Targets, credentials: Credentials) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared {
            known: ArcSwap::from_pointee(Known {
                tls: credentials.tls()?,
                instances: Vec::new(),
            }),
            targets,
            credentials,
            began: Instant::now(),
            failed: Arc::default(),
            looked_up: watch::Sender::new(false),
        });
        // Addresses need no looking up, and are there for the first call.
        if let Some(found) = shared
            .targets
            .0
            .iter()
            .enumerate()
            .map(as_address)
            .collect()
        {
            shared.update(&found)?;
            shared.looked_up.send_replace(true);
        }
        tokio::spawn(follow(Arc::downgrade(&shared)));
        Ok(Self(shared))
    }
}

fn as_address((target, uri): (usize, &Uri)) -> Option<Found> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let address = SocketAddr::new(host.parse().ok()?, port(uri));
    Some(Found { address, target })
}

fn port(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    uri.port_u16().unwrap_or(default)
}

/// Looks names up again and again, until nobody calls.
async fn follow(shared: Weak<Shared>) {
    loop {
        let Some(balancer) = shared.upgrade() else {
            return;
        };
        match balancer.look_up().await {
            Ok(found) => {
                if let Err(error) = balancer.update(&found) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the connections stay as they are"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "a name has no address; the last ones are used"),
        }
        balancer.looked_up.send_replace(true);
        // Not held while nothing is done, so that it ends with the last caller.
        let failed = Arc::clone(&balancer.failed);
        drop(balancer);
        tokio::time::sleep(LOOK_UPS_APART).await;
        let _ = tokio::time::timeout(LOOKED_UP_EVERY, failed.notified()).await;
    }
}

impl Shared {
    async fn look_up(&self) -> std::io::Result<BTreeSet<Found>> {
        let mut found = BTreeSet::new();
        let mut failure = None;
        for (target, uri) in self.targets.0.iter().enumerate() {
            if let Some(address) = as_address((target, uri)) {
                found.insert(address);
                continue;
            }
            match tokio::net::lookup_host((uri.host().unwrap_or_default(), port(uri))).await {
                Ok(addresses) => {
                    found.extend(addresses.map(|address| Found { address, target }));
                }
                Err(error) => {
                    // What it last had, while others may have been found.
                    let known = self.known.load();
                    let kept = known.instances.iter().map(|one| one.found.clone());
                    found.extend(kept.filter(|kept| kept.target == target));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// Takes these addresses instead of those before. Connections to those that
    /// stay, stay, unless the certificates have changed.
    fn update(&self, found: &BTreeSet<Found>) -> Result<(), ConnectError> {
        let known = self.known.load();
        // Certificates that cannot be read now are as they were.
        let tls = self.credentials.tls().unwrap_or_else(|error| {
            tracing::warn!(%error, "the last certificates are used on");
            known.tls.clone()
        });
        let renewed = tls != known.tls;
        let stays = |one: &Arc<Instance>| !renewed && found.contains(&one.found);
        if known.instances.len() == found.len() && known.instances.iter().all(stays) {
            return Ok(());
        }
        let instances = found.iter().map(|found| {
            let mut same = known.instances.iter().filter(|one| one.found == *found);
            if let (false, Some(same)) = (renewed, same.next()) {
                return Ok(Arc::clone(same));
            }
            Ok(Arc::new(Instance {
                channel: self.endpoint(found, &tls)?.connect_lazy(),
                found: found.clone(),
                pending: AtomicUsize::new(0),
                failures: AtomicU32::new(0),
                rests_until_ms: AtomicU64::new(0),
            }))
        });
        // All of it, or nothing.
        let instances = instances.collect::<Result<_, ConnectError>>()?;
        self.known.store(Arc::new(Known { tls, instances }));
        Ok(())
    }

    fn endpoint(&self, found: &Found, tls: &TlsFiles) -> Result<Endpoint, ConnectError> {
        let uri = &self.targets.0[found.target];
        let scheme = uri.scheme_str().unwrap_or("http");
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", found.address))?
            .origin(uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        if scheme == "http" {
            return Ok(endpoint);
        }
        let host = uri.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        Ok(endpoint.tls_config(tls.config(name))?)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The instance for the next call.
    fn pick(&self) -> Option<Arc<Instance>> {
        let known = self.known.load();
        let instances = &known.instances;
        if let [only] = &instances[..] {
            return Some(Arc::clone(only));
        }
        let now = self.now_ms();
        let rests = |one: &Instance| one.rests_until_ms.load(Ordering::Relaxed) > now;
        let awake: Vec<_> = instances.iter().filter(|one| !rests(one)).collect();
        if awake.is_empty() {
            // The one that has rested longest may have come back.
            let until = |one: &&Arc<Instance>| one.rests_until_ms.load(Ordering::Relaxed);
            return instances.iter().min_by_key(until).cloned();
        }
        let any = || awake[rand::random_range(0..awake.len())];
        let (one, other) = (any(), any());
        let pending = |one: &Instance| one.pending.load(Ordering::Relaxed);
        let chosen = if pending(one) <= pending(other) {
            one
        } else {
            other
        };
        Some(Arc::clone(chosen))
    }

    fn answered(instance: &Instance) {
        if instance.failures.load(Ordering::Relaxed) != 0 {
            instance.failures.store(0, Ordering::Relaxed);
            instance.rests_until_ms.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, instance: &Instance) {
        // All calls over a connection that broke fail at once: that is one failure.
        if instance.rests_until_ms.load(Ordering::Relaxed) > self.now_ms() {
            return;
        }
        let failures = instance.failures.fetch_add(1, Ordering::Relaxed);
        let rest = REST_FIRST
            .saturating_mul(1 << failures.min(16))
            .min(REST_MAX);
        let rest = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        let until = self.now_ms().saturating_add(rest);
        instance.rests_until_ms.store(until, Ordering::Relaxed);
        self.failed.notify_one();
    }
}

/// A call that is under way at an instance.
struct Pending(Arc<Instance>);

impl Pending {
    fn of(instance: Arc<Instance>) -> Self {
        instance.pending.fetch_add(1, Ordering::Relaxed);
        Self(instance)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Body>> for Balanced {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            if !*shared.looked_up.borrow() {
                let mut looked_up = shared.looked_up.subscribe();
                // Then there is no address, which is told below.
                let _ = tokio::time::timeout(FIRST_LOOK_UP, looked_up.wait_for(|done| *done)).await;
            }
            let picked = shared.pick();
            let picked = picked.ok_or_else(|| Status::unavailable("the name has no address"))?;
            let pending = Pending::of(picked);
            let mut channel = pending.0.channel.clone();
            let called = async {
                std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            };
            match called.await {
                Ok(response) => {
                    Shared::answered(&pending.0);
                    Ok(response)
                }
                Err(error) => {
                    shared.failed(&pending.0);
                    Err(Status::from_error(error.into()))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced(urls: &str) -> Balanced {
        let targets = Targets::parse(urls).expect("addresses");
        Balanced::over(targets, Credentials::default()).expect("valid")
    }

    fn found(addresses: &[&str]) -> BTreeSet<Found> {
        let found = addresses.iter().map(|address| Found {
            address: address.parse().expect("an address"),
            target: 0,
        });
        found.collect()
    }

    #[test]
    fn addresses_that_are_none_are_named() {
        for bad in [
            "",
            "127.0.0.1:7001",
            "ftp://x:1",
            "http://x/path",
            "http://a:1,b",
        ] {
            assert!(Targets::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Targets::parse("http://a:1, https://b").is_ok());
    }

    #[tokio::test]
    async fn a_change_of_addresses_keeps_what_stays() {
        let balanced = balanced("http://127.0.0.1:1");
        let shared = &balanced.0;
        shared
            .update(&found(&["127.0.0.1:1", "127.0.0.2:1"]))
            .expect("valid");
        let before = shared.known.load_full().instances.clone();
        shared
            .update(&found(&["127.0.0.2:1", "127.0.0.3:1"]))
            .expect("valid");
        let after = shared.known.load_full().instances.clone();
        assert!(Arc::ptr_eq(&before[1], &after[0]), "it stayed");
        assert_eq!(after[1].found.address.to_string(), "127.0.0.3:1");
    }

    #[tokio::test]
    async fn a_name_that_is_not_answered_keeps_its_addresses() {
        let balanced = balanced("http://no-such-host.invalid:1,http://127.0.0.1:1");
        let shared = &balanced.0;
        shared.update(&found(&["127.0.0.9:1"])).expect("valid");
        let looked_up = shared.look_up().await.expect("one is an address");
        let addresses: Vec<_> = looked_up.iter().map(|f| f.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:1", "127.0.0.9:1"]);
    }

    #[tokio::test]
    async fn who_cannot_be_reached_rests_and_who_has_fewer_calls_is_picked() {
        let balanced = balanced("http://127.0.0.1:1,http://127.0.0.2:1");
        let shared = &balanced.0;
        let instances = shared.known.load_full().instances.clone();
        shared.failed(&instances[0]);
        for _ in 0..50 {
            assert_eq!(shared.pick().expect("one").found, instances[1].found);
        }
        // Many calls over one connection that broke are one failure.
        for _ in 0..500 {
            shared.failed(&instances[1]);
        }
        assert_eq!(instances[1].failures.load(Ordering::Relaxed), 1);
        // All rest: the one that is back first.
        let until = |one: &Instance| one.rests_until_ms.load(Ordering::Relaxed);
        assert!(until(&instances[0]) <= until(&instances[1]));
        let picked = until(&shared.pick().expect("one"));
        assert_eq!(picked, until(&instances[0]));
        Shared::answered(&instances[0]);
        Shared::answered(&instances[1]);
        let _busy: Vec<_> = (0..3)
            .map(|_| Pending::of(Arc::clone(&instances[0])))
            .collect();
        let other = (0..100).filter(|_| shared.pick().expect("one").found == instances[1].found);
        assert!(other.count() > 60, "three of four go to the idle one");
    }
}
