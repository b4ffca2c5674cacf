//! Wallets as far as they have been read.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, LotId, MemberId, Points, Position, ProgramId, Timestamp};

use crate::{BucketName, LotTerms, Stop, WalletAfter};

/// The buckets of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Buckets {
    /// Points that wait for their activation.
    pub pending: Points,
    /// Points that can be spent.
    pub available: Points,
    /// Points set aside by holds.
    pub held: Points,
    /// Points owed.
    pub debt: Points,
}

impl Buckets {
    /// Pending, available and held points together.
    #[must_use]
    pub fn total(&self) -> Points {
        self.pending
            .checked_add(self.available)
            .and_then(|sum| sum.checked_add(self.held))
            .expect("accruals keep the total of a wallet within Points::MAX")
    }

    pub(crate) fn bucket(&mut self, name: BucketName) -> &mut Points {
        match name {
            BucketName::Pending => &mut self.pending,
            BucketName::Available => &mut self.available,
            BucketName::Held => &mut self.held,
            BucketName::Debt => &mut self.debt,
        }
    }
}

/// One member's holding of one currency, without its lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wallet {
    /// The buckets.
    pub buckets: Buckets,
    /// How many transactions have touched it.
    pub sequence: i64,
    /// The last of them; `None` for a wallet without any.
    pub last_position: Option<Position>,
    /// When the last of them took effect.
    pub last_at: Option<Timestamp>,
    /// When to look for what falls due: never later than the next event, and
    /// earlier where a lot was spent before its expiry.
    pub next_due: Option<Timestamp>,
}

/// A lot and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Its terms, with the expiry as it is now.
    pub terms: LotTerms,
    /// Pending or available points left.
    pub remaining: Points,
    /// Points of it in holds.
    pub held: Points,
    /// Whether it still waits for its activation.
    pub pending: bool,
}

/// Points set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Position of the transaction that made it.
    pub position: Position,
    /// The brand that is to accept the points.
    pub brand: BrandId,
    /// When they come back by themselves.
    pub expires_at: Timestamp,
    /// What is left of it by lot, in the order in which it is captured; no
    /// entry is zero, and an ended hold has none.
    pub lots: Vec<HoldLot>,
}

/// A hold's points of one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLot {
    /// The lot.
    pub lot: LotId,
    /// The points.
    pub points: Points,
}

impl Hold {
    /// The points left in it.
    #[must_use]
    pub fn remaining(&self) -> Points {
        self.lots.iter().fold(Points::ZERO, |sum, part| {
            sum.checked_add(part.points)
                .expect("a hold is within its wallet's total")
        })
    }
}

/// Where a lot stands in the order of spending: soonest-expiring first, then
/// oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpendKey {
    /// When it expires; [`SpendKey::never`] stands for never.
    pub expires_at: Timestamp,
    /// When its points were earned.
    pub earned_at: Timestamp,
    /// The lot.
    pub lot: LotId,
}

impl SpendKey {
    /// The expiry of what does not expire: microseconds of 9999-01-01T00:00Z,
    /// later than any calendar date a programme can give.
    pub const NEVER_MICROS: i64 = 253_370_764_800_000_000;

    /// The expiry of what does not expire.
    #[must_use]
    pub fn never() -> Timestamp {
        Timestamp::from_micros(Self::NEVER_MICROS).expect("the year 9999 is in range")
    }

    fn of(lot: &Lot) -> Self {
        Self {
            expires_at: lot.terms.expires_at.unwrap_or_else(Self::never),
            earned_at: lot.terms.earned_at,
            lot: lot.terms.lot,
        }
    }
}

/// How far the available lots have been read, in the order of spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadThrough {
    /// Not at all; nor have pending lots and holds.
    Nothing,
    /// Up to and with this lot; pending lots and holds entirely.
    Key(SpendKey),
    /// Entirely.
    All,
}

/// A wallet as far as it has been read, and what the engine changed in it.
#[derive(Clone, Debug)]
pub struct WalletBook {
    pub(crate) wallet: Wallet,
    pub(crate) lots: BTreeMap<LotId, Lot>,
    /// Lots with available points. One beyond `read_through` is here because
    /// it was touched; others beyond may exist unread.
    spendable: BTreeSet<SpendKey>,
    /// Lots with pending points, by activation.
    pending: BTreeSet<(Timestamp, LotId)>,
    pub(crate) holds: BTreeMap<Position, Hold>,
    read_through: ReadThrough,
    changed: bool,
    changed_lots: BTreeSet<LotId>,
    changed_holds: BTreeSet<Position>,
}

/// What falls due next in a wallet. The order is that of events at the same
/// instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Activate,
    HoldTimeout(Position),
    Expire,
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
            holds: BTreeMap::new(),
            read_through,
            changed: false,
            changed_lots: BTreeSet::new(),
            changed_holds: BTreeSet::new(),
        }
    }

    /// Adds what was read: open lots, those that holds name, and open holds.
    /// What is here already is newer and stays.
    pub fn add_read(
        &mut self,
        lots: impl IntoIterator<Item = Lot>,
        holds: impl IntoIterator<Item = Hold>,
        read_through: ReadThrough,
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
        self.read_through = read_through;
    }

    /// The wallet.
    #[must_use]
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// How far its lots have been read.
    #[must_use]
    pub fn read_through(&self) -> ReadThrough {
        self.read_through
    }

    /// Whether something may be due at `now`.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.wallet.next_due.is_some_and(|due| due <= now)
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

    /// All lots known here.
    pub fn lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.values()
    }

    /// All holds known here.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Forgets ended lots and holds, and what was changed: for one who keeps
    /// a book for longer than a batch.
    pub fn settle(&mut self) {
        for lot in std::mem::take(&mut self.changed_lots) {
            let ended = self
                .lots
                .get(&lot)
                .is_some_and(|l| l.remaining.is_zero() && l.held.is_zero());
            if ended && self.read_through == ReadThrough::All {
                self.lots.remove(&lot);
            }
        }
        for hold in std::mem::take(&mut self.changed_holds) {
            if self
                .holds
                .get(&hold)
                .is_some_and(|hold| hold.lots.is_empty())
            {
                self.holds.remove(&hold);
            }
        }
        self.changed = false;
    }

    /// Puts a lot in the order it belongs to.
    fn file(&mut self, lot: &Lot) {
        if lot.remaining.is_zero() {
            return;
        }
        match lot.terms.activates_at {
            Some(activates_at) if lot.pending => {
                self.pending.insert((activates_at, lot.terms.lot));
            }
            _ => {
                self.spendable.insert(SpendKey::of(lot));
            }
        }
    }

    fn unfile(&mut self, lot: &Lot) {
        self.spendable.remove(&SpendKey::of(lot));
        if let Some(activates_at) = lot.terms.activates_at {
            self.pending.remove(&(activates_at, lot.terms.lot));
        }
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
        self.lots.insert(id, lot);
        self.changed_lots.insert(id);
    }

    pub(crate) fn add_lot(&mut self, lot: Lot) {
        let id = lot.terms.lot;
        let due = if lot.pending {
            lot.terms.activates_at
        } else {
            lot.terms.expires_at
        };
        self.due_by(due);
        self.file(&lot);
        self.lots.insert(id, lot);
        self.changed_lots.insert(id);
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
    pub(crate) fn due_by(&mut self, due: Option<Timestamp>) {
        self.wallet.next_due = match (self.wallet.next_due, due) {
            (Some(known), Some(due)) => Some(known.min(due)),
            (known, due) => known.or(due),
        };
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

    /// Records that the transaction at `position` touched the wallet.
    pub(crate) fn touch(
        &mut self,
        currency: &CurrencyId,
        position: Position,
        at: Timestamp,
    ) -> WalletAfter {
        self.wallet.sequence += 1;
        self.wallet.last_position = Some(position);
        self.wallet.last_at = Some(at);
        self.changed = true;
        WalletAfter {
            currency: currency.clone(),
            buckets: self.wallet.buckets,
            sequence: self.wallet.sequence,
        }
    }

    fn has_read(&self, key: &SpendKey) -> bool {
        match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(read) => *key <= read,
            ReadThrough::All => true,
        }
    }

    /// Lots to take `points` from, in the order of spending. The caller has
    /// made sure that so many are available.
    pub(crate) fn plan_spend(
        &self,
        currency: &CurrencyId,
        points: Points,
    ) -> Result<Vec<HoldLot>, Stop> {
        let mut parts = Vec::new();
        let mut missing = points;
        for key in self.spendable.iter().take_while(|key| self.has_read(key)) {
            let part = self.lots[&key.lot].remaining.min(missing);
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

    /// What falls due first, whenever that is.
    pub(crate) fn next_event(
        &self,
        currency: &CurrencyId,
    ) -> Result<Option<(Timestamp, Event)>, Stop> {
        let lots_needed = || {
            Err(Stop::LotsNeeded {
                currency: currency.clone(),
            })
        };
        if self.read_through == ReadThrough::Nothing {
            return lots_needed();
        }
        let activation = self.pending.first().map(|(at, _)| (*at, Event::Activate));
        let timeout = self
            .holds
            .values()
            .filter(|hold| !hold.lots.is_empty())
            .map(|hold| (hold.expires_at, Event::HoldTimeout(hold.position)))
            .min();
        let expiry = match self.spendable.first() {
            Some(key) if self.has_read(key) => {
                (key.expires_at != SpendKey::never()).then_some((key.expires_at, Event::Expire))
            }
            _ if self.read_through == ReadThrough::All => None,
            _ => return lots_needed(),
        };
        Ok([activation, timeout, expiry].into_iter().flatten().min())
    }

    /// When the next thing falls due, of a wallet that has been read so far as
    /// to tell.
    pub fn first_due(&self, currency: &CurrencyId) -> Result<Option<Timestamp>, Stop> {
        Ok(self.next_event(currency)?.map(|(due, _)| due))
    }

    /// The first `max` pending lots that are activated at `at`.
    pub(crate) fn activating(&self, at: Timestamp, max: usize) -> Vec<LotId> {
        let at_instant = self
            .pending
            .iter()
            .take_while(|(activates_at, _)| *activates_at == at);
        at_instant.take(max).map(|(_, lot)| *lot).collect()
    }

    /// The first `max` lots that expire at `at`.
    pub(crate) fn expiring(
        &self,
        currency: &CurrencyId,
        at: Timestamp,
        max: usize,
    ) -> Result<Vec<LotId>, Stop> {
        let at_instant = self
            .spendable
            .iter()
            .take_while(|key| key.expires_at == at && self.has_read(key));
        let lots: Vec<LotId> = at_instant.take(max).map(|key| key.lot).collect();
        let all_read = match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(key) => key.expires_at > at,
            ReadThrough::All => true,
        };
        if lots.len() < max && !all_read {
            return Err(Stop::LotsNeeded {
                currency: currency.clone(),
            });
        }
        Ok(lots)
    }

    /// Sets when the wallet is to be looked at next.
    pub(crate) fn set_next_due(&mut self, due: Option<Timestamp>) {
        if self.wallet.next_due != due {
            self.wallet.next_due = due;
            self.changed = true;
        }
    }
}

/// A member's wallets as far as they have been read.
#[derive(Clone, Debug)]
pub struct MemberBook {
    /// The programme.
    pub program: ProgramId,
    /// The member.
    pub member: MemberId,
    /// The wallets that exist or that the work at hand may open.
    pub wallets: BTreeMap<CurrencyId, WalletBook>,
}

impl MemberBook {
    /// A member without wallets.
    #[must_use]
    pub fn new(program: ProgramId, member: MemberId) -> Self {
        Self {
            program,
            member,
            wallets: BTreeMap::new(),
        }
    }

    /// The wallet with that hold, ended or not, as far as it has been read.
    #[must_use]
    pub fn wallet_of_hold(&self, hold: Position) -> Option<&CurrencyId> {
        self.wallets
            .iter()
            .find(|(_, wallet)| wallet.holds.contains_key(&hold))
            .map(|(currency, _)| currency)
    }
}
