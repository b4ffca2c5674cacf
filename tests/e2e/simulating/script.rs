//! Two months of a club: the same on each fleet on which it is played.

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{CaptureRequest, HoldRequest, RecordPurchaseRequest, RedeemRequest};
use tonic::Status;

use super::{DAY, DAYS};
use crate::{
    earning::{bought, line, record},
    harness::{CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, set_time},
    returns::{give_back, id_of, of_money, whole},
};

const MEMBERS: usize = 6;

/// What was done to a fleet, and whether that was accepted.
pub(super) struct Script {
    chance: u64,
    /// What another fleet accepted, in order: only that is asked.
    accepted: Option<Vec<bool>>,
    pub(super) asked: Vec<bool>,
    /// Purchases of which something may come back: who, and which.
    purchases: Vec<(String, String)>,
    number: usize,
}

impl Script {
    pub(super) fn new(accepted: Option<Vec<bool>>) -> Self {
        Self {
            chance: 11,
            accepted,
            asked: Vec::new(),
            purchases: Vec::new(),
            number: 0,
        }
    }

    fn below(&mut self, below: u64) -> u64 {
        let next = self.chance.wrapping_mul(6_364_136_223_846_793_005);
        self.chance = next.wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    fn member(&mut self) -> String {
        format!("member-{}", self.below(MEMBERS as u64))
    }

    /// Whether what is asked next was accepted elsewhere.
    fn may_ask(&self) -> bool {
        let accepted = self.accepted.as_ref();
        accepted.is_none_or(|accepted| accepted[self.asked.len()])
    }

    fn answered<T>(&mut self, answer: Option<Result<T, Status>>) -> Option<T> {
        let answer = answer.and_then(Result::ok);
        self.asked.push(answer.is_some());
        assert_eq!(self.may_have_been(), answer.is_some(), "as elsewhere");
        answer
    }

    fn may_have_been(&self) -> bool {
        let last = self.asked.len() - 1;
        let accepted = self.accepted.as_ref();
        accepted.map_or(self.asked[last], |accepted| accepted[last])
    }

    /// Two months of purchases, returns, redemptions and holds, some of them late.
    pub(super) async fn play(&mut self, fleet: &Fleet) {
        for day in 0..DAYS {
            set_time(fleet, START_S + day * DAY).await;
            for _ in 0..self.below(4) {
                match self.below(10) {
                    0..=5 => self.buy(fleet, START_S + day * DAY).await,
                    6 | 7 => self.give_back(fleet).await,
                    8 => self.redeem(fleet).await,
                    _ => self.hold(fleet).await,
                }
            }
        }
        set_time(fleet, START_S + DAYS * DAY + 21_600).await;
        accrue(fleet.clients(), accrual("last", "member-0", 1))
            .await
            .expect("given");
    }

    async fn buy(&mut self, fleet: &Fleet, now_s: i64) {
        let member = self.member();
        let kinds = ["jazz", "rock", "jazz"];
        let lines: Vec<_> = (0..=self.below(2))
            .map(|_| {
                let kind = kinds[usize::try_from(self.below(3)).expect("small")];
                let cents = i64::try_from(self.below(6_000) + 100).expect("small");
                line(
                    kind,
                    cents,
                    i32::try_from(self.below(2) + 1).expect("small"),
                )
            })
            .collect();
        self.number += 1;
        let late = self.below(4) == 0 && now_s > START_S + 25 * DAY;
        let request = RecordPurchaseRequest {
            purchase_time: late.then_some(prost_types::Timestamp {
                seconds: now_s - 20 * DAY,
                nanos: 0,
            }),
            ..bought(self.number, &member, &lines)
        };
        let bought = record(fleet, request).await;
        self.purchases.push((member, id_of(&bought)));
    }

    async fn give_back(&mut self, fleet: &Fleet) {
        if self.purchases.is_empty() {
            return;
        }
        let at = usize::try_from(self.below(self.purchases.len() as u64)).expect("small");
        let (member, of) = self.purchases[at].clone();
        self.number += 1;
        let request = whole(&format!("back-{}", self.number), &member, &of);
        let cents = i64::try_from(self.below(2_000) + 1).expect("small");
        let request = if self.below(2) == 0 {
            request
        } else {
            of_money(request, cents)
        };
        let answer = if self.may_ask() {
            Some(give_back(fleet, request).await)
        } else {
            None
        };
        self.answered(answer);
    }

    async fn redeem(&mut self, fleet: &Fleet) {
        self.number += 1;
        let request = RedeemRequest {
            request_id: format!("redeem-{}", self.number),
            program: CLUB.to_owned(),
            member: self.member(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points: i64::try_from(self.below(9) + 1).expect("small"),
            ..RedeemRequest::default()
        };
        let answer = if self.may_ask() {
            Some(ask!(fleet.clients().ledger(), redeem, request))
        } else {
            None
        };
        self.answered(answer);
    }

    async fn hold(&mut self, fleet: &Fleet) {
        self.number += 1;
        let member = self.member();
        let request = HoldRequest {
            request_id: format!("hold-{}", self.number),
            program: CLUB.to_owned(),
            member: member.clone(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points: 4,
            ..HoldRequest::default()
        };
        let answer = if self.may_ask() {
            Some(ask!(fleet.clients().ledger(), hold, request))
        } else {
            None
        };
        let captures = self.below(2) == 0;
        if let Some(held) = self.answered(answer)
            && captures
        {
            let capture = CaptureRequest {
                request_id: format!("capture-{}", self.number),
                program: CLUB.to_owned(),
                member,
                hold: held.hold,
                points: Some(3),
                ..CaptureRequest::default()
            };
            ask!(fleet.clients().ledger(), capture, capture).expect("captured");
        }
    }
}
