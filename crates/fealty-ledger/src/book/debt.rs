//! What a wallet owes, to which brand, and how it is repaid.
//!
//! A brand that takes points back which are spent is owed them: it is the creditor.
//! Points that are given, come back or become available repay the oldest debt first,
//! whoever's they are, so nobody has points to spend and owes some. Points of another
//! brand go to the account that took back, as they would have gone had they been there
//! then (the policy `balance`): so in settlement the creditor is paid for them. Were they
//! just gone, the creditor would bear the return, and their issuer would be rid of points
//! that nobody accepted.

use fealty_types::{BrandId, CurrencyId, Points, RuleId};

use super::WalletBook;
use crate::{Account, BucketName, DEBTS_PER_WALLET_MAX, Debt, HoldLot, Transfer};

/// Where points come from that repay debt.
pub(crate) struct Payment<'a> {
    pub(crate) currency: &'a CurrencyId,
    /// The account that they leave.
    pub(crate) from: &'a Account,
    /// The brand that issued them.
    pub(crate) issuer: &'a BrandId,
    /// The lot, and how many of it there are.
    pub(crate) part: HoldLot,
    /// The rule that gave them.
    pub(crate) rule: Option<&'a RuleId>,
}

impl WalletBook {
    /// Has the wallet owe some points more, which an account took back.
    pub(crate) fn owe(&mut self, account: &Account, points: Points) {
        self.shift(None, Some(BucketName::Debt), points);
        let debts = &mut self.wallet.debts;
        let full = debts.len() >= DEBTS_PER_WALLET_MAX;
        let same = |debt: &Debt| debt.account == *account;
        let joined = match debts.last() {
            Some(last) if same(last) => Some(debts.len() - 1),
            _ if full => debts.iter().rposition(same),
            _ => None,
        };
        match joined {
            Some(index) => {
                let sum = debts[index].points.checked_add(points);
                debts[index].points = sum.expect("a debt is within the bucket");
            }
            None => debts.push(Debt {
                account: account.clone(),
                points,
            }),
        }
    }

    /// Repays what the wallet owes, oldest first, as far as the points reach. Answers
    /// with how many were taken, and adds the movements.
    pub(crate) fn repay(&mut self, payment: &Payment<'_>, transfers: &mut Vec<Transfer>) -> Points {
        let lot = payment.part.lot;
        let owed = self.wallet.buckets.debt.min(payment.part.points);
        let mut left = owed;
        while !left.is_zero() {
            let first = &mut self.wallet.debts[0];
            let (creditor, points) = (first.account.clone(), first.points.min(left));
            let rest = first.points.checked_sub(points);
            first.points = rest.expect("no more is repaid than is owed");
            if first.points.is_zero() {
                self.wallet.debts.remove(0);
            }
            left = left.checked_sub(points).expect("a part is at most all");
            let debt = Account::Wallet(BucketName::Debt);
            let brand = creditor.brand().expect("a creditor is a brand").clone();
            let moved = |from: &Account, to, issuer| Transfer {
                rule: payment.rule.cloned(),
                ..Transfer::of(payment.currency, from.clone(), to, points, lot, issuer)
            };
            if brand == *payment.issuer {
                transfers.push(moved(payment.from, debt, &brand));
            } else {
                transfers.push(moved(payment.from, creditor.clone(), payment.issuer));
                transfers.push(moved(&creditor, debt, &brand));
            }
        }
        self.shift(Some(BucketName::Debt), None, owed);
        owed
    }
}
