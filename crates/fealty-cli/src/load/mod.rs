//! `fealty load`: sends the bench's calls to services that already run, at one
//! or several addresses, and shows rate and percentiles as they come. For sizing
//! an installation of one's own, for two instances, for a distributed Postgres.
//!
//! `calls` is what is sent, `callers` who sends it, `mix` how much of which,
//! `tally` what is counted; the bench stands on the first two.

pub(crate) mod callers;
pub(crate) mod calls;
mod mix;
mod tally;

use std::{sync::Arc, time::Duration};

use clap::Args;
use fealty_client::{Channel, Credentials, connect};
use fealty_proto::{
    points::v1::{GetLogHeadsRequest, audit_service_client::AuditServiceClient},
    program::v1::{ApplyProgramRequest, program_service_client::ProgramServiceClient},
};
use fealty_types::{MemberId, ProgramId, shard_of};
use secrecy::SecretString;
use tokio::time::Instant;

use calls::{Subject, spread};
use mix::Mix;
use tally::Tally;

use crate::endpoints::Shown;

/// How often the figures so far are shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);
/// The longest run: a load ends by itself.
const SECONDS_MAX: u64 = 24 * 60 * 60;
/// The most callers: each has a request under way.
const CALLERS_MAX: u32 = 10_000;

/// Send calls to points services that already run, and measure them.
///
/// Every caller sends its next request when the last is answered; callers are
/// spread over the addresses in turn. The members are load-0000001 and on.
/// Redemptions are of one point: begin with accruals, or mix them in. The token is a
/// till's (the role checkout); --by-shard needs service as well.
#[derive(Args, Debug)]
pub struct Arguments {
    /// URLs of points services, separated by commas.
    #[arg(
        long,
        env = "FEALTY_POINTS_URL",
        default_value = "http://127.0.0.1:7001",
        value_delimiter = ','
    )]
    points: Vec<String>,
    /// Calls and how many of each: accrue, purchase, redeem, `hold_capture`, balance,
    /// `strong_balance`.
    #[arg(long, default_value = "accrue=1")]
    mix: Mix,
    /// Callers at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=i64::from(CALLERS_MAX)))]
    callers: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Seconds to run before, without counting.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=SECONDS_MAX))]
    warm_up: u64,
    /// Members that the calls are for.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    members: u32,
    /// The programme.
    #[arg(long, default_value = "bench")]
    program: String,
    /// A brand of it.
    #[arg(long, default_value = "shop")]
    brand: String,
    /// A currency of it.
    #[arg(long, default_value = "points")]
    currency: String,
    /// Its money, for purchases.
    #[arg(long, default_value = "EUR")]
    money: String,
    /// Send each member's calls to the address that its shard belongs to, so that
    /// instances seldom write to the same shard.
    #[arg(long)]
    by_shard: bool,
    /// Apply the bench's programme (five rules) first: with --apply-token, or with
    /// --token if that one's caller is an operator too. (What operators change is
    /// recorded, which takes longer: measure with the token of a till.)
    #[arg(long)]
    apply: bool,
    /// The token of an operator, for --apply.
    #[arg(
        long,
        env = "FEALTY_APPLY_TOKEN",
        hide_env_values = true,
        requires = "apply"
    )]
    apply_token: Option<SecretString>,
    /// Print one JSON object with the figures as the last line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Which shard a member lives in.
struct Homes {
    program: ProgramId,
    shards: u16,
}

impl Homes {
    /// Asks a service how many shards there are.
    async fn of(channel: Channel, program: &str) -> anyhow::Result<Self> {
        let mut audit = AuditServiceClient::new(channel);
        let heads = audit.get_log_heads(GetLogHeadsRequest {}).await?;
        Ok(Self {
            program: program.parse()?,
            shards: u16::try_from(heads.into_inner().heads.len())?,
        })
    }

    fn of_member(&self, member: &str) -> usize {
        // A member's name that is none is refused by the service.
        let member = member.parse::<MemberId>().ok();
        member.map_or(0, |member| {
            usize::from(shard_of(&self.program, &member, self.shards).get())
        })
    }
}

/// Applies the bench's programme.
async fn apply(channel: Channel) -> anyhow::Result<()> {
    let request = ApplyProgramRequest {
        source: crate::bench::PROGRAM.to_owned(),
        request_id: crate::apply::request_id(),
        ..ApplyProgramRequest::default()
    };
    let mut programs = ProgramServiceClient::new(channel);
    programs.apply_program(request).await?;
    Ok(())
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let shown = arguments.shown.credentials();
    let mut addresses: Vec<Vec<Channel>> = Vec::new();
    for url in &arguments.points {
        let channels = (0..callers::CONNECTIONS).map(|_| Ok(connect(url, &shown)?));
        addresses.push(channels.collect::<anyhow::Result<_>>()?);
    }
    let first = addresses[0][0].clone();
    if arguments.apply {
        let operator = Credentials {
            token: arguments.apply_token.or_else(|| shown.token.clone()),
            ..shown.clone()
        };
        apply(connect(&arguments.points[0], &operator)?).await?;
    }
    let by_shard = if arguments.by_shard {
        Some(Homes::of(first, &arguments.program).await?)
    } else {
        None
    };
    let subject = Arc::new(Subject {
        program: arguments.program,
        brand: arguments.brand,
        currency: arguments.currency,
        money: arguments.money,
        ..Subject::default()
    });
    let start = Instant::now() + Duration::from_secs(arguments.warm_up);
    let end = start + Duration::from_secs(arguments.seconds);
    let span = callers::Span { start, end };
    let members = usize::try_from(arguments.members)?;
    // No request id or order number of an earlier run comes again.
    let run = format!("{:08x}", rand::random::<u32>());
    let mix = Arc::new(arguments.mix);
    let call = {
        let mix = Arc::clone(&mix);
        move |caller: usize, number: u64| {
            let (subject, call) = (Arc::clone(&subject), mix.at(number));
            let request_id = format!("load-{run}-{number}");
            let member = format!("load-{:07}", spread(number, members) + 1);
            let home = by_shard
                .as_ref()
                .map_or(caller, |homes| homes.of_member(&member));
            let channels = &addresses[home % addresses.len()];
            let channel = channels[caller % channels.len()].clone();
            async move { subject.call(channel, call, request_id, member).await }
        }
    };
    let tally = Arc::new(Tally::new(mix));
    let record = {
        let tally = Arc::clone(&tally);
        move |answered| tally.record(answered)
    };
    let callers = usize::try_from(arguments.callers)?;
    let running = callers::run(callers, span, call, record);
    let showing = async {
        tokio::time::sleep_until(start).await;
        while Instant::now() < end {
            tokio::time::sleep_until((Instant::now() + SHOWN_EVERY).min(end)).await;
            eprintln!("{}", tally.since_last(start.elapsed()));
        }
    };
    tokio::join!(running, showing);
    let whole = tally.whole(Duration::from_secs(arguments.seconds));
    println!("{}", whole.table());
    if arguments.json {
        println!("{}", serde_json::to_string(&whole)?);
    }
    Ok(())
}
