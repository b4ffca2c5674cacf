//! The ledger's own figures.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Context as _;
use fealty_client::Channel;
use fealty_points::app::verify::{Options, verify};
use fealty_postgres::Database;
use fealty_proto::{
    points::v1::{
        AccrueRequest, BatchAccrueRequest, BatchGetBalancesRequest, CaptureRequest, Consistency,
        GetBalanceRequest, HoldRequest, RecordPurchaseRequest, RedeemRequest,
        batch_accrue_response::Outcome, earning_service_client::EarningServiceClient,
        ledger_service_client::LedgerServiceClient,
    },
    r#type::v1::Money,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Scale,
    fill::{Ledger, member_name},
    load::{self, CONNECTIONS, Measured},
    report::Report,
    say,
    service::Service,
};

/// Numbers the runs, so that no request id is used twice.
static RUN: AtomicU64 = AtomicU64::new(0);
/// Requests of a stream that wait to be sent.
const STREAM_LEN: usize = 4_096;

/// A caller's member: spread over all of them, the same in every run.
fn member(number: u64, members: usize) -> String {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    member_name(usize::try_from(spread).unwrap_or(0) % members)
}

fn accrual(request_id: String, member: String) -> AccrueRequest {
    AccrueRequest {
        request_id,
        program: "bench".to_owned(),
        member,
        brand: "shop".to_owned(),
        currency: "points".to_owned(),
        points: 100,
        ..AccrueRequest::default()
    }
}

/// What a caller does.
#[derive(Clone, Copy)]
enum Kind {
    Accrue,
    OneMember,
    Purchase,
    Redeem,
    HoldCapture,
    Balance(Consistency),
}

async fn one(
    channel: Channel,
    kind: Kind,
    run: u64,
    number: u64,
    members: usize,
) -> Result<(), Status> {
    let request_id = format!("{run}-{number}");
    let member = match kind {
        Kind::OneMember => "the-one".to_owned(),
        _ => member(number, members),
    };
    let (program, brand, currency) = ("bench".to_owned(), "shop".to_owned(), "points".to_owned());
    let mut ledger = LedgerServiceClient::new(channel.clone());
    match kind {
        Kind::Accrue | Kind::OneMember => {
            ledger.accrue(accrual(request_id, member)).await.map(drop)
        }
        Kind::Purchase => {
            let request = RecordPurchaseRequest {
                order_number: request_id.clone(),
                request_id,
                program,
                member,
                brand,
                amount: Some(Money {
                    currency_code: "EUR".to_owned(),
                    minor_units: 4_995,
                }),
                purchase_time: None,
            };
            let mut earning = EarningServiceClient::new(channel);
            earning.record_purchase(request).await.map(drop)
        }
        Kind::Redeem => {
            let request = RedeemRequest {
                request_id,
                program,
                member,
                brand,
                currency,
                points: 1,
                reference: String::new(),
            };
            ledger.redeem(request).await.map(drop)
        }
        Kind::HoldCapture => {
            let request = HoldRequest {
                request_id,
                program: program.clone(),
                member: member.clone(),
                brand,
                currency,
                points: 1,
                timeout: None,
                reference: String::new(),
            };
            let held = ledger.hold(request).await?.into_inner();
            let request = CaptureRequest {
                request_id: format!("{run}-{number}-capture"),
                program,
                member,
                hold: held.hold,
                points: 0,
                r#final: true,
            };
            ledger.capture(request).await.map(drop)
        }
        Kind::Balance(consistency) => {
            let request = GetBalanceRequest {
                program,
                member,
                currency,
                consistency: consistency.into(),
                moment: None,
            };
            ledger.get_balance(request).await.map(drop)
        }
    }
}

async fn measure(
    service: &Service,
    name: &str,
    callers: usize,
    kind: Kind,
    scale: Scale,
    members: usize,
) -> Measured {
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let channels = service.channels.clone();
    load::run(name, callers, scale, move |caller, number| {
        let channel = channels[caller % CONNECTIONS].clone();
        one(channel, kind, run, number, members)
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
    let cached = Kind::Balance(Consistency::Cached);
    let strong = Kind::Balance(Consistency::Strong);
    let kinds = [
        ("accrue", Kind::Accrue, &[1, 64, 512][..]),
        ("purchase", Kind::Purchase, &[1, 64, 512]),
        ("redeem", Kind::Redeem, &[1, 64, 512]),
        ("hold_capture", Kind::HoldCapture, &[1, 64, 512]),
        ("one_member", Kind::OneMember, &[512]),
        ("balance_cached", cached, &[1, 64, 512]),
        ("balance_strong", strong, &[1, 64, 512]),
    ];
    for (name, kind, all_callers) in kinds {
        for callers in all_callers {
            let name = format!("{name}_{callers}");
            if !wants(&name) {
                continue;
            }
            if matches!(kind, Kind::Balance(Consistency::Cached)) {
                warm_cache(service, ledger.members).await?;
            }
            report.settle().await?;
            let before = report.disk("small")?;
            let measured = measure(service, &name, *callers, kind, scale, ledger.members).await;
            if name == "accrue_512" {
                report.disk_used(before, report.disk("small")?);
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
    let end = start + scale.measure;
    let counter = Arc::new(AtomicU64::new(0));
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let mut tasks = Vec::new();
    for channel in service.channels.iter().take(STREAMS).cloned() {
        let counter = Arc::clone(&counter);
        tasks.push(tokio::spawn(async move {
            let (requests, sent) = mpsc::channel(STREAM_LEN);
            let sender = tokio::spawn(async move {
                while Instant::now() < end {
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let accrual = accrual(format!("{run}-{number}"), member(number, members));
                    let request = BatchAccrueRequest {
                        sequence: i64::try_from(start.elapsed().as_micros()).unwrap_or(0),
                        accrual: Some(accrual),
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
                if now < start || now > end {
                    continue;
                }
                match answer.outcome {
                    Some(Outcome::Accrued(_)) => {
                        let at = i64::try_from(start.elapsed().as_micros()).unwrap_or(0);
                        times.push(u32::try_from(at - answer.sequence).unwrap_or(0));
                    }
                    _ => refused += 1,
                }
            }
            sender.await?;
            anyhow::Ok((times, refused))
        }));
    }
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
            let members = ledger.members;
            report.settle().await?;
            report.add(measure(service, name, 512, Kind::Accrue, scale, members).await);
        }
    }
    Ok(())
}

/// Verifies a ledger, and measures that.
pub(super) async fn verified(url: &str, report: &mut Report) -> anyhow::Result<()> {
    let database = Database::open(url, 1)?;
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
