//! The ledger the long way round: plain numbers in plain lists, every question
//! answered by looking at everything. It shares no code with the engine.
//!
//! One long file on purpose: it is to be read from top to bottom as a second telling
//! of the whole ledger.

use std::collections::BTreeMap;

use crate::steps::{MEMBERS, Policy, Step, What, When};

/// An hour count that never comes.
const NEVER: i64 = i64::MAX;
const RELEASE_GRACE: i64 = 24;

/// A lot's name: shard, position, number.
pub(crate) type LotName = (usize, i64, i64);

/// What is to be seen of the books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Pending, available, held, debt by member.
    pub(crate) buckets: Vec<[i64; 4]>,
    /// Remaining, held, expired points, whether pending, by lot.
    pub(crate) lots: BTreeMap<LotName, (i64, i64, i64, bool)>,
    /// Points left by open hold and lot.
    pub(crate) holds: BTreeMap<(usize, i64), Vec<(LotName, i64)>>,
    /// Length of each shard's log.
    pub(crate) heads: Vec<i64>,
    /// Debits and credits by kind of account, its brand, and issuer.
    pub(crate) accounts: BTreeMap<(String, String, String), (i64, i64)>,
}

#[derive(Clone, Debug)]
struct Lot {
    name: LotName,
    brand: usize,
    left: i64,
    held: i64,
    expired: i64,
    /// Hour of activation while it is pending; `NEVER`: on an event.
    activates: Option<i64>,
    /// Hour of expiry; `None`: with inactivity; `NEVER`: never.
    expires: Option<i64>,
    /// Hour before which it does not go with inactivity: a full term since it was received.
    lives_until: Option<i64>,
}

#[derive(Clone, Debug)]
struct Hold {
    position: i64,
    brand: usize,
    times_out: i64,
    parts: Vec<(LotName, i64)>,
}

/// What a transaction moved over the wallet's border.
#[derive(Clone, Debug)]
struct Entry {
    position: i64,
    /// Gave or took; `None` where it cannot be reversed.
    gave: Option<bool>,
    account: (&'static str, usize),
    parts: Vec<(LotName, i64)>,
    /// What a purchase took besides, for points that it was paid with.
    paid: Vec<(LotName, i64)>,
    /// What of the 100 that a purchase cost has come back.
    returned: i64,
    reversed: BTreeMap<LotName, i64>,
}

/// Whether points that go with inactivity go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inactivity {
    #[default]
    Counts,
    Waived,
}

#[derive(Clone, Debug, Default)]
struct Member {
    lots: Vec<Lot>,
    holds: Vec<Hold>,
    entries: Vec<Entry>,
    /// Positions of all holds ever made, and of all requests' transactions.
    hold_names: Vec<i64>,
    lot_names: Vec<LotName>,
    /// To whom how much is owed, the oldest first.
    debts: Vec<((&'static str, usize), i64)>,
    inactive: Option<i64>,
    inactivity: Inactivity,
    /// Whether inactivity waits for the tier.
    tiers_decide: bool,
    last: i64,
}

pub(crate) struct Model {
    now: i64,
    members: Vec<Member>,
    heads: Vec<i64>,
    accounts: BTreeMap<(String, String, String), (i64, i64)>,
}

fn brand_name(brand: usize) -> String {
    ["shop", "cafe"][brand].to_owned()
}

/// For all but one, the programme says so.
pub(crate) fn tiers_decide(member: usize) -> bool {
    member != 1
}

pub(crate) fn shard_of(member: usize) -> usize {
    usize::from(member == 2)
}

impl Member {
    fn new(number: usize) -> Self {
        Self {
            tiers_decide: tiers_decide(number),
            ..Self::default()
        }
    }

    fn sum(&self, of: impl Fn(&Lot) -> i64) -> i64 {
        self.lots.iter().map(of).sum()
    }

    fn pending(&self) -> i64 {
        self.sum(|lot| if lot.activates.is_some() { lot.left } else { 0 })
    }

    fn available(&self) -> i64 {
        self.sum(|lot| if lot.activates.is_none() { lot.left } else { 0 })
    }

    fn debt(&self) -> i64 {
        self.debts.iter().map(|(_, points)| points).sum()
    }

    fn lot(&mut self, name: LotName) -> &mut Lot {
        let found = self.lots.iter_mut().find(|lot| lot.name == name);
        found.expect("the lot is there")
    }

    fn expiry(&self, lot: &Lot) -> i64 {
        match lot.expires {
            Some(hour) => hour,
            None if self.inactivity == Inactivity::Waived => NEVER,
            None => self.inactive.max(lot.lives_until).unwrap_or(NEVER),
        }
    }

    /// Whether a lot's points go by an hour, of which the tier is known before `known`.
    fn goes(&self, lot: &Lot, known: i64) -> bool {
        lot.expires.is_some() || !self.tiers_decide || self.expiry(lot) < known
    }

    fn keep_active(&mut self, until: i64) {
        self.inactive = Some(self.inactive.map_or(until, |known| known.max(until)));
    }

    /// Points that go with inactivity come in, and live so long at the least. The first
    /// that ever do give the wallet its date.
    fn receive_until(&mut self, until: i64) -> Option<i64> {
        if self.inactive.is_none() {
            self.keep_active(until);
        }
        (self.inactive < Some(until)).then_some(until)
    }

    /// Lots in the order of spending, with what they have left.
    fn in_order(&self) -> Vec<(LotName, i64)> {
        let mut open: Vec<&Lot> = self
            .lots
            .iter()
            .filter(|lot| lot.left > 0 && lot.activates.is_none())
            .collect();
        // With inactivity comes after every date, and before never.
        open.sort_by_key(|lot| {
            let expires = lot.expires.unwrap_or(NEVER - 1);
            (expires, lot.lives_until, lot.name)
        });
        open.iter().map(|lot| (lot.name, lot.left)).collect()
    }

    fn choose(&self, points: i64) -> Vec<(LotName, i64)> {
        let mut missing = points;
        let mut parts = Vec::new();
        for (name, left) in self.in_order() {
            let part = left.min(missing);
            if part > 0 {
                parts.push((name, part));
                missing -= part;
            }
        }
        parts
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            members: (0..MEMBERS).map(Member::new).collect(),
            heads: vec![0; 2],
            accounts: BTreeMap::new(),
        }
    }

    pub(crate) fn picture(&self) -> Picture {
        let mut picture = Picture {
            heads: self.heads.clone(),
            accounts: self.accounts.clone(),
            ..Picture::default()
        };
        for (number, member) in self.members.iter().enumerate() {
            let held = member.sum(|lot| lot.held);
            picture
                .buckets
                .push([member.pending(), member.available(), held, member.debt()]);
            for lot in &member.lots {
                let pending = lot.activates.is_some() && lot.left > 0;
                picture
                    .lots
                    .insert(lot.name, (lot.left, lot.held, lot.expired, pending));
            }
            for hold in &member.holds {
                picture
                    .holds
                    .insert((shard_of(number), hold.position), hold.parts.clone());
            }
        }
        picture
    }

    fn next(&mut self, member: usize) -> i64 {
        let head = &mut self.heads[shard_of(member)];
        *head += 1;
        *head
    }

    /// Books a movement: kinds of accounts, with a brand for those outside.
    fn book(
        &mut self,
        debit: (&str, Option<usize>),
        credit: (&str, Option<usize>),
        issuer: usize,
        points: i64,
    ) {
        if points == 0 {
            return;
        }
        let key = |(kind, brand): (&str, Option<usize>)| {
            let brand = brand.map(brand_name).unwrap_or_default();
            (kind.to_owned(), brand, brand_name(issuer))
        };
        self.accounts.entry(key(debit)).or_default().0 += points;
        self.accounts.entry(key(credit)).or_default().1 += points;
    }

    fn put(&mut self, member: usize, lot: &Lot, source: (&'static str, Option<usize>)) {
        let points = lot.left;
        let owed = if lot.activates.is_some() {
            0
        } else {
            self.repay(member, source, lot.brand, points)
        };
        let bucket = if lot.activates.is_some() {
            "pending"
        } else {
            "available"
        };
        self.book(source, (bucket, None), lot.brand, points - owed);
        let of = &mut self.members[member];
        of.lot_names.push(lot.name);
        of.lots.push(Lot {
            left: points - owed,
            ..lot.clone()
        });
    }

    /// Repays debt, as far as there is some, with points that come from an account.
    fn repay(
        &mut self,
        member: usize,
        source: (&str, Option<usize>),
        issuer: usize,
        points: i64,
    ) -> i64 {
        let mut repaid = 0;
        while let Some((creditor, owed)) = self.members[member].debts.first().copied()
            && repaid < points
        {
            let part = owed.min(points - repaid);
            repaid += part;
            let (kind, brand) = creditor;
            let account = (kind, Some(brand));
            if brand == issuer {
                self.book(source, ("debt", None), issuer, part);
            } else {
                self.book(source, account, issuer, part);
                self.book(account, ("debt", None), brand, part);
            }
            let debts = &mut self.members[member].debts;
            if part == owed {
                debts.remove(0);
            } else {
                debts[0].1 -= part;
            }
        }
        repaid
    }

    fn release(&mut self, member: usize, hold: &Hold, at: i64) {
        for (name, points) in &hold.parts {
            let brand = self.members[member].lot(*name).brand;
            let owed = self.repay(member, ("held", None), brand, *points);
            let back = points - owed;
            let of = &mut self.members[member];
            let known = of.lot(*name).clone();
            let expiry = of.expiry(&known);
            let lot = of.lot(*name);
            lot.held -= points;
            lot.left += back;
            if back > 0 && expiry < at + RELEASE_GRACE {
                lot.expires = Some(at + RELEASE_GRACE);
                lot.lives_until = None;
            }
            self.book(("held", None), ("available", None), brand, back);
        }
    }

    /// Does what is due by an hour, one event after the other. The tier is known before
    /// it.
    fn advance(&mut self, member: usize, to: i64) {
        loop {
            let of = &self.members[member];
            let mut events: Vec<(i64, u8, i64)> = Vec::new();
            let goes = |lot: &&Lot| match lot.activates {
                Some(NEVER) | None => of.goes(lot, to),
                Some(_) => true,
            };
            for lot in of.lots.iter().filter(|lot| lot.left > 0).filter(goes) {
                match lot.activates {
                    Some(NEVER) if lot.expires.is_none() => events.push((of.expiry(lot), 5, 0)),
                    Some(NEVER) => events.push((of.expiry(lot), 4, 0)),
                    Some(at) => events.push((at, 0, 0)),
                    None if lot.expires.is_none() => events.push((of.expiry(lot), 3, 0)),
                    None => events.push((of.expiry(lot), 2, 0)),
                }
            }
            for hold in &of.holds {
                events.push((hold.times_out, 1, hold.position));
            }
            let Some((due, kind, hold)) = events.into_iter().min().filter(|event| event.0 <= to)
            else {
                return;
            };
            let at = due.max(of.last);
            self.next(member);
            self.members[member].last = at;
            match kind {
                0 => {
                    let activated: Vec<LotName> = self.members[member]
                        .lots
                        .iter()
                        .filter(|lot| lot.left > 0 && lot.activates == Some(due))
                        .map(|lot| lot.name)
                        .collect();
                    for name in activated {
                        self.activate(member, name);
                    }
                }
                1 => {
                    let holds = &mut self.members[member].holds;
                    let index = holds.iter().position(|open| open.position == hold);
                    let hold = holds.remove(index.expect("the hold is open"));
                    self.release(member, &hold, at);
                }
                _ => {
                    let of = &self.members[member];
                    let dies = |lot: &&Lot| {
                        let class = match (lot.activates, lot.expires) {
                            (Some(NEVER), None) => 5,
                            (Some(NEVER), Some(_)) => 4,
                            (Some(_), _) => return false,
                            (None, None) => 3,
                            (None, Some(_)) => 2,
                        };
                        lot.left > 0 && class == kind && of.expiry(lot) == due
                    };
                    let dead: Vec<LotName> =
                        of.lots.iter().filter(dies).map(|lot| lot.name).collect();
                    for name in dead {
                        let lot = self.members[member].lot(name);
                        let (points, brand) = (lot.left, lot.brand);
                        lot.left = 0;
                        lot.expired += points;
                        let bucket = if kind >= 4 { "pending" } else { "available" };
                        self.book((bucket, None), ("expired", Some(brand)), brand, points);
                    }
                }
            }
        }
    }

    fn activate(&mut self, member: usize, name: LotName) {
        let lot = self.members[member].lot(name);
        let (points, brand) = (lot.left, lot.brand);
        let owed = self.repay(member, ("pending", None), brand, points);
        let lot = self.members[member].lot(name);
        lot.activates = None;
        lot.left -= owed;
        self.book(("pending", None), ("available", None), brand, points - owed);
    }

    fn take(&mut self, member: usize, parts: &[(LotName, i64)], to: (&'static str, Option<usize>)) {
        for (name, points) in parts {
            let lot = self.members[member].lot(*name);
            lot.left -= points;
            let brand = lot.brand;
            self.book(("available", None), to, brand, *points);
        }
    }

    /// Plays a step: the reason of a refusal, or nothing.
    pub(crate) fn play(&mut self, step: &Step) -> Option<&'static str> {
        let member = step.member;
        if let What::Wait { hours } = step.what {
            self.now += hours;
            return None;
        }
        if let What::ChangeTier {
            keeps,
            hours_ago,
            after_fall,
        } = step.what
        {
            self.change_tier(member, keeps, (self.now - hours_ago).max(0), after_fall);
            return None;
        }
        // Who names what is not there is refused before anything is advanced.
        match &step.what {
            What::Capture { hold, .. }
            | What::Purchase { hold, .. }
            | What::Release { hold }
            | What::ExtendHold { hold, .. }
                if *hold >= self.members[member].hold_names.len() =>
            {
                return Some("hold not found");
            }
            What::Extend { lot, .. } | What::Reinstate { lot, .. }
                if *lot >= self.members[member].lot_names.len() =>
            {
                return Some("lot not found");
            }
            What::Reverse { transaction, .. } | What::Activate { transaction }
                if *transaction >= self.members[member].entries.len() =>
            {
                return Some("transaction not found");
            }
            What::Return {
                transaction,
                amount,
                ..
            } => {
                let entries = &self.members[member].entries;
                let Some(entry) = entries.get(*transaction) else {
                    return Some("transaction not found");
                };
                let is_purchase = !entry.paid.is_empty();
                let left = 100 - entry.returned;
                if is_purchase && (left == 0 || amount.is_some_and(|amount| amount > left)) {
                    return Some("return exceeded");
                }
            }
            What::Transfer { to, .. } if *to == member => return Some("to oneself"),
            _ => {}
        }
        let at = self.now.max(self.members[member].last);
        self.advance(member, at);
        let refused = self.ask(member, &step.what, at);
        if refused.is_none() {
            self.members[member].last = at;
        }
        refused
    }

    fn change_tier(&mut self, member: usize, keeps: bool, since: i64, after_fall: i64) {
        let of = &self.members[member];
        if keeps == (of.inactivity == Inactivity::Waived) {
            return;
        }
        let at = since.max(of.last);
        // What waits for the tier, and is due when it begins, comes after it.
        self.advance(member, at);
        self.next(member);
        let of = &mut self.members[member];
        of.last = at;
        of.inactivity = if keeps {
            Inactivity::Waived
        } else {
            of.inactive = of.inactive.map(|known| known.max(since + after_fall));
            Inactivity::Counts
        };
    }

    fn done(
        &mut self,
        member: usize,
        gave: Option<bool>,
        account: (&'static str, usize),
        parts: Vec<(LotName, i64)>,
    ) -> i64 {
        let position = self.next(member);
        self.members[member].entries.push(Entry {
            position,
            gave,
            account,
            parts,
            paid: Vec::new(),
            returned: 0,
            reversed: BTreeMap::new(),
        });
        position
    }

    #[expect(clippy::too_many_lines, reason = "a case for each command")]
    fn ask(&mut self, member: usize, what: &What, at: i64) -> Option<&'static str> {
        let available = self.members[member].available();
        match what {
            What::Wait { .. } | What::ChangeTier { .. } => {}
            What::Accrue {
                points,
                brand,
                activates,
                expires,
            } => {
                let now = self.now;
                let expires = match expires {
                    When::Unset => Some(NEVER),
                    When::After(hours) => Some(now + hours),
                    When::Otherwise(_) => None,
                };
                let activates = match activates {
                    When::Unset => None,
                    When::After(hours) => Some(now + hours),
                    When::Otherwise(_) => Some(NEVER),
                };
                if let (Some(activates), Some(expires)) = (activates, expires)
                    && activates >= expires
                    && activates != NEVER
                {
                    return Some("time out of range");
                }
                self.give(member, *points, *brand, activates, expires, "issued", at);
            }
            What::Adjust {
                points,
                brand,
                gives: true,
            } => {
                self.give(member, *points, *brand, None, Some(NEVER), "adjusted", at);
            }
            What::Adjust {
                points,
                brand,
                gives: false,
            } => {
                if available < *points {
                    return Some("insufficient points");
                }
                let parts = self.members[member].choose(*points);
                self.take(member, &parts, ("adjusted", Some(*brand)));
                self.done(member, Some(false), ("adjusted", *brand), parts);
            }
            What::Redeem {
                points,
                brand,
                active,
            } => {
                if available < *points {
                    return Some("insufficient points");
                }
                let parts = self.members[member].choose(*points);
                self.take(member, &parts, ("redeemed", Some(*brand)));
                if let Some(hours) = active {
                    let until = self.now + hours;
                    self.members[member].keep_active(until);
                }
                self.done(member, Some(false), ("redeemed", *brand), parts);
            }
            What::Hold {
                points,
                brand,
                timeout,
            } => {
                if available < *points {
                    return Some("insufficient points");
                }
                let parts = self.members[member].choose(*points);
                for (name, points) in &parts {
                    let lot = self.members[member].lot(*name);
                    lot.left -= points;
                    lot.held += points;
                    let brand = lot.brand;
                    self.book(("available", None), ("held", None), brand, *points);
                }
                let position = self.done(member, None, ("", 0), Vec::new());
                self.members[member].hold_names.push(position);
                self.members[member].holds.push(Hold {
                    position,
                    brand: *brand,
                    times_out: at + timeout,
                    parts,
                });
            }
            What::Capture {
                hold,
                points,
                is_final,
            } => {
                let name = self.members[member].hold_names[*hold];
                let holds = &self.members[member].holds;
                let Some(index) = holds.iter().position(|open| open.position == name) else {
                    return Some("hold exhausted");
                };
                let mut hold = holds[index].clone();
                let total: i64 = hold.parts.iter().map(|part| part.1).sum();
                let points = points.unwrap_or(total);
                if points > total {
                    return Some("hold exhausted");
                }
                let mut missing = points;
                let mut captured = Vec::new();
                for (name, left) in &mut hold.parts {
                    let part = missing.min(*left);
                    missing -= part;
                    *left -= part;
                    if part > 0 {
                        captured.push((*name, part));
                    }
                }
                hold.parts.retain(|part| part.1 > 0);
                for (name, points) in &captured {
                    let lot = self.members[member].lot(*name);
                    lot.held -= points;
                    let brand = lot.brand;
                    let to = ("redeemed", Some(hold.brand));
                    self.book(("held", None), to, brand, *points);
                }
                if *is_final {
                    self.release(member, &hold, at);
                    hold.parts.clear();
                }
                if hold.parts.is_empty() {
                    self.members[member].holds.remove(index);
                } else {
                    self.members[member].holds[index] = hold.clone();
                }
                self.done(member, Some(false), ("redeemed", hold.brand), captured);
            }
            What::Purchase {
                hold,
                brand,
                points,
            } => {
                let name = self.members[member].hold_names[*hold];
                let holds = &self.members[member].holds;
                let Some(index) = holds.iter().position(|open| open.position == name) else {
                    return Some("hold exhausted");
                };
                if holds[index].brand != *brand {
                    return Some("hold not found");
                }
                let paid = self.members[member].holds.remove(index).parts;
                for (name, points) in &paid {
                    let lot = self.members[member].lot(*name);
                    lot.held -= points;
                    let issuer = lot.brand;
                    let to = ("redeemed", Some(*brand));
                    self.book(("held", None), to, issuer, *points);
                }
                self.give(member, *points, *brand, None, Some(NEVER), "issued", at);
                let entries = &mut self.members[member].entries;
                entries.last_mut().expect("it was just added").paid = paid;
            }
            What::Release { hold } => {
                let name = self.members[member].hold_names[*hold];
                let holds = &mut self.members[member].holds;
                let Some(index) = holds.iter().position(|open| open.position == name) else {
                    return Some("hold exhausted");
                };
                let hold = holds.remove(index);
                self.release(member, &hold, at);
                self.done(member, None, ("", 0), Vec::new());
            }
            What::ExtendHold { hold, timeout } => {
                let name = self.members[member].hold_names[*hold];
                let holds = &mut self.members[member].holds;
                let Some(open) = holds.iter_mut().find(|open| open.position == name) else {
                    return Some("hold exhausted");
                };
                if at + timeout <= open.times_out {
                    return Some("not later");
                }
                open.times_out = at + timeout;
                self.done(member, None, ("", 0), Vec::new());
            }
            What::Reverse {
                transaction,
                points,
                policy,
                grace,
            } => {
                return self.reverse(member, *transaction, *points, *policy, *grace, at);
            }
            What::Return {
                transaction,
                amount,
                earns,
                policy,
                grace,
            } => {
                let returned = (*amount, *earns);
                return self.give_back(member, *transaction, returned, (*policy, *grace), at);
            }
            What::Transfer { to, points, term } => {
                if available < *points {
                    return Some("insufficient points");
                }
                let parts = self.members[member].choose(*points);
                self.take(member, &parts, ("gift", None));
                self.done(member, None, ("", 0), Vec::new());
                let there = self.now.max(self.members[*to].last);
                self.advance(*to, there);
                self.members[*to].last = there;
                let position = self.next(*to);
                for (number, (name, points)) in (0..).zip(&parts) {
                    let given = self.members[member].lot(*name).clone();
                    let until = term.map(|hours| self.now + hours).or(given.lives_until);
                    let until = until.filter(|_| given.expires.is_none());
                    let taker = &mut self.members[*to];
                    let lives_until = until.and_then(|until| taker.receive_until(until));
                    let lot = Lot {
                        lives_until,
                        name: (shard_of(*to), position, number),
                        left: *points,
                        held: 0,
                        expired: 0,
                        activates: None,
                        ..given
                    };
                    self.put(*to, &lot, ("gift", None));
                }
            }
            What::Extend { lot, hours } => {
                let name = self.members[member].lot_names[*lot];
                let known = self.members[member].lot(name).clone();
                if known.left == 0 && known.held == 0 {
                    return Some("lot closed");
                }
                let until = self.now + hours;
                if until <= at || until <= self.members[member].expiry(&known) {
                    return Some("expiry not later");
                }
                let lot = self.members[member].lot(name);
                lot.expires = Some(until);
                lot.lives_until = None;
                self.done(member, None, ("", 0), Vec::new());
            }
            What::Reinstate { lot, points, hours } => {
                let name = self.members[member].lot_names[*lot];
                let known = self.members[member].lot(name);
                let points = points.unwrap_or(known.expired);
                if known.expired == 0 || points > known.expired {
                    return Some("not expired");
                }
                let until = self.now + hours;
                if until <= at {
                    return Some("expiry not later");
                }
                let known = self.members[member].lot(name);
                known.expired -= points;
                known.activates = None;
                let brand = known.brand;
                self.bring_back(member, name, points, Some(until), ("expired", Some(brand)));
                self.done(member, None, ("", 0), Vec::new());
            }
            What::Activate { transaction } => {
                let entry = self.members[member].entries[*transaction].clone();
                let waiting: Vec<LotName> = self.members[member]
                    .lots
                    .iter()
                    .filter(|lot| lot.name.1 == entry.position)
                    .filter(|lot| lot.activates.is_some() && lot.left > 0)
                    .map(|lot| lot.name)
                    .collect();
                if waiting.is_empty() {
                    return Some("nothing pending");
                }
                for name in waiting {
                    self.activate(member, name);
                }
                self.done(member, None, ("", 0), Vec::new());
            }
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "plain numbers, in one place")]
    fn give(
        &mut self,
        member: usize,
        points: i64,
        brand: usize,
        activates: Option<i64>,
        expires: Option<i64>,
        source: &'static str,
        at: i64,
    ) {
        let position = self.done(member, Some(true), (source, brand), Vec::new());
        let name = (shard_of(member), position, 0);
        let entries = &mut self.members[member].entries;
        let entry = entries.last_mut().expect("it was just added");
        entry.parts.push((name, points));
        if expires.is_none() {
            let until = self.now + 150;
            self.members[member].keep_active(until);
        }
        let lot = Lot {
            name,
            brand,
            left: points,
            held: 0,
            expired: 0,
            activates: activates.filter(|activates| *activates > at),
            expires,
            lives_until: None,
        };
        self.put(member, &lot, (source, Some(brand)));
    }

    fn reverse(
        &mut self,
        member: usize,
        transaction: usize,
        points: Option<i64>,
        policy: Policy,
        grace: Option<i64>,
        at: i64,
    ) -> Option<&'static str> {
        let entry = self.members[member].entries[transaction].clone();
        let Some(gave) = entry.gave else {
            return Some("not reversible");
        };
        let left_of = |name: &LotName, points: i64| {
            points - entry.reversed.get(name).copied().unwrap_or_default()
        };
        let left = |parts: &[(LotName, i64)]| -> i64 {
            parts.iter().map(|(name, n)| left_of(name, *n)).sum()
        };
        let whole = points.is_none();
        let paid_left = if whole { left(&entry.paid) } else { 0 };
        let left = left(&entry.parts);
        let points = points.unwrap_or(left);
        if points > left || left + paid_left == 0 {
            return Some("reversal exceeded");
        }
        let (kind, brand) = entry.account;
        let account = (kind, Some(brand));
        // All of it: what was paid in points comes back first.
        for (name, paid) in entry.paid.iter().rev().filter(|_| whole) {
            let part = left_of(name, *paid);
            if part > 0 {
                self.note_reversed(member, transaction, *name, part);
                let shop = ("redeemed", Some(brand));
                self.restore(member, *name, part, grace, shop, at);
            }
        }
        let mut missing = points;
        for (name, moved) in entry.parts.iter().rev() {
            let part = left_of(name, *moved).min(missing);
            if part == 0 {
                continue;
            }
            missing -= part;
            self.note_reversed(member, transaction, *name, part);
            if gave {
                self.take_back(member, *name, part, policy, account);
            } else {
                self.restore(member, *name, part, grace, account, at);
            }
        }
        self.done(member, None, ("", 0), Vec::new());
        None
    }

    /// A purchase keeps what its rest earns, if that is less than it has; what it was paid in
    /// points comes back in proportion.
    fn give_back(
        &mut self,
        member: usize,
        transaction: usize,
        (amount, earns): (Option<i64>, i64),
        (policy, grace): (Policy, Option<i64>),
        at: i64,
    ) -> Option<&'static str> {
        let entry = &mut self.members[member].entries[transaction];
        if entry.paid.is_empty() {
            return Some("not a purchase");
        }
        entry.returned += amount.unwrap_or(100 - entry.returned);
        let entry = entry.clone();
        let reversed = |name: &LotName| entry.reversed.get(name).copied().unwrap_or_default();
        let shop = entry.account.1;
        let whole: i64 = entry.paid.iter().map(|(_, points)| points).sum();
        let restored: i64 = entry.paid.iter().map(|(name, _)| reversed(name)).sum();
        let mut missing = whole * entry.returned / 100 - restored;
        for (name, paid) in entry.paid.iter().rev() {
            let part = missing.min(paid - reversed(name)).max(0);
            missing -= part;
            if part > 0 {
                self.note_reversed(member, transaction, *name, part);
                let from = ("redeemed", Some(shop));
                self.restore(member, *name, part, grace, from, at);
            }
        }
        let earns = if entry.returned == 100 { 0 } else { earns };
        for (name, gave) in &entry.parts {
            let part = gave - reversed(name) - earns;
            if part > 0 {
                self.note_reversed(member, transaction, *name, part);
                self.take_back(member, *name, part, policy, ("issued", Some(shop)));
            }
        }
        self.done(member, None, ("", 0), Vec::new());
        None
    }

    fn note_reversed(&mut self, member: usize, transaction: usize, lot: LotName, points: i64) {
        let entry = &mut self.members[member].entries[transaction];
        *entry.reversed.entry(lot).or_default() += points;
    }

    fn take_back(
        &mut self,
        member: usize,
        name: LotName,
        points: i64,
        policy: Policy,
        account: (&'static str, Option<usize>),
    ) {
        let mut missing = points;
        let lot = self.members[member].lot(name);
        let own = lot.left.min(missing);
        lot.left -= own;
        missing -= own;
        let bucket = if lot.activates.is_some() {
            "pending"
        } else {
            "available"
        };
        let gone = lot.expired.min(missing);
        lot.expired -= gone;
        missing -= gone;
        let brand = lot.brand;
        self.book((bucket, None), account, brand, own);
        if policy != Policy::LotOnly {
            let others = self.members[member].choose(missing);
            missing -= others.iter().map(|part| part.1).sum::<i64>();
            self.take(member, &others, account);
        }
        if policy == Policy::Debt {
            if missing > 0 {
                self.members[member]
                    .debts
                    .push(((account.0, brand), missing));
            }
            self.book(("debt", None), account, brand, missing);
        }
    }

    fn restore(
        &mut self,
        member: usize,
        name: LotName,
        points: i64,
        grace: Option<i64>,
        account: (&'static str, Option<usize>),
        at: i64,
    ) {
        let lot = self.members[member].lot(name).clone();
        let of = &self.members[member];
        let past = of.expiry(&lot) <= at;
        let gone = past && of.goes(&lot, at);
        let known = self.members[member].lot(name);
        if gone && grace.is_none() {
            known.expired += points;
            self.book(account, ("expired", Some(lot.brand)), lot.brand, points);
            return;
        }
        let until = grace.filter(|_| past).map(|hours| at + hours);
        self.bring_back(member, name, points, until, account);
    }

    /// Points come back into a lot; what is owed is repaid first.
    fn bring_back(
        &mut self,
        member: usize,
        name: LotName,
        points: i64,
        until: Option<i64>,
        account: (&'static str, Option<usize>),
    ) {
        let brand = self.members[member].lot(name).brand;
        let back = points - self.repay(member, account, brand, points);
        let lot = self.members[member].lot(name);
        lot.left += back;
        if back > 0 && until.is_some() {
            lot.expires = until;
            lot.lives_until = None;
        }
        self.book(account, ("available", None), brand, back);
    }
}
