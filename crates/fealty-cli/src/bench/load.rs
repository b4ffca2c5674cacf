//! Callers who send their next request when the last is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use tonic::Status;

use super::Scale;

/// Connections that the callers share: with fewer, one connection's lock is
/// what is measured; with one for each caller, its memory.
pub(super) const CONNECTIONS: usize = 8;

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

/// Runs callers for a while. `call` does one call: of which caller, and the
/// how many'th it is of all.
pub(super) async fn run<C, F>(name: &str, callers: usize, scale: Scale, call: C) -> Measured
where
    C: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Status>> + Send,
{
    let call = Arc::new(call);
    let counter = Arc::new(AtomicU64::new(0));
    let start = Instant::now() + scale.warm_up;
    let end = start + scale.measure;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (call, counter) = (Arc::clone(&call), Arc::clone(&counter));
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut refused = 0_u64;
                loop {
                    let sent = Instant::now();
                    if sent >= end {
                        return (times, refused);
                    }
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let answer = call(caller, number).await;
                    let answered = Instant::now();
                    if answered < start || answered > end {
                        continue;
                    }
                    match answer {
                        Ok(()) => {
                            let micros = (answered - sent).as_micros();
                            times.push(u32::try_from(micros).unwrap_or(u32::MAX));
                        }
                        Err(status) => {
                            if refused == 0 {
                                eprintln!("refused: {status}");
                            }
                            refused += 1;
                        }
                    }
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    let mut refused = 0;
    for task in tasks {
        if let Ok((some, of_caller)) = task.await {
            times.extend(some);
            refused += of_caller;
        }
    }
    let mut measured = Measured::of(name, callers, scale.measure, &mut times);
    measured.refused = refused;
    super::say(&measured);
    measured
}
