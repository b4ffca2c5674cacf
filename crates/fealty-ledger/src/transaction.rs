//! Transactions: what moves points in a member's wallets.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{
    BrandId, CurrencyId, LotId, MemberId, Metadata, Points, Position, ProgramId, RequestId, RuleId,
    ShardId, Timestamp, TransactionPlace,
};

use crate::{
    Account, Backfilled, BucketName, Buckets, Command, Draw, Ended, Facts, GivenLot, Inactivity,
    LotTerms, Principal, SlotMove, TierChanged,
};

/// One entry of a shard's log, of one member. Immutable. The order of the
/// fields is the order of the canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// The number of the engine that made it: a later one verifies it by that one's
    /// rules. See [`crate::Engine`].
    pub engine: u16,
    /// The shard.
    pub shard: ShardId,
    /// Its place in the shard's log.
    pub position: Position,
    /// The programme.
    pub program: ProgramId,
    /// The member.
    pub member: MemberId,
    /// When it took effect: when it was asked for, or fell due.
    pub effective_at: Timestamp,
    /// When it was written. Within a shard it never goes back.
    pub written_at: Timestamp,
    /// Random, so that nobody who has a hash of the bytes finds them by guessing.
    pub nonce: [u8; 16],
    /// What brought it about.
    pub cause: Cause,
    /// Its movements, in order.
    pub transfers: Vec<Transfer>,
    /// The lots it made.
    pub lots: Vec<LotTerms>,
    /// The lots whose expiry it moved.
    pub expiry_changes: Vec<ExpiryChange>,
    /// Each wallet it touched, as it stood afterwards.
    pub wallets: Vec<WalletAfter>,
    /// Who asked for it, if somebody did.
    pub principal: Option<Principal>,
}

/// What brought a transaction about.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are requests")]
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cause {
    /// Somebody asked for it.
    Request {
        /// The caller's name for it.
        request_id: RequestId,
        /// What was asked.
        command: Command,
        /// What the caller wants to be kept with it.
        metadata: Metadata,
        /// When it was asked, where that is not when it took effect.
        asked_at: Option<Timestamp>,
        /// The version of the programme that was applied.
        program_version: u32,
        /// What was looked up to decide it, or decided once for all.
        facts: Option<Facts>,
    },
    /// It fell due.
    Due(Due),
    /// Another member gave points.
    Received(Received),
    /// The member's tier decides otherwise than before.
    TierChanged(TierChanged),
    /// A period ended.
    Ended(Ended),
    /// Counters were worked out from the log.
    Backfilled(Backfilled),
}

/// What fell due. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Due {
    /// Pending points became available.
    Activate,
    /// A hold reached its time-out.
    HoldTimeout {
        /// The hold: position of the transaction that made it.
        hold: Position,
    },
    /// Points expired.
    Expire,
    /// Points expired, for the member was inactive for long enough.
    ExpireInactive,
}

/// The other side of a gift.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Received {
    /// The member who gave them.
    pub from: MemberId,
    /// The giver's transaction, written together with this one.
    pub gift: TransactionPlace,
    /// The currency.
    pub currency: CurrencyId,
    /// The points, with the terms they keep.
    pub lots: Vec<GivenLot>,
}

/// One movement of points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transfer {
    /// The currency.
    pub currency: CurrencyId,
    /// The account debited.
    pub debit: Account,
    /// The account credited.
    pub credit: Account,
    /// How many points; above zero.
    pub amount: Points,
    /// The lot whose points moved.
    pub lot: LotId,
    /// The brand that issued them, where neither account names it.
    pub other_issuer: Option<BrandId>,
    /// The earning rule that gave them.
    pub rule: Option<RuleId>,
}

impl Transfer {
    /// A movement of a lot's points that no rule gave.
    pub(crate) fn of(
        currency: &CurrencyId,
        debit: Account,
        credit: Account,
        amount: Points,
        lot: LotId,
        issuer: &BrandId,
    ) -> Self {
        let mut transfer = Self {
            currency: currency.clone(),
            debit,
            credit,
            amount,
            lot,
            other_issuer: None,
            rule: None,
        };
        if transfer.named_brand() != Some(issuer) {
            transfer.other_issuer = Some(issuer.clone());
        }
        transfer
    }

    fn named_brand(&self) -> Option<&BrandId> {
        self.debit.brand().or_else(|| self.credit.brand())
    }

    /// The brand that issued the points.
    ///
    /// # Panics
    /// If the transfer names no brand, which none that the engine wrote does.
    #[must_use]
    pub fn issuer(&self) -> &BrandId {
        self.other_issuer
            .as_ref()
            .or_else(|| self.named_brand())
            .expect("a transfer names its issuer")
    }
}

/// A lot whose expiry was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExpiryChange {
    /// The lot.
    pub lot: LotId,
    /// Its new expiry.
    pub expires_at: Timestamp,
}

/// A wallet after a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WalletAfter {
    /// The currency.
    pub currency: CurrencyId,
    /// Its buckets.
    pub buckets: Buckets,
    /// How many transactions have touched it.
    pub sequence: i64,
    /// When the points that go with inactivity are gone.
    pub inactive_at: Option<Timestamp>,
    /// Whether they go then.
    pub inactivity: Inactivity,
}

impl Transaction {
    /// The kind, as shown and counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.cause {
            Cause::Request { command, .. } => command.kind(),
            Cause::Due(Due::Activate) => "activate",
            Cause::Due(Due::HoldTimeout { .. }) => "hold_timeout",
            Cause::Due(Due::Expire | Due::ExpireInactive) => "expire",
            Cause::Received(_) => "gift_received",
            Cause::TierChanged(_) => "tier_changed",
            Cause::Ended(_) => "period_ended",
            Cause::Backfilled(_) => "counters_backfilled",
        }
    }

    /// The request that made it, if one did.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        match &self.cause {
            Cause::Request { request_id, .. } => Some(request_id),
            Cause::Due(_)
            | Cause::Received(_)
            | Cause::TierChanged(_)
            | Cause::Ended(_)
            | Cause::Backfilled(_) => None,
        }
    }

    /// What was asked for, if something was.
    #[must_use]
    pub fn command(&self) -> Option<&Command> {
        match &self.cause {
            Cause::Request { command, .. } => Some(command),
            Cause::Due(_)
            | Cause::Received(_)
            | Cause::TierChanged(_)
            | Cause::Ended(_)
            | Cause::Backfilled(_) => None,
        }
    }

    /// The version of the programme that the request was planned by, if it was one.
    #[must_use]
    pub fn program_version(&self) -> Option<u32> {
        match &self.cause {
            Cause::Request {
                program_version, ..
            } => Some(*program_version),
            Cause::Due(_)
            | Cause::Received(_)
            | Cause::TierChanged(_)
            | Cause::Ended(_)
            | Cause::Backfilled(_) => None,
        }
    }

    /// What budgets gave for it, or got back.
    #[must_use]
    pub fn draws(&self) -> &[Draw] {
        match &self.cause {
            Cause::Request {
                facts: Some(facts), ..
            } => facts.draws(),
            _ => &[],
        }
    }

    /// What it moved of the member's numbers, if it recorded a purchase, a period ended, or
    /// counters were worked out.
    #[must_use]
    pub fn moves(&self) -> &[SlotMove] {
        match &self.cause {
            Cause::Request {
                facts: Some(facts), ..
            } => facts.moves(),
            Cause::Ended(ended) => &ended.facts.moves,
            Cause::Backfilled(backfilled) => &backfilled.moves,
            _ => &[],
        }
    }

    /// When it was what a request records that moves the member's numbers, or gives back.
    #[must_use]
    pub fn happened_at(&self) -> Option<Timestamp> {
        let Cause::Request {
            facts: Some(facts), ..
        } = &self.cause
        else {
            return None;
        };
        match facts.of_return() {
            Some(facts) => Some(facts.purchased_at),
            None => Some(facts.earned()?.purchased_at),
        }
    }

    /// What the caller wanted to be kept with it; without a request, nothing.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        match &self.cause {
            Cause::Request { metadata, .. } => Some(metadata),
            Cause::Due(_)
            | Cause::Received(_)
            | Cause::TierChanged(_)
            | Cause::Ended(_)
            | Cause::Backfilled(_) => None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> TransactionPlace {
        TransactionPlace {
            shard: self.shard,
            position: self.position,
        }
    }

    /// The buckets of a wallet that it touched as they stood before it.
    ///
    /// # Panics
    /// If the transaction is none that the engine wrote: its movements do not lead
    /// to where the wallet stood afterwards.
    #[must_use]
    pub fn buckets_before(&self, after: &WalletAfter) -> Buckets {
        let mut raised: BTreeMap<BucketName, i64> = BTreeMap::new();
        let of_wallet = self
            .transfers
            .iter()
            .filter(|moved| moved.currency == after.currency);
        for transfer in of_wallet {
            for (account, is_credit) in [(&transfer.credit, true), (&transfer.debit, false)] {
                let Account::Wallet(name) = account else {
                    continue;
                };
                // Debt is the one bucket that a debit raises.
                let sign = if is_credit == (*name == BucketName::Debt) {
                    -1
                } else {
                    1
                };
                *raised.entry(*name).or_default() += sign * transfer.amount.get();
            }
        }
        let mut before = after.buckets;
        for (name, raised) in raised {
            let bucket = before.bucket(name);
            let undone = Points::new(bucket.get() - raised);
            *bucket = undone.expect("the engine's movements lead to where it stands");
        }
        before
    }

    /// The brands that it names: those of its accounts, and the issuers.
    pub fn brands(&self) -> impl Iterator<Item = &BrandId> {
        let of_command = self.command().and_then(Command::brand);
        let of_facts = match &self.cause {
            Cause::Request {
                facts: Some(facts), ..
            } => facts.of_return().map(|facts| &facts.brand),
            _ => None,
        };
        let of_transfers = self.transfers.iter().flat_map(|transfer| {
            [
                transfer.debit.brand(),
                transfer.credit.brand(),
                transfer.other_issuer.as_ref(),
            ]
        });
        let named = of_command.into_iter().chain(of_facts);
        named.chain(of_transfers.flatten())
    }
}
