//! The ledger's own figures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use fealty_points::audit::verify::{Options, verify};
use fealty_postgres::Database;
use fealty_program::Program;
use fealty_proto::points::v1::{
    BatchAccrueRequest, BatchGetBalancesRequest, Consistency, batch_accrue_response::Outcome,
    earning_service_client::EarningServiceClient, ledger_service_client::LedgerServiceClient,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Scale,
    fill::{Ledger, member_name},
    measured::{self, Measured},
    report::Report,
    say,
    service::Service,
};
use crate::{
    demo,
    import::csv_file,
    load::{
        callers::{CONNECTIONS, Span},
        calls::{Call, Connection, Subject, spread},
    },
};

/// Numbers the runs, so that no request id is used twice.
static RUN: AtomicU64 = AtomicU64::new(0);
/// How often accruals are measured with tokens and without.
const TOKEN_TURNS: usize = 3;
/// How long a year's end may be swept.
const SWEEP_MAX: Duration = Duration::from_mins(15);
/// Requests of a stream that wait to be sent.
const STREAM_LEN: usize = 4_096;

/// What the bench's programme has.
fn subject() -> Subject {
    let [program, brand, currency, money] = ["bench", "shop", "points", "EUR"].map(str::to_owned);
    Subject {
        program,
        brand,
        currency,
        money,
        ..Subject::default()
    }
}

/// Whose wallets the calls are for.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    /// Those of so many members, in turn.
    AllOf(usize),
    /// One member's.
    One,
}

impl Whose {
    fn member(self, number: u64) -> String {
        match self {
            Self::AllOf(members) => member_name(spread(number, members)),
            Self::One => "the-one".to_owned(),
        }
    }
}

async fn measure(
    service: &Service,
    name: &str,
    callers: usize,
    call: Call,
    scale: Scale,
    whose: Whose,
) -> Measured {
    measure_of(service, (name, callers), (call, subject()), scale, whose).await
}

/// Measures calls that name other things than the bench's own programme.
pub(super) async fn measure_of(
    service: &Service,
    (name, callers): (&str, usize),
    (call, subject): (Call, Subject),
    scale: Scale,
    whose: Whose,
) -> Measured {
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let channels = service.channels.clone();
    let subject = Arc::new(subject);
    measured::measure(name, callers, scale, move |caller, number| {
        let channel = channels[caller % CONNECTIONS].clone();
        let subject = Arc::clone(&subject);
        async move {
            let request_id = format!("{run}-{number}");
            let member = whose.member(number);
            subject.call(channel, call, request_id, member).await
        }
    })
    .await
}

/// Measures on a ledger of 100,000 members.
pub(super) async fn small_ledger(
    service: &Service,
    ledger: &Ledger,
    scale: Scale,
    wants: &impl Fn(&str) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let all = Whose::AllOf(ledger.members);
    let measures = [
        ("accrue", Call::Accrue, all, &[1, 64, 512][..]),
        ("purchase", Call::Purchase, all, &[1, 64, 512]),
        ("redeem", Call::Redeem, all, &[1, 64, 512]),
        ("hold_capture", Call::HoldCapture, all, &[1, 64, 512]),
        ("one_member", Call::Accrue, Whose::One, &[512]),
        ("balance_cached", Call::Balance, all, &[1, 64, 512]),
        ("balance_strong", Call::StrongBalance, all, &[1, 64, 512]),
    ];
    for (name, call, whose, all_callers) in measures {
        for callers in all_callers {
            let name = format!("{name}_{callers}");
            if !wants(&name) {
                continue;
            }
            if call == Call::Balance {
                warm_cache(service, ledger.members).await?;
            }
            report.settle().await?;
            let before = report.disk("small")?;
            let measured = measure(service, &name, *callers, call, scale, whose).await;
            if name == "accrue_512" {
                report.disk_used("accrual", before, report.disk("small")?);
            }
            report.add(measured);
        }
    }
    if wants("batch_accrue") {
        report.settle().await?;
        report.add(batch_accrue(service, ledger.members, scale).await?);
    }
    report.memory(service.peak_memory_mb()?);
    Ok(())
}

/// Measures accruals with tokens, and by an instance that asks for none, in turn,
/// so that what else the machine does meets both.
pub(super) async fn tokens(
    known: &Service,
    open: &Service,
    ledger: &Ledger,
    scale: Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    let all = Whose::AllOf(ledger.members);
    for _ in 0..TOKEN_TURNS {
        for (name, service) in [("with_token", known), ("without_token", open)] {
            report.settle().await?;
            report.add(measure(service, name, 512, Call::Accrue, scale, all).await);
        }
    }
    Ok(())
}

/// Reads every balance once, so that all are in the cache.
async fn warm_cache(service: &Service, members: usize) -> anyhow::Result<()> {
    let mut ledger = LedgerServiceClient::new(service.channels[0].clone());
    let members: Vec<String> = (0..members).map(member_name).collect();
    for some in members.chunks(1_000) {
        let request = BatchGetBalancesRequest {
            program: "bench".to_owned(),
            members: some.to_vec(),
            currency: "points".to_owned(),
            consistency: Consistency::Cached.into(),
        };
        ledger.batch_get_balances(request).await?;
    }
    Ok(())
}

/// Measures one stream per connection, as full as the service takes it.
async fn batch_accrue(service: &Service, members: usize, scale: Scale) -> anyhow::Result<Measured> {
    const STREAMS: usize = 2;
    let start = Instant::now() + scale.warm_up;
    let span = Span {
        start,
        end: start + scale.measure,
    };
    let counter = Arc::new(AtomicU64::new(0));
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let streams = service.channels.iter().take(STREAMS).cloned();
    let tasks: Vec<_> = streams
        .map(|channel| {
            let counter = Arc::clone(&counter);
            tokio::spawn(stream(channel, run, counter, members, span))
        })
        .collect();
    let (mut times, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (some, of_stream) = task.await?.context("a stream broke")?;
        times.extend(some);
        refused += of_stream;
    }
    let mut measured = Measured::of("batch_accrue", STREAMS, scale.measure, &mut times);
    measured.refused = refused;
    say(&measured);
    Ok(measured)
}

/// Accrues over one stream; answers with the times of the answers in
/// microseconds, and how many were refused.
async fn stream(
    channel: Connection,
    run: u64,
    counter: Arc<AtomicU64>,
    members: usize,
    span: Span,
) -> anyhow::Result<(Vec<u32>, u64)> {
    let micros = move || i64::try_from(span.start.elapsed().as_micros()).unwrap_or(0);
    let (requests, sent) = mpsc::channel(STREAM_LEN);
    let subject = subject();
    let sender = tokio::spawn(async move {
        while Instant::now() < span.end {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let member = member_name(spread(number, members));
            let request = BatchAccrueRequest {
                sequence: micros(),
                accrual: Some(subject.accrual(format!("{run}-{number}"), member)),
            };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    let mut client = LedgerServiceClient::new(channel);
    let answers = client.batch_accrue(ReceiverStream::new(sent)).await?;
    let mut answers = answers.into_inner();
    let (mut times, mut refused) = (Vec::new(), 0_u64);
    while let Some(answer) = answers.message().await? {
        let now = Instant::now();
        if now < span.start || now > span.end {
            continue;
        }
        match answer.outcome {
            Some(Outcome::Accrued(_)) => {
                times.push(u32::try_from(micros() - answer.sequence).unwrap_or(0));
            }
            _ => refused += 1,
        }
    }
    sender.await?;
    Ok((times, refused))
}

/// Measures how fast the record shop's purchases of eighteen months are imported.
pub(super) async fn import(service: &Service) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("purchases.csv");
    std::fs::write(&file, demo::csv(demo::PURCHASES)?)?;
    let program = Program::parse(demo::PROGRAM)?.program;
    let client = EarningServiceClient::new(service.operator.clone());
    let begun = Instant::now();
    let recorded = csv_file(client, program, (&file, "member")).await?;
    let took = begun.elapsed();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let measured = Measured {
        per_second: recorded * 1_000 / millis,
        ..Measured::of("import_purchases", 1, took, &mut [])
    };
    say(&measured);
    Ok(measured)
}

/// Measures accruals on a large ledger and on the small one, turn by turn.
pub(super) async fn large_ledger(
    small: &Service,
    small_ledger: &Ledger,
    large: &Service,
    large_ledger: &Ledger,
    scale: Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..2 {
        for (name, service, ledger) in [
            ("large_accrue_512", large, large_ledger),
            ("small_accrue_512", small, small_ledger),
        ] {
            let all = Whose::AllOf(ledger.members);
            report.settle().await?;
            report.add(measure(service, name, 512, Call::Accrue, scale, all).await);
        }
    }
    Ok(())
}

/// Measures accruals while all wallets of a ledger are swept, for their points have expired,
/// and when they have been.
pub(super) async fn year_end(
    service: &Service,
    ledger: &Ledger,
    scale: Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    for name in ["year_end_accrue_512", "year_over_accrue_512"] {
        let all = Whose::AllOf(ledger.members);
        report.settle().await?;
        report.add(measure(service, name, 512, Call::Accrue, scale, all).await);
        let due = report.due("year_end")?;
        if name == "year_end_accrue_512" {
            anyhow::ensure!(due > 0, "the sweep was over before the measure");
            eprintln!("{due} wallets of {} are still due", ledger.members);
        }
        while report.due("year_end")? > 0 {
            anyhow::ensure!(begun.elapsed() < SWEEP_MAX, "the sweep does not end");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        eprintln!("nothing is due after {} s", begun.elapsed().as_secs());
    }
    Ok(())
}

/// Verifies a ledger, and measures that.
pub(super) async fn verified(url: &str, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::open_within(url, 1, fealty_postgres::Limits::LONG_READ).await?;
    let begun = Instant::now();
    let verified = verify(&database, &Options::default(), |_, _| {}).await?;
    anyhow::ensure!(verified.debits_equal_credits, "debits do not equal credits");
    let millis = u64::try_from(begun.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let transactions = u64::try_from(verified.transactions).unwrap_or(0);
    report.verified(transactions * 1_000 / millis);
    Ok(())
}
