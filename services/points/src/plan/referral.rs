//! Members who bring others: what stands against a claim, and what comes of one.

use std::collections::BTreeMap;

use fealty_ledger::{Cause, Command, Facts, HoldLot, Transaction};
use fealty_program::{Period, Program, ReferralStep, Referrals};
use fealty_types::{ActivityId, LotId, Position, Timestamp, TransactionPlace};

use super::earns::CLOCK_SKEW_MAX;

/// How often a claim is looked at that waits: purchases may be told late, and another version of
/// the programme may say something else.
pub(crate) const LOOK_AGAIN: Period = Period::Days(1);

/// Whoever has so many entries is not new, whatever they are: what is read under the lock of a
/// head has an end.
pub(crate) const ENTRIES_OF_NEW_MAX: i64 = 200;

/// The referrals of a programme, if a command is a member's claim to have been brought.
pub(crate) fn claims_referral<'p>(
    program: &'p Program,
    command: &Command,
) -> Option<&'p Referrals> {
    let Command::Activity(activity) = command else {
        return None;
    };
    let referrals = program.referrals.as_ref()?;
    let step = ReferralStep::of(&activity.of_type);
    (step == Some(ReferralStep::Claim)).then_some(referrals)
}

/// Why a member cannot claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNew {
    /// It has bought.
    Bought,
    /// It has claimed, here.
    Claimed(TransactionPlace),
    /// So much was written to it that it cannot be new.
    TooMuch,
    /// It was there before the one whose code it is.
    ThereBefore,
    /// Nothing was written yet to the one whose code it is.
    NobodyThere,
}

impl NotNew {
    /// In words.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Bought => "the member has bought before",
            Self::Claimed(_) => "the member has claimed before",
            Self::TooMuch => "too much was written to the member for one that is new",
            Self::ThereBefore => "the member was there before the one whose code it is",
            Self::NobodyThere => "nothing was written yet to the member whose code it is",
        }
    }
}

/// Why a member is not new, by what was written to it: all of it, or as much as is read. Its
/// claim would have an id.
pub(crate) fn why_not_new<'t>(
    written: impl Iterator<Item = &'t Transaction>,
    id: &ActivityId,
) -> Option<NotNew> {
    let mut entries = 0;
    for written in written {
        entries += 1;
        match written.command() {
            Some(Command::Purchase(_)) => return Some(NotNew::Bought),
            Some(Command::Activity(activity))
                if ReferralStep::of(&activity.of_type) == Some(ReferralStep::Claim)
                    && activity.id == *id =>
            {
                return Some(NotNew::Claimed(written.place()));
            }
            _ => {}
        }
    }
    (entries >= ENTRIES_OF_NEW_MAX).then_some(NotNew::TooMuch)
}

/// When a purchase was made, if a transaction is one.
pub(crate) fn bought_at(written: &Transaction) -> Option<Timestamp> {
    let Cause::Request {
        command: Command::Purchase(_),
        facts: Some(facts),
        ..
    } = &written.cause
    else {
        return None;
    };
    Some(facts.of_purchase()?.purchased_at)
}

/// Whether a purchase of some moment was made before a claim, as far as clocks can tell.
pub(crate) fn is_before_claim(bought_at: Timestamp, claimed_at: Timestamp) -> bool {
    let latest = bought_at.checked_add(CLOCK_SKEW_MAX);
    latest.is_some_and(|latest| latest < claimed_at)
}

/// What comes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// No purchase counts yet.
    NotBought,
    /// One counts from then on, if it does not come back before.
    From(Timestamp),
    /// The member had bought before.
    Void,
}

/// What was written to a member since its claim, in order: what comes back counts up to the
/// moment at which the purchase has stood, and not after.
pub(crate) struct Course<'p> {
    claimed_at: Timestamp,
    program: &'p Program,
    referrals: &'p Referrals,
    /// When the version began by which it is judged: no purchase is judged by it earlier.
    judged_from: Timestamp,
    void: bool,
    bought: BTreeMap<Position, Bought>,
}

/// A purchase of which enough was paid.
struct Bought {
    /// From when on it counts.
    due: Timestamp,
    /// Money that is left, in minor units.
    left: i64,
    /// The points that it gave and that were not taken back, by lot.
    points: BTreeMap<LotId, i64>,
    /// Whether the last of them were taken back by hand: then it is as one that came back.
    by_hand: bool,
}

impl Bought {
    fn stands(&self, minimum: i64) -> bool {
        self.left >= minimum && !self.by_hand
    }

    /// Takes points back; answers whether those were the last.
    fn take_back(&mut self, parts: &[HoldLot]) -> bool {
        let had_some = self.points.values().any(|left| *left > 0);
        for part in parts {
            if let Some(left) = self.points.get_mut(&part.lot) {
                *left -= part.points.get();
            }
        }
        had_some && self.points.values().all(|left| *left <= 0)
    }
}

impl<'p> Course<'p> {
    /// Before anything was written since a claim.
    pub(crate) fn new(
        claimed_at: Timestamp,
        (program, referrals, judged_from): (&'p Program, &'p Referrals, Timestamp),
    ) -> Self {
        Self {
            claimed_at,
            program,
            referrals,
            judged_from,
            void: false,
            bought: BTreeMap::new(),
        }
    }

    /// Takes in what was written next; `false` where it comes after all that counts.
    pub(crate) fn take(&mut self, written: &Transaction) -> bool {
        if self.first_due().is_some_and(|due| due < written.written_at) {
            return false;
        }
        if let Some(bought_at) = bought_at(written) {
            self.void |= is_before_claim(bought_at, self.claimed_at);
            self.bought(written, bought_at);
        }
        let (Some(command), Some(facts)) = (written.command(), facts(written)) else {
            return true;
        };
        let named = match command {
            Command::Return(asked) => asked.transaction,
            Command::Reverse(asked) => asked.transaction,
            _ => return true,
        };
        let bought = self.bought.get_mut(&named);
        if let Some(bought) = bought.filter(|bought| written.written_at <= bought.due) {
            if let Some(facts) = facts.of_return() {
                bought.left = facts.left.minor_units();
                bought.take_back(&facts.reversal.parts);
            } else if let Facts::Reversal(facts) = facts {
                bought.by_hand |= bought.take_back(&facts.parts);
            }
        }
        true
    }

    fn bought(&mut self, written: &Transaction, bought_at: Timestamp) {
        let Some(Command::Purchase(purchase)) = written.command() else {
            return;
        };
        let left = purchase.amount.minor_units();
        if left < self.referrals.minimum.minor_units() {
            return;
        }
        let from = bought_at.max(self.claimed_at);
        let lots = written.lots.iter();
        let (within, zone) = (self.referrals.returns_within, &self.program.calendar.zone);
        // What came back of one that is told late is told late too.
        let told = LOOK_AGAIN.after(written.written_at, zone);
        let bought = Bought {
            due: within.after(from, zone).max(told).max(self.judged_from),
            left,
            points: lots.map(|lot| (lot.lot, lot.amount.get())).collect(),
            by_hand: false,
        };
        self.bought.insert(written.position, bought);
    }

    /// When the first purchase counts that stands.
    fn first_due(&self) -> Option<Timestamp> {
        let minimum = self.referrals.minimum.minor_units();
        let bought = self.bought.values();
        let standing = bought.filter(|bought| bought.stands(minimum));
        standing.map(|bought| bought.due).min()
    }

    /// What comes of the claim by all that was taken in.
    pub(crate) fn stands(&self) -> Stands {
        match self.first_due() {
            _ if self.void => Stands::Void,
            Some(due) => Stands::From(due),
            None => Stands::NotBought,
        }
    }
}

fn facts(written: &Transaction) -> Option<&Facts> {
    match &written.cause {
        Cause::Request { facts, .. } => facts.as_ref(),
        _ => None,
    }
}
