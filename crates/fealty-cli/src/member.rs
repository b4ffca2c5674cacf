//! `fealty member`

use std::time::Duration;

use clap::{Args, Subcommand};
use fealty_client::{Deadline, call};
use fealty_proto::{
    points::v1::{
        AccountKind, GetBalanceRequest, ListTransactionsRequest, Transaction, TransactionKind,
    },
    program::v1::GetProgramRequest,
    rewards::v1::{Availability, ListRewardsRequest},
    tiers::v1::GetStatusRequest,
    r#type::v1::Money,
};

use crate::endpoints::{Clients, Endpoints};

/// Look at members.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a member's points, tier, rewards and last transactions.
    Show(Show),
}

/// Show a member.
#[derive(Args, Debug)]
pub struct Show {
    /// The member's id.
    member: String,
    /// The programme's id.
    #[arg(long, default_value = "record-club")]
    program: String,
    /// The currency of points.
    #[arg(long, default_value = "points")]
    currency: String,
    /// How many transactions to show.
    #[arg(long, default_value_t = 10)]
    transactions: i32,
    #[command(flatten)]
    endpoints: Endpoints,
}

const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the subcommand.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Show(show) = command;
    let clients = Clients::connect(&show.endpoints)?;
    show_program(&clients, &show).await?;
    show_balance(&clients, &show).await?;
    show_status(&clients, &show).await?;
    show_rewards(&clients, &show).await?;
    show_transactions(&clients, &show).await
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

async fn show_program(clients: &Clients, show: &Show) -> anyhow::Result<()> {
    let [(_, client), ..] = clients.programs();
    let request = GetProgramRequest {
        program: show.program.clone(),
        version: None,
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.get_program(request).await }
    });
    let version = read.await.map_err(told)?.version.unwrap_or_default();
    println!(
        "member {} of {} (version {})",
        show.member, version.program, version.version
    );
    Ok(())
}

async fn show_balance(clients: &Clients, show: &Show) -> anyhow::Result<()> {
    let request = GetBalanceRequest {
        program: show.program.clone(),
        member: show.member.clone(),
        currency: show.currency.clone(),
        ..GetBalanceRequest::default()
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.get_balance(request).await }
    });
    let balance = read.await.map_err(told)?.balance.unwrap_or_default();
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
    Ok(())
}

fn money(money: Option<&Money>) -> String {
    let shown = money.and_then(|money| {
        let currency = money.currency_code.parse().ok()?;
        fealty_types::Money::new(currency, money.minor_units).ok()
    });
    shown.map_or_else(String::new, |money| money.to_string())
}

async fn show_status(clients: &Clients, show: &Show) -> anyhow::Result<()> {
    let request = GetStatusRequest {
        program: show.program.clone(),
        member: show.member.clone(),
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.tier(), request.clone());
        async move { client.get_status(request).await }
    });
    let status = read.await.map_err(told)?.status.unwrap_or_default();
    let until = status
        .evaluation_time
        .map(|time| format!(", judged on {}", date(time)));
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
    println!("  rewards:");
    for offer in read.await.map_err(told)?.rewards {
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

async fn show_transactions(clients: &Clients, show: &Show) -> anyhow::Result<()> {
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
        let after = transaction
            .balances
            .first()
            .map_or(0, |balance| balance.available);
        let kind = TransactionKind::try_from(transaction.kind).unwrap_or_default();
        let kind = kind
            .as_str_name()
            .trim_start_matches("TRANSACTION_KIND_")
            .to_lowercase();
        println!(
            "    {}  {:<30} {:<14} {:>+8}  -> {after}",
            transaction.effective_time.map(date).unwrap_or_default(),
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

fn date(time: prost_types::Timestamp) -> String {
    jiff::Timestamp::from_second(time.seconds)
        .map(|moment| moment.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default()
}
