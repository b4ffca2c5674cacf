//! What was measured: rate and percentiles.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use tonic::Status;

use super::Scale;
use crate::load::callers::{self, Answered, Span};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// Its name.
    pub(super) name: String,
    /// Callers at once.
    pub(super) callers: usize,
    /// Answers a second.
    pub(super) per_second: u64,
    /// Half of the answers came within so many microseconds.
    pub(super) p50_us: u64,
    /// 99 of 100 did.
    pub(super) p99_us: u64,
    /// 999 of 1,000 did.
    pub(super) p999_us: u64,
    /// Calls that were refused; 0 in a measure that is sound.
    pub(super) refused: u64,
}

impl Measured {
    /// From the times of all answers, in microseconds.
    pub(super) fn of(name: &str, callers: usize, took: Duration, times: &mut [u32]) -> Self {
        times.sort_unstable();
        let at = |per_mille: usize| {
            let index = (times.len() * per_mille / 1_000).min(times.len().saturating_sub(1));
            times.get(index).copied().map_or(0, u64::from)
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let count = u64::try_from(times.len()).unwrap_or(u64::MAX);
        Self {
            name: name.to_owned(),
            callers,
            per_second: count * 1_000_000 / micros,
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
            refused: 0,
        }
    }
}

/// Measures callers for a while. `call` does one call: of which caller, and the
/// how many'th it is of all.
pub(super) async fn measure<C, F>(name: &str, callers: usize, scale: Scale, call: C) -> Measured
where
    C: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Status>> + Send,
{
    let start = Instant::now() + scale.warm_up;
    let end = start + scale.measure;
    // A list for each caller: nobody waits for another's lock.
    let times: Arc<[Mutex<Vec<u32>>]> = (0..callers).map(|_| Mutex::default()).collect();
    let refused = Arc::new(AtomicU64::new(0));
    let record = {
        let (times, refused) = (Arc::clone(&times), Arc::clone(&refused));
        move |answered: Answered| match answered.answer {
            Ok(()) => times[answered.caller]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(answered.micros),
            Err(status) => {
                if refused.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("refused: {status}");
                }
            }
        }
    };
    callers::run(callers, Span { start, end }, call, record).await;
    let mut all = Vec::new();
    for times in times.iter() {
        all.append(&mut times.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let mut measured = Measured::of(name, callers, scale.measure, &mut all);
    measured.refused = refused.load(Ordering::Relaxed);
    super::say(&measured);
    measured
}
