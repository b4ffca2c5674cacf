//! Playing purchases day by day.
//!
//! A day: its purchases at noon, by many callers at once; then the feeds drain,
//! so that a tier reached today counts from tomorrow; then its redemptions, one
//! after another. The clock moves on to the next noon, and what falls due by
//! then is done and drained before the next purchase.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use fealty_auth::{Grant, Role};
use fealty_client::{Deadline, call};
use fealty_points::audit::verify::Options;
use fealty_proto::{
    operations::v1::{GetFeedStatusRequest, SetTimeRequest},
    points::v1::{AccountKind, GetTrialBalanceRequest, RecordPurchaseRequest, Transaction},
    rewards::v1::{Availability, ListRewardsRequest, RedeemRequest as RedeemRewardRequest},
    tiers::v1::CountMembersRequest,
    r#type::v1::Money,
};
use futures::{StreamExt as _, stream};
use jiff::{civil::Date, tz::TimeZone};
use tokio::time::Instant;

use super::{Day, Fleet, Purchase, Report};
use crate::{
    apply::{How, apply},
    endpoints::Clients,
    token::grant,
};

const PROGRAM_ID: &str = "record-club";
const BRAND: &str = "record-shop";
const CONCERT: &str = "concert-evening";
const TEN_OFF: &str = "ten-off";
/// Long enough for a service to be killed and started again meanwhile.
const DEADLINE: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How to play.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Callers that record purchases at the same time.
    pub callers: usize,
    /// Of so many requests, one is sent twice at once, and one again on the
    /// next day.
    pub replay_every: usize,
}

impl Default for Pace {
    fn default() -> Self {
        // One in a hundred each way: one in fifty.
        Self {
            callers: 64,
            replay_every: 100,
        }
    }
}

/// Plays the days, and reports. `progress` hears the day and how many purchases
/// have been played.
pub async fn play(
    fleet: &Fleet,
    days: &[Day],
    pace: Pace,
    progress: impl Fn(Date, u64),
) -> anyhow::Result<Report> {
    let mut player = Player {
        operator: fleet.clients_as(&grant("operator", &[Role::Operator]))?,
        till: fleet.clients_as(&Grant {
            programs: vec![PROGRAM_ID.to_owned()],
            brands: vec![BRAND.to_owned()],
            ..grant("till", &[Role::Checkout])
        })?,
        auditor: fleet.clients_as(&grant("auditor", &[Role::Auditor]))?,
        fleet,
        pace,
        report: Report::default(),
        members: BTreeMap::new(),
        again_tomorrow: Vec::new(),
        purchase_time: Duration::ZERO,
    };
    let first = days.first().context("there are no purchases")?.date;
    player.set_clock(first, 0).await?;
    apply(&player.operator, super::PROGRAM, How::Now).await?;
    for day in days {
        player.set_clock(day.date, 12 * 3_600).await?;
        player.drain().await?;
        let available = player.purchases(day).await?;
        player.drain().await?;
        player.redemptions(day, available).await?;
        progress(day.date, player.report.purchases);
    }
    let last = days.last().context("there are no purchases")?.date;
    player.set_clock(last, 24 * 3_600 - 1).await?;
    player.drain().await?;
    player.finish(fleet).await
}

/// Who plays, each with a token that reaches what it needs. Members redeem by
/// tokens of their own.
struct Player<'a> {
    fleet: &'a Fleet,
    operator: Clients,
    till: Clients,
    auditor: Clients,
    pace: Pace,
    report: Report,
    /// Members that bought, with how often.
    members: BTreeMap<String, u64>,
    /// Requests to send again on the next day, with the transactions they made.
    again_tomorrow: Vec<(RecordPurchaseRequest, String)>,
    purchase_time: Duration,
}

/// What a purchase came to: the transaction, and whether the request was sent
/// twice and both answers agreed.
struct Recorded {
    request: RecordPurchaseRequest,
    transaction: Transaction,
    twice: Option<bool>,
}

fn moment(date: Date, second_of_day: i64) -> prost_types::Timestamp {
    let midnight = date
        .to_zoned(TimeZone::UTC)
        .map_or(0, |zoned| zoned.timestamp().as_second());
    prost_types::Timestamp {
        seconds: midnight + second_of_day,
        nanos: 0,
    }
}

impl Player<'_> {
    /// Moves the three clocks; each answers once what is due has been done.
    async fn set_clock(&self, date: Date, second_of_day: i64) -> anyhow::Result<()> {
        let time = Some(moment(date, second_of_day));
        let set = self.operator.clocks().map(|client| async move {
            call(Deadline::within(DEADLINE), || {
                let mut client = client.clone();
                async move { client.set_time(SetTimeRequest { time }).await }
            })
            .await
        });
        futures::future::try_join_all(set)
            .await
            .context("setting the clocks")?;
        Ok(())
    }

    /// Waits until tiers has read all of points' log, and points all of tiers'.
    async fn drain(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let [points, tiers] = self.auditor.feeds().map(|client| async move {
                call(Deadline::within(DEADLINE), || {
                    let mut client = client.clone();
                    async move { client.get_feed_status(GetFeedStatusRequest {}).await }
                })
                .await
            });
            // Points' log first: what tiers makes of it is then in tiers' log.
            let head = points.await?.head_entries;
            let status = tiers.await?;
            let read = status.consumed_feeds.first().map_or(0, |feed| feed.entries);
            let [points, _] = self.auditor.feeds();
            if read == head {
                let known = call(Deadline::within(DEADLINE), || {
                    let mut client = points.clone();
                    async move { client.get_feed_status(GetFeedStatusRequest {}).await }
                });
                let consumed = known
                    .await?
                    .consumed_feeds
                    .first()
                    .map_or(0, |feed| feed.entries);
                if consumed == status.head_entries {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < deadline, "the feeds do not drain");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Records a day's purchases, by many callers at once; answers with what
    /// each member has available afterwards.
    async fn purchases(&mut self, day: &Day) -> anyhow::Result<BTreeMap<String, i64>> {
        let begun = Instant::now();
        let date = day.date;
        let replay_every = self.pace.replay_every;
        let calls = day.purchases.iter().map(|purchase| {
            let clients = self.till.clone();
            let request = request(date, purchase);
            let twice = purchase.line % replay_every == 1;
            let task = tokio::spawn(async move { record(&clients, request, twice).await });
            async move { task.await? }
        });
        // Spawned when the stream comes to them, so that many wait for no one.
        let recorded: Vec<anyhow::Result<Recorded>> = stream::iter(calls)
            .buffer_unordered(self.pace.callers)
            .collect()
            .await;
        self.purchase_time += begun.elapsed();
        let mut newest: HashMap<String, (i64, i64)> = HashMap::new();
        let mut again = Vec::new();
        for recorded in recorded {
            let Recorded {
                request,
                transaction,
                twice,
            } = recorded?;
            let purchase = transaction
                .purchase
                .as_ref()
                .context("no purchase was recorded")?;
            for earned in &purchase.earned_points {
                let sum = if earned.bonus {
                    &mut self.report.points_bonus
                } else {
                    &mut self.report.points_base
                };
                *sum += earned.points;
            }
            self.report.purchases += 1;
            if let Some(agreed) = twice {
                self.report.replays_sent += 1;
                self.report.replays_answered += u64::from(agreed);
            }
            *self.members.entry(request.member.clone()).or_default() += 1;
            let balance = transaction
                .balances
                .first()
                .context("no balance was told")?;
            let known = newest.entry(request.member.clone()).or_default();
            *known = (*known).max((balance.sequence, balance.available));
            if self.report.purchases.is_multiple_of(replay_every as u64) {
                again.push((request, transaction.id));
            }
        }
        let yesterday = std::mem::replace(&mut self.again_tomorrow, again);
        for (request, name) in yesterday {
            let again = record(&self.till, request, false).await?;
            self.report.replays_sent += 1;
            self.report.replays_answered += u64::from(again.transaction.id == name);
        }
        Ok(newest
            .into_iter()
            .map(|(member, (_, available))| (member, available))
            .collect())
    }

    /// Redeems once for every member who bought today and has the points, in
    /// the order of their ids.
    async fn redemptions(
        &mut self,
        day: &Day,
        available: BTreeMap<String, i64>,
    ) -> anyhow::Result<()> {
        for (member, _) in available
            .into_iter()
            .filter(|(_, available)| *available >= 1_000)
        {
            // Somebody's app: it reaches that member alone.
            let app = self.fleet.clients_as(&Grant {
                programs: vec![PROGRAM_ID.to_owned()],
                member: Some(member.clone()),
                ..grant(&member, &[Role::Member])
            })?;
            let Some(reward) = choose(&app, &member).await? else {
                continue;
            };
            let request = RedeemRewardRequest {
                request_id: format!("redeem-{}", day.date),
                program: PROGRAM_ID.to_owned(),
                member,
                reward: reward.to_owned(),
            };
            let first = redeem(&app, &request).await?;
            let given = self
                .report
                .redemptions
                .entry(reward.to_owned())
                .or_default();
            *given += 1;
            if self.report.redemptions.values().sum::<u64>() % self.pace.replay_every as u64 == 0 {
                self.report.replays_sent += 1;
                let second = redeem(&app, &request).await?;
                self.report.replays_answered += u64::from(first == second);
            }
        }
        Ok(())
    }

    /// Asks the services for the figures, and verifies the ledger.
    async fn finish(mut self, fleet: &Fleet) -> anyhow::Result<Report> {
        let totals = call(Deadline::within(DEADLINE), || {
            let mut client = self.auditor.audit();
            let request = GetTrialBalanceRequest {
                program: PROGRAM_ID.to_owned(),
                cursor: String::new(),
                ..GetTrialBalanceRequest::default()
            };
            async move { client.get_trial_balance(request).await }
        });
        let (mut debits, mut credits) = (0, 0);
        for row in totals.await?.accounts {
            debits += row.debits;
            credits += row.credits;
            match row.account.unwrap_or_default().kind() {
                AccountKind::Redeemed => self.report.points_redeemed += row.credits - row.debits,
                AccountKind::Expired => self.report.points_expired += row.credits - row.debits,
                AccountKind::Pending | AccountKind::Available | AccountKind::Held => {
                    self.report.points_outstanding += row.credits - row.debits;
                }
                AccountKind::Unspecified
                | AccountKind::Debt
                | AccountKind::Issued
                | AccountKind::Adjusted
                | AccountKind::Gift => {}
            }
        }
        self.report.debits_equal_credits = debits == credits;
        let counted = call(Deadline::within(DEADLINE), || {
            let mut client = self.auditor.tier();
            let request = CountMembersRequest {
                program: PROGRAM_ID.to_owned(),
            };
            async move { client.count_members(request).await }
        });
        self.report.tiers = counted
            .await?
            .tiers
            .into_iter()
            .map(|row| (row.tier, row.members))
            .collect();
        self.report.members = self.members.len() as u64;
        let micros = u64::try_from(self.purchase_time.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        self.report.purchases_per_second = self.report.purchases * 1_000_000 / micros;
        let database = fealty_postgres::Database::open_within(
            fleet.points_database_url(),
            1,
            fealty_postgres::Limits::LONG_READ,
        )
        .await?;
        let verified =
            fealty_points::audit::verify::verify(&database, &Options::default(), |_, _| {}).await;
        if let Err(error) = &verified {
            eprintln!("{error}");
        }
        self.report.ledger_verified = verified.is_ok_and(|verified| verified.debits_equal_credits);
        Ok(self.report)
    }
}

/// The best reward that the member can have: the concert, else ten off.
async fn choose(app: &Clients, member: &str) -> anyhow::Result<Option<&'static str>> {
    let request = ListRewardsRequest {
        program: PROGRAM_ID.to_owned(),
        member: member.to_owned(),
        ..Default::default()
    };
    let listed = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (app.catalog(), request.clone());
        async move { client.list_rewards(request).await }
    });
    let listed = listed.await.context("listing rewards")?.rewards;
    let can_have = |reward: &&str| {
        listed
            .iter()
            .any(|offer| offer.id == *reward && offer.availability() == Availability::Available)
    };
    Ok([CONCERT, TEN_OFF].into_iter().find(can_have))
}

/// Redeems, and answers with the redemption's id and voucher.
async fn redeem(app: &Clients, request: &RedeemRewardRequest) -> anyhow::Result<(String, String)> {
    let redeemed = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (app.redemption(), request.clone());
        async move { client.redeem(request).await }
    });
    let redeemed = redeemed
        .await
        .with_context(|| format!("redeeming: {request:?}"))?;
    let redemption = redeemed.redemption.context("no redemption was told")?;
    if redemption.voucher_code.is_empty() {
        bail!("an issued redemption has no voucher: {redemption:?}");
    }
    Ok((redemption.id, redemption.voucher_code))
}

fn request(date: Date, purchase: &Purchase) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        request_id: format!("purchase-{}", purchase.line),
        program: PROGRAM_ID.to_owned(),
        member: purchase.member.clone(),
        brand: BRAND.to_owned(),
        order_number: format!("order-{}", purchase.line),
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            minor_units: purchase.cents,
        }),
        purchase_time: Some(moment(date, 12 * 3_600)),
        ..RecordPurchaseRequest::default()
    }
}

async fn record(
    clients: &Clients,
    request: RecordPurchaseRequest,
    twice: bool,
) -> anyhow::Result<Recorded> {
    let send = || {
        call(Deadline::within(DEADLINE), || {
            let (mut client, request) = (clients.earning(), request.clone());
            async move { client.record_purchase(request).await }
        })
    };
    let (first, second) = if twice {
        let (first, second) = futures::future::try_join(send(), send()).await?;
        (first, Some(second))
    } else {
        (
            send()
                .await
                .with_context(|| format!("recording {request:?}"))?,
            None,
        )
    };
    let transaction = first.transaction.context("no transaction was told")?;
    let agreed = second.map(|second| second.transaction.as_ref() == Some(&transaction));
    Ok(Recorded {
        request,
        transaction,
        twice: agreed,
    })
}
