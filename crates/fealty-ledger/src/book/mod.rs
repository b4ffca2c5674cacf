//! Wallets as far as they have been read, and what the engine changed in them;
//! `due` is what falls due in one, `pending` what waits in it, `debt` what it owes, `member`
//! all of a member's.

mod debt;
mod due;
mod member;
mod pending;

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{CurrencyId, LotId, Points, Position, Timestamp};

use crate::{
    Account, Active, BucketName, Hold, HoldLot, Inactivity, LOTS_PER_SPEND_MAX, Lot, LotTerms,
    Refusal, Stop, TierEffect, Transfer, Wallet, WalletAfter,
};

pub(crate) use debt::Payment;
pub(crate) use due::Event;
pub use member::MemberBook;
pub use pending::{PendingKey, PendingThrough};

/// Where a lot stands in the order of spending: soonest-expiring first, then
/// oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SpendKey {
    /// When it expires; [`LotTerms::WITH_ACTIVITY`] and its year, and [`LotTerms::NEVER`],
    /// come last.
    pub expires_at: Timestamp,
    /// The lot: an older one has a lower number.
    pub lot: LotId,
}

impl SpendKey {
    /// Before the first lot.
    pub const START: Self = Self {
        expires_at: Timestamp::constant(-62_000_000_000_000_000),
        lot: LotId::from_stored(0),
    };

    fn of(lot: &Lot) -> Self {
        Self {
            expires_at: lot.terms.expires_at.unwrap_or(LotTerms::NEVER),
            lot: lot.terms.lot,
        }
    }
}

/// How far the available lots have been read, in the order of spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ReadThrough {
    /// Not at all; nor have pending lots and holds.
    Nothing,
    /// Up to and with this lot.
    Key(SpendKey),
    /// Entirely.
    All,
}

/// A wallet as far as it has been read, and what the engine changed in it.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct WalletBook {
    pub(crate) wallet: Wallet,
    pub(crate) lots: BTreeMap<LotId, Lot>,
    /// Lots with available points. One beyond `read_through` is here because
    /// it was touched or named; others beyond may exist unread.
    spendable: BTreeSet<SpendKey>,
    /// Lots with pending points, by what becomes of them.
    pending: BTreeSet<PendingKey>,
    pending_through: PendingThrough,
    pub(crate) holds: BTreeMap<Position, Hold>,
    read_through: ReadThrough,
    /// Whether pending lots, open holds and their lots have been left unread: a
    /// spend needs none of them, what falls due needs all.
    #[borsh(skip)]
    due_unread: bool,
    /// Whether members' tiers decide if its points go with inactivity.
    #[borsh(skip)]
    tiers_decide: bool,
    changed: bool,
    changed_lots: BTreeSet<LotId>,
    changed_holds: BTreeSet<Position>,
}

impl WalletBook {
    /// A wallet of which only the row has been read.
    #[must_use]
    pub fn of(wallet: Wallet) -> Self {
        Self::with(wallet, ReadThrough::Nothing)
    }

    /// A wallet that does not exist yet: all of it is known.
    #[must_use]
    pub fn empty() -> Self {
        Self::with(Wallet::default(), ReadThrough::All)
    }

    fn with(wallet: Wallet, read_through: ReadThrough) -> Self {
        Self {
            wallet,
            lots: BTreeMap::new(),
            spendable: BTreeSet::new(),
            pending: BTreeSet::new(),
            pending_through: PendingThrough::All,
            holds: BTreeMap::new(),
            read_through,
            due_unread: false,
            tiers_decide: false,
            changed: false,
            changed_lots: BTreeSet::new(),
            changed_holds: BTreeSet::new(),
        }
    }

    /// Adds lots that were read in the order of spending, and nothing else. What
    /// is here already is newer and stays.
    pub fn add_spendable(
        &mut self,
        lots: impl IntoIterator<Item = Lot>,
        read_through: ReadThrough,
    ) {
        self.due_unread = !self.due_is_read();
        self.add_named(lots, []);
        self.read_through = read_through;
    }

    /// Adds what was read: lots in the order of spending, all that are pending,
    /// all open holds and the lots that they name. What is here already is newer
    /// and stays.
    pub fn add_read(
        &mut self,
        lots: impl IntoIterator<Item = Lot>,
        holds: impl IntoIterator<Item = Hold>,
        read_through: ReadThrough,
    ) {
        self.add_named(lots, holds);
        self.read_through = read_through;
        self.pending_through = PendingThrough::All;
        self.due_unread = false;
    }

    /// Adds lots and holds that were read by name, open or not.
    pub fn add_named(
        &mut self,
        lots: impl IntoIterator<Item = Lot>,
        holds: impl IntoIterator<Item = Hold>,
    ) {
        for lot in lots {
            if !self.lots.contains_key(&lot.terms.lot) {
                self.file(&lot);
                self.lots.insert(lot.terms.lot, lot);
            }
        }
        for hold in holds {
            self.holds.entry(hold.position).or_insert(hold);
        }
    }

    /// The wallet.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// Says whether members' tiers decide if points of the wallet go with inactivity, as
    /// the programme has it: then what is due waits until they are known.
    pub fn set_tiers_decide(&mut self, tiers_decide: bool) {
        self.tiers_decide = tiers_decide;
    }

    /// How far its lots have been read.
    #[must_use]
    pub fn read_through(&self) -> ReadThrough {
        self.read_through
    }

    /// Whether pending lots and open holds have been read.
    #[must_use]
    pub fn due_is_read(&self) -> bool {
        !self.due_unread && self.read_through != ReadThrough::Nothing
    }

    /// Whether something may be due at `now`.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.wallet.is_due(self.tiers_decide, now)
    }

    /// Whether the wallet's row was changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The lots that were made or changed.
    pub fn changed_lots(&self) -> impl Iterator<Item = &Lot> {
        self.changed_lots.iter().map(|lot| &self.lots[lot])
    }

    /// The holds that were made or changed.
    pub fn changed_holds(&self) -> impl Iterator<Item = &Hold> {
        self.changed_holds.iter().map(|hold| &self.holds[hold])
    }

    /// A lot, if it is known here.
    #[must_use]
    pub fn lot(&self, lot: LotId) -> Option<&Lot> {
        self.lots.get(&lot)
    }

    /// All lots known here.
    pub fn lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.values()
    }

    /// All holds known here.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// When a lot's points are gone, as things stand.
    #[must_use]
    pub fn expiry_of(&self, terms: &LotTerms) -> Option<Timestamp> {
        if terms.goes_with_inactivity() {
            self.wallet.goes_at(terms.not_before())
        } else {
            terms.expires_at
        }
    }

    /// Forgets what was changed, and holds that have ended: for one who keeps
    /// a book for longer than a batch.
    pub fn settle(&mut self) {
        self.changed_lots.clear();
        for hold in std::mem::take(&mut self.changed_holds) {
            let ended = |hold: &Hold| hold.lots.is_empty();
            if self.holds.get(&hold).is_some_and(ended) {
                self.holds.remove(&hold);
            }
        }
        self.changed = false;
    }

    /// Forgets what was changed, and lots in which nothing is left: for one who only wants
    /// to know what the wallet comes to. What was read stays read.
    pub fn forget_closed(&mut self) {
        self.settle();
        let mut lots = std::mem::take(&mut self.lots);
        lots.retain(|_, lot| {
            let is_closed = lot.remaining.is_zero() && lot.held.is_zero();
            // One that is stored as open, and is not read yet, would come back.
            let is_read = (lot.pending || self.has_read(&SpendKey::of(lot)))
                && self.has_read_pending(&PendingKey::of(lot));
            !(is_closed && is_read)
        });
        self.lots = lots;
    }

    /// Puts a lot in the order it belongs to.
    fn file(&mut self, lot: &Lot) {
        if lot.remaining.is_zero() {
            return;
        }
        if lot.pending {
            self.pending.insert(PendingKey::of(lot));
        } else {
            self.spendable.insert(SpendKey::of(lot));
        }
    }

    fn unfile(&mut self, lot: &Lot) {
        self.spendable.remove(&SpendKey::of(lot));
        self.pending.remove(&PendingKey::of(lot));
    }

    /// Changes a lot and keeps the orders true.
    pub(crate) fn change_lot(&mut self, id: LotId, change: impl FnOnce(&mut Lot)) {
        let mut lot = self
            .lots
            .remove(&id)
            .expect("a lot that is changed has been read");
        self.unfile(&lot);
        change(&mut lot);
        self.file(&lot);
        self.due_by_lot(&lot);
        self.lots.insert(id, lot);
        self.changed_lots.insert(id);
    }

    pub(crate) fn add_lot(&mut self, lot: Lot) {
        let id = lot.terms.lot;
        self.file(&lot);
        self.due_by_lot(&lot);
        self.lots.insert(id, lot);
        self.changed_lots.insert(id);
    }

    /// Sees to it that the wallet is looked at when something of the lot falls
    /// due.
    fn due_by_lot(&mut self, lot: &Lot) {
        if lot.remaining.is_zero() {
            return;
        }
        let activates_at = lot.terms.activates_at.filter(|_| lot.pending);
        let due = match activates_at {
            Some(activates_at) if activates_at < LotTerms::ON_EVENT => Some(activates_at),
            _ => self.expiry_of(&lot.terms),
        };
        self.due_by(due);
    }

    pub(crate) fn add_hold(&mut self, hold: Hold) {
        self.due_by(Some(hold.expires_at));
        self.changed_holds.insert(hold.position);
        self.holds.insert(hold.position, hold);
    }

    pub(crate) fn change_hold(&mut self, position: Position, change: impl FnOnce(&mut Hold)) {
        let hold = self
            .holds
            .get_mut(&position)
            .expect("a hold that is changed has been read");
        change(hold);
        self.changed_holds.insert(position);
    }

    /// Sees to it that the wallet is looked at no later than `due`.
    fn due_by(&mut self, due: Option<Timestamp>) {
        self.wallet.next_due = match (self.wallet.next_due, due) {
            (Some(known), Some(due)) => Some(known.min(due)),
            (known, due) => known.or(due),
        };
    }

    /// Has what waits for the member's tier looked at, whenever that was to be.
    pub(crate) fn end_waiting(&mut self) {
        self.due_by(self.inactive_at());
    }

    /// Records activity: what goes with inactivity now lives until then at the least.
    pub(crate) fn keep_active(&mut self, active: &Active) {
        let inactive_at = active.inactive_at;
        let later = self
            .wallet
            .inactive_at
            .is_none_or(|known| known < inactive_at);
        if later {
            let undated = self.wallet.inactive_at.is_none();
            self.wallet.inactive_at = Some(inactive_at);
            if undated {
                // Points that had no date so far have one now.
                self.due_by(self.inactive_at());
            }
            self.changed = true;
        }
    }

    /// Has points come in that go with inactivity, but not before a moment: receiving is no
    /// activity, so what is there goes when it would have gone. Answers with their expiry.
    pub(crate) fn receive_until(&mut self, not_before: Timestamp) -> Timestamp {
        // These are the first that go with inactivity.
        let known = *self.wallet.inactive_at.get_or_insert(not_before);
        if known >= not_before {
            return LotTerms::WITH_ACTIVITY;
        }
        LotTerms::with_activity_not_before(not_before)
    }

    /// Has a tier decide whether points go with inactivity. Those that stayed so far live
    /// until `not_before` at the least.
    pub(crate) fn decide_by_tier(&mut self, effect: &TierEffect) {
        let stayed = self.wallet.inactivity == Inactivity::Waived;
        self.wallet.inactivity = effect.inactivity;
        if stayed && effect.inactivity != Inactivity::Waived {
            let inactive_at = self.wallet.inactive_at;
            self.wallet.inactive_at = inactive_at.map(|known| known.max(effect.not_before));
            self.due_by(self.wallet.inactive_at);
        }
        self.changed = true;
    }

    /// Moves points between buckets.
    pub(crate) fn shift(
        &mut self,
        from: Option<BucketName>,
        to: Option<BucketName>,
        points: Points,
    ) {
        let buckets = &mut self.wallet.buckets;
        if let Some(from) = from {
            let bucket = buckets.bucket(from);
            *bucket = bucket
                .checked_sub(points)
                .expect("a bucket covers its lots");
        }
        if let Some(to) = to {
            let bucket = buckets.bucket(to);
            *bucket = bucket
                .checked_add(points)
                .expect("a bucket is within the wallet's total");
        }
    }

    /// Records that the transaction at `position` touched the wallet, by these movements
    /// among others.
    pub(crate) fn touch(
        &mut self,
        currency: &CurrencyId,
        position: Position,
        at: Timestamp,
        transfers: &[Transfer],
    ) -> WalletAfter {
        self.count(currency, transfers);
        self.wallet.sequence += 1;
        self.wallet.last_position = Some(position);
        self.wallet.last_at = Some(at);
        self.changed = true;
        WalletAfter {
            currency: currency.clone(),
            buckets: self.wallet.buckets,
            sequence: self.wallet.sequence,
            inactive_at: self.wallet.inactive_at,
            inactivity: self.wallet.inactivity,
        }
    }

    /// Counts what was earned and redeemed since ever.
    fn count(&mut self, currency: &CurrencyId, transfers: &[Transfer]) {
        let (mut earned, mut redeemed): (i64, i64) = (0, 0);
        for moved in transfers.iter().filter(|moved| moved.currency == *currency) {
            let amount = moved.amount.get();
            match moved.debit {
                Account::Issued(_) => earned += amount,
                Account::Redeemed(_) => redeemed -= amount,
                _ => {}
            }
            match moved.credit {
                Account::Issued(_) => earned -= amount,
                Account::Redeemed(_) => redeemed += amount,
                _ => {}
            }
        }
        let wallet = &mut self.wallet;
        wallet.earned = wallet.earned.saturating_add(earned);
        wallet.redeemed = wallet.redeemed.saturating_add(redeemed);
    }

    fn has_read(&self, key: &SpendKey) -> bool {
        match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(read) => *key <= read,
            ReadThrough::All => true,
        }
    }

    /// Lots to take `points` from, in the order of spending, when `taken` has
    /// been taken from them. The caller has made sure that so many are available.
    pub(crate) fn plan_spend(
        &self,
        currency: &CurrencyId,
        points: Points,
        taken: &BTreeMap<LotId, Points>,
    ) -> Result<Vec<HoldLot>, Stop> {
        let mut parts = Vec::new();
        let mut missing = points;
        if missing.is_zero() {
            return Ok(parts);
        }
        for key in self.spendable.iter().take_while(|key| self.has_read(key)) {
            let mut remaining = self.lots[&key.lot].remaining;
            if let Some(taken) = taken.get(&key.lot) {
                remaining = remaining.checked_sub(*taken).unwrap_or(Points::ZERO);
            }
            let part = remaining.min(missing);
            if part.is_zero() {
                continue;
            }
            if parts.len() == LOTS_PER_SPEND_MAX {
                return Err(Refusal::TooManyLots.into());
            }
            parts.push(HoldLot {
                lot: key.lot,
                points: part,
            });
            missing = missing
                .checked_sub(part)
                .expect("a part is at most what is missing");
            if missing.is_zero() {
                return Ok(parts);
            }
        }
        Err(Stop::LotsNeeded {
            currency: currency.clone(),
        })
    }
}
