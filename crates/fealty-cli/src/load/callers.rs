//! Callers who send their next request when the last is answered.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;
use tonic::Status;

/// Connections that the callers share: with fewer, one connection's lock is
/// what is measured; with one for each caller, its memory.
pub(crate) const CONNECTIONS: usize = 8;

/// From when to when it is measured; callers begin at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Answers before are not counted.
    pub(crate) start: Instant,
    /// From here on no request is sent; later answers are not counted.
    pub(crate) end: Instant,
}

/// An answer within the span.
pub(crate) struct Answered {
    /// Which caller's.
    pub(crate) caller: usize,
    /// The number of its request.
    pub(crate) number: u64,
    /// How long it took, in microseconds.
    pub(crate) micros: u32,
    /// What came.
    pub(crate) answer: Result<(), Status>,
}

/// Runs callers over a span. `call` does one call: of which caller, and the
/// how many'th it is of all; `record` hears of the answers.
pub(crate) async fn run<C, F, R>(callers: usize, span: Span, call: C, record: R)
where
    C: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Status>> + Send,
    R: Fn(Answered) + Send + Sync + 'static,
{
    let call = Arc::new(call);
    let record = Arc::new(record);
    let counter = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (call, record) = (Arc::clone(&call), Arc::clone(&record));
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                loop {
                    let sent = Instant::now();
                    if sent >= span.end {
                        return;
                    }
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let answer = call(caller, number).await;
                    let answered = Instant::now();
                    if answered < span.start || answered > span.end {
                        continue;
                    }
                    let micros = (answered - sent).as_micros();
                    record(Answered {
                        caller,
                        number,
                        micros: u32::try_from(micros).unwrap_or(u32::MAX),
                        answer,
                    });
                }
            })
        })
        .collect();
    for task in tasks {
        // A caller that panicked has said so.
        let _ = task.await;
    }
}
