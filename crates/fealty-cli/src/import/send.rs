//! Sending orders over a stream, and again what was not answered when it broke.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::bail;
use fealty_client::{Channel, may_help, reason, retry_after};
use fealty_proto::points::v1::{
    ImportPurchasesRequest, ImportPurchasesResponse, ImportedPurchase,
    earning_service_client::EarningServiceClient, import_purchases_response::Outcome,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Fault, Order};

/// Orders that are sent and not answered: more than the service takes at once.
const WINDOW: usize = 4_096;
/// For how long a stream may be silent, and streams may break off without an answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long to wait before a stream is opened anew, at first and at the most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What came of an order.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is right, and was to be read only.
    NotSent,
    Recorded(ImportedPurchase),
    /// Something is wrong with its rows.
    Faulty(Vec<Fault>),
    /// The service refused it.
    Refused(Status),
}

/// Is told what came of an order.
type Settle<'a> = &'a mut dyn FnMut(&Order, Answer) -> anyhow::Result<()>;

/// Sends nothing.
pub(super) async fn none(
    mut orders: mpsc::Receiver<Order>,
    settle: Settle<'_>,
) -> anyhow::Result<()> {
    while let Some(mut order) = orders.recv().await {
        let answer = match faults_of(&mut order) {
            Some(faults) => Answer::Faulty(faults),
            None => Answer::NotSent,
        };
        settle(&order, answer)?;
    }
    Ok(())
}

/// Has all orders recorded.
pub(super) async fn all(
    client: EarningServiceClient<Channel>,
    version: Option<i64>,
    orders: mpsc::Receiver<Order>,
    settle: Settle<'_>,
) -> anyhow::Result<()> {
    let mut sending = Sending {
        client,
        version,
        orders: Some(orders),
        unanswered: BTreeMap::new(),
        last: 0,
        answered_at: Instant::now(),
    };
    let mut pause = PAUSE;
    let mut broken_since: Option<Instant> = None;
    loop {
        let answered_at = sending.answered_at;
        let Err(broken) = sending.over_one_stream(settle).await? else {
            return Ok(());
        };
        let moved = sending.answered_at > answered_at;
        // A token may have run out meanwhile, and have been replaced.
        let may_go_on = may_help(&broken) || (moved && broken.code() == Code::Unauthenticated);
        if moved {
            broken_since = None;
        }
        let in_vain = broken_since.get_or_insert_with(Instant::now).elapsed();
        if !may_go_on || in_vain > PATIENCE {
            bail!("{}", broken.message());
        }
        pause = if moved {
            PAUSE
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
        let pause = retry_after(&broken).unwrap_or(pause).max(pause);
        tracing::debug!(%broken, ?pause, "the stream is opened again");
        tokio::time::sleep(pause).await;
    }
}

struct Sending {
    client: EarningServiceClient<Channel>,
    version: Option<i64>,
    /// None when all are read.
    orders: Option<mpsc::Receiver<Order>>,
    /// In the order in which they were read, which is the one in which they are sent.
    unanswered: BTreeMap<i64, Order>,
    /// The number of the last that was sent.
    last: i64,
    answered_at: Instant,
}

impl Sending {
    /// Sends over one stream until all is answered, or says how it broke.
    async fn over_one_stream(&mut self, settle: Settle<'_>) -> anyhow::Result<Result<(), Status>> {
        let (requests, sent) = mpsc::channel(WINDOW);
        for (sequence, order) in &self.unanswered {
            // There is room for all of them.
            let _ = requests.try_send(self.request(*sequence, order));
        }
        let opened = self.client.import_purchases(ReceiverStream::new(sent));
        let mut answers = match in_time(opened).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            if self.orders.is_none() && self.unanswered.is_empty() {
                return Ok(Ok(()));
            }
            let has_room = self.unanswered.len() < WINDOW;
            let next = async {
                match &mut self.orders {
                    Some(orders) if has_room => orders.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                order = next => match order {
                    None => self.orders = None,
                    Some(order) => self.send(order, &requests, settle)?,
                },
                answer = in_time(message(&mut answers)), if !self.unanswered.is_empty() => match answer {
                    Ok(answer) => self.answered(answer, settle)?,
                    Err(status) => return Ok(Err(status)),
                },
            }
        }
    }

    fn send(
        &mut self,
        mut order: Order,
        requests: &mpsc::Sender<ImportPurchasesRequest>,
        settle: Settle<'_>,
    ) -> anyhow::Result<()> {
        if let Some(faults) = faults_of(&mut order) {
            return settle(&order, Answer::Faulty(faults));
        }
        self.last += 1;
        // If the stream is broken, it is sent over the next one.
        let _ = requests.try_send(self.request(self.last, &order));
        self.unanswered.insert(self.last, order);
        Ok(())
    }

    fn request(&self, sequence: i64, order: &Order) -> ImportPurchasesRequest {
        let purchase = order.purchase.as_ref().ok();
        ImportPurchasesRequest {
            sequence,
            purchase: purchase.map(|past| past.request.clone()),
            program_version: self.version,
            tier: purchase.map(|past| past.tier.clone()).unwrap_or_default(),
        }
    }

    fn answered(
        &mut self,
        answer: ImportPurchasesResponse,
        settle: Settle<'_>,
    ) -> anyhow::Result<()> {
        let Some(order) = self.unanswered.remove(&answer.sequence) else {
            return Ok(());
        };
        self.answered_at = Instant::now();
        let answer = match answer.outcome {
            Some(Outcome::Imported(imported)) => Answer::Recorded(imported),
            Some(Outcome::Refusal(refusal)) => {
                let status = Status::with_details(
                    Code::from_i32(refusal.code),
                    refusal.message.clone(),
                    refusal.encode_to_vec().into(),
                );
                // So would all others be.
                let reason = reason(&status);
                let of_all = ["PROGRAM_VERSION_MOVED", "PROGRAM_NOT_FOUND"];
                if reason.is_some_and(|reason| of_all.contains(&&*reason)) {
                    bail!("{}", status.message());
                }
                Answer::Refused(status)
            }
            None => Answer::Refused(Status::unknown("the service answered nothing")),
        };
        settle(&order, answer)
    }
}

/// What is wrong with an order that is not to be sent.
fn faults_of(order: &mut Order) -> Option<Vec<Fault>> {
    let faults = order.purchase.as_mut().err()?;
    Some(std::mem::take(faults))
}

/// The next answer; a stream that ends before all is answered is broken.
async fn message(
    answers: &mut Streaming<ImportPurchasesResponse>,
) -> Result<ImportPurchasesResponse, Status> {
    let answer = answers.message().await?;
    answer.ok_or_else(|| Status::unavailable("the service ended the stream"))
}

/// An answer that is waited for no longer than that: whoever is silent is asked anew.
async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silent = |_| Status::unavailable("the service does not answer");
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.map_err(silent).flatten()
}
