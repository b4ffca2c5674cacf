//! `fealty member`

use std::time::Duration;

use clap::{Args, Subcommand};
use fealty_client::{Deadline, call};
use fealty_proto::{
    points::v1::{
        AccountKind, ExplainTransactionRequest, GetCountersRequest, GetReferralRequest,
        ListBalancesRequest, ListTransactionsRequest, ReferralState, Transaction, TransactionKind,
    },
    program::v1::GetProgramOutlineRequest,
    rewards::v1::{Availability, ListRewardsRequest},
    tiers::v1::GetStatusRequest,
    r#type::v1::Money,
};

use jiff::tz::TimeZone;
use tonic::Code;

use crate::endpoints::{Clients, Endpoints};

/// Look at members.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a member's points, counters, tier, rewards and last transactions.
    Show(Show),
    /// Say of a transaction how it came to be, and of every rule what it gave or why not.
    Explain(Explain),
}

/// Show a member.
#[derive(Args, Debug)]
pub struct Show {
    /// The member's id.
    member: String,
    /// The programme's id.
    #[arg(long, default_value = "record-club")]
    program: String,
    /// How many transactions to show.
    #[arg(long, default_value_t = 10)]
    transactions: i32,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Explain a transaction.
#[derive(Args, Debug)]
pub struct Explain {
    /// The transaction's id.
    transaction: String,
    /// The programme's id.
    #[arg(long, default_value = "record-club")]
    program: String,
    #[command(flatten)]
    endpoints: Endpoints,
}

const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the subcommand.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(show) => {
            let clients = Clients::connect(&show.endpoints)?;
            let shown = show_program(&clients, &show).await?;
            show_wallets(&clients, &show, &shown).await?;
            show_counters(&clients, &show, &shown).await?;
            show_referral(&clients, &show, &shown).await?;
            show_status(&clients, &show, &shown).await?;
            show_rewards(&clients, &show).await?;
            show_transactions(&clients, &show, &shown).await
        }
        Command::Explain(explain) => self::explain(explain).await,
    }
}

async fn explain(explain: Explain) -> anyhow::Result<()> {
    let clients = Clients::connect(&explain.endpoints)?;
    let request = ExplainTransactionRequest {
        program: explain.program,
        transaction: explain.transaction,
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.explain_transaction(request).await }
    });
    for step in read.await.map_err(told)?.steps {
        println!("{}", step.text);
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// A member's programme, as far as amounts and dates go by it.
struct Shown {
    /// The code of its money.
    money: String,
    zone: TimeZone,
}

impl Shown {
    /// A date in the programme's zone.
    fn date(&self, time: prost_types::Timestamp) -> String {
        let moment = jiff::Timestamp::from_second(time.seconds).unwrap_or_default();
        let local = moment.to_zoned(self.zone.clone());
        local.strftime("%Y-%m-%d").to_string()
    }
}

/// Says whose points these are; answers with what is shown by.
async fn show_program(clients: &Clients, show: &Show) -> anyhow::Result<Shown> {
    let [(_, client), ..] = clients.programs();
    let request = GetProgramOutlineRequest {
        program: show.program.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.get_program_outline(request).await }
    });
    let outline = read.await.map_err(told)?.outline.unwrap_or_default();
    println!(
        "member {} of {} (version {})",
        show.member, outline.program, outline.version
    );
    Ok(Shown {
        money: outline.money_currency_code,
        zone: TimeZone::get(&outline.time_zone).unwrap_or(TimeZone::UTC),
    })
}

async fn show_wallets(clients: &Clients, show: &Show, shown: &Shown) -> anyhow::Result<()> {
    let request = ListBalancesRequest {
        program: show.program.clone(),
        member: show.member.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.list_balances(request).await }
    });
    for wallet in read.await.map_err(told)?.wallets {
        let balance = wallet.balance.unwrap_or_default();
        println!("  {}: {} available", balance.currency, balance.available);
        for (name, points) in [
            ("pending", balance.pending),
            ("held", balance.held),
            ("owed", balance.debt),
        ] {
            if points > 0 {
                println!("    {points} {name}");
            }
        }
        if let Some(soonest) = wallet.expiries.first() {
            let date = soonest
                .expiry_time
                .map(|time| shown.date(time))
                .unwrap_or_default();
            println!("    {} gone on {date}", soonest.points);
        }
        if let (1.., Some(time)) = (wallet.expiring_with_inactivity, balance.inactive_time) {
            let (points, date) = (wallet.expiring_with_inactivity, shown.date(time));
            println!("    {points} gone on {date}, if nothing is done before");
        }
    }
    Ok(())
}

async fn show_counters(clients: &Clients, show: &Show, shown: &Shown) -> anyhow::Result<()> {
    let request = GetCountersRequest {
        program: show.program.clone(),
        member: show.member.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.earning(), request.clone());
        async move { client.get_counters(request).await }
    });
    for counter in read.await.map_err(told)?.counters {
        let ends = counter.period_end_time.map(|time| shown.date(time));
        let ends = ends.map_or(String::new(), |date| format!(", until {date}"));
        let told = |value: i64| {
            if !counter.money {
                return value.to_string();
            }
            money(Some(&Money {
                currency_code: shown.money.clone(),
                minor_units: value,
            }))
        };
        println!("  {}: {}{ends}", counter.counter, told(counter.value));
        for goal in &counter.goals {
            println!("    at {}: rule {}", told(goal.value), goal.rule);
        }
    }
    Ok(())
}

/// What the member has claimed, if it was brought by another.
async fn show_referral(clients: &Clients, show: &Show, shown: &Shown) -> anyhow::Result<()> {
    let request = GetReferralRequest {
        program: show.program.clone(),
        member: show.member.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.referrals(), request.clone());
        async move { client.get_referral(request).await }
    });
    let referral = match read.await {
        Ok(read) => read.referral.unwrap_or_default(),
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        Err(status) => return Err(told(status)),
    };
    let date = |time: Option<prost_types::Timestamp>| time.map(|time| shown.date(time));
    let state = match (referral.state(), date(referral.due_time)) {
        (ReferralState::Given, _) => "both sides are given".to_owned(),
        (ReferralState::Void, _) => "nothing comes of it".to_owned(),
        (_, Some(due)) => format!("both sides are given on {due}, if the purchase stays"),
        (_, None) => "waits for a purchase that stays".to_owned(),
    };
    let claimed = date(referral.claim_time).unwrap_or_default();
    println!("  brought by another, claimed {claimed}: {state}");
    Ok(())
}

fn money(money: Option<&Money>) -> String {
    let shown = money.and_then(|money| {
        let currency = money.currency_code.parse().ok()?;
        fealty_types::Money::new(currency, money.minor_units).ok()
    });
    shown.map_or_else(String::new, |money| money.to_string())
}

async fn show_status(clients: &Clients, show: &Show, shown: &Shown) -> anyhow::Result<()> {
    let request = GetStatusRequest {
        program: show.program.clone(),
        member: show.member.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.tier(), request.clone());
        async move { client.get_status(request).await }
    });
    let status = match read.await {
        Ok(read) => read.status.unwrap_or_default(),
        // The programme is there; it has no tiers.
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        Err(status) => return Err(told(status)),
    };
    let until = status
        .evaluation_time
        .map(|time| format!(", judged on {}", shown.date(time)));
    println!(
        "  tier: {}{}; {} spent in the window",
        status.tier,
        until.unwrap_or_default(),
        money(status.spent.as_ref())
    );
    if let Some(next) = status.next_tier {
        for needed in next.requirements {
            let missing = Money {
                minor_units: (needed.needed - needed.now).max(0),
                currency_code: needed.currency_code,
            };
            println!("    {} to {}", money(Some(&missing)), next.tier);
        }
    }
    Ok(())
}

async fn show_rewards(clients: &Clients, show: &Show) -> anyhow::Result<()> {
    let request = ListRewardsRequest {
        program: show.program.clone(),
        member: show.member.clone(),
        ..Default::default()
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.catalog(), request.clone());
        async move { client.list_rewards(request).await }
    });
    let rewards = read.await.map_err(told)?.rewards;
    if !rewards.is_empty() {
        println!("  rewards:");
    }
    for offer in rewards {
        let state = match offer.availability() {
            Availability::Available => "can be had".to_owned(),
            Availability::InsufficientPoints => format!("{} points missing", offer.missing_points),
            Availability::SoldOut => "sold out".to_owned(),
            Availability::Unspecified => String::new(),
        };
        println!(
            "    {:<20} {:>7} points  {state}",
            offer.display_name, offer.points
        );
    }
    Ok(())
}

async fn show_transactions(clients: &Clients, show: &Show, shown: &Shown) -> anyhow::Result<()> {
    let request = ListTransactionsRequest {
        program: show.program.clone(),
        member: show.member.clone(),
        page_size: show.transactions,
        ..ListTransactionsRequest::default()
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.list_transactions(request).await }
    });
    println!("  last transactions:");
    for transaction in read.await.map_err(told)?.transactions {
        let after = transaction.balances.iter();
        let after = after.map(|balance| format!("{} {}", balance.available, balance.currency));
        let after = after.collect::<Vec<_>>().join(", ");
        let kind = TransactionKind::try_from(transaction.kind).unwrap_or_default();
        let kind = kind
            .as_str_name()
            .trim_start_matches("TRANSACTION_KIND_")
            .to_lowercase();
        println!(
            "    {}  {:<30} {:<14} {:>+8}  -> {after}",
            transaction
                .effective_time
                .map(|time| shown.date(time))
                .unwrap_or_default(),
            transaction.id,
            kind,
            change(&transaction),
        );
    }
    Ok(())
}

/// What a transaction did to the available points.
fn change(transaction: &Transaction) -> i64 {
    let available = |account: Option<&fealty_proto::points::v1::Account>| {
        account.is_some_and(|account| account.kind() == AccountKind::Available)
    };
    transaction
        .transfers
        .iter()
        .map(|transfer| {
            let credited = i64::from(available(transfer.credit.as_ref())) * transfer.amount;
            credited - i64::from(available(transfer.debit.as_ref())) * transfer.amount
        })
        .sum()
}
