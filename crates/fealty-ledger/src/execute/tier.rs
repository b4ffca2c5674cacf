//! A tier that decides whether points go with inactivity.

use std::time::Duration;

use fealty_types::Timestamp;

use super::Draft;
use crate::{
    Cause, Inactivity, Log, MemberBook, Moment, Stop, TierChanged, TierEffect, WalletBook,
    advance::advance,
};

/// The least time that can pass.
const MICROSECOND: Duration = Duration::from_micros(1);

/// Advances the wallets for which a tier means something else than what holds, and
/// writes it, if there are any. What fell due before the tier began is done before it;
/// at the same instant, the tier comes first.
pub fn change_tier(
    book: &mut MemberBook,
    change: &TierChanged,
    effects: &[TierEffect],
    log: &mut Log,
) -> Result<(), Stop> {
    let before = change.since.checked_sub(MICROSECOND);
    let before = before.unwrap_or(change.since);
    let changed = changed(book, effects);
    let at = changed.iter().filter_map(|effect| {
        let wallet = book.wallets.get(&effect.currency)?;
        wallet.wallet.last_at
    });
    let at = at.fold(change.since, Timestamp::max);
    for effect in &changed {
        if let Some(wallet) = book.wallets.get_mut(&effect.currency) {
            // It may be waiting for the very tier that is known now.
            wallet.end_waiting();
        }
        advance(book, &effect.currency, Moment::new(at, before), log)?;
    }
    if changed.is_empty() {
        return Ok(());
    }
    apply_tier(book, change, effects, at, log)
}

/// Writes what a tier means, at `at`, in wallets in which nothing is due.
pub fn apply_tier(
    book: &mut MemberBook,
    change: &TierChanged,
    effects: &[TierEffect],
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let mut draft = Draft::new(at, log);
    for effect in changed(book, effects) {
        let wallets = &mut book.wallets;
        let wallet = wallets
            .entry(effect.currency.clone())
            .or_insert_with(WalletBook::empty);
        wallet.decide_by_tier(effect);
        draft.touch(wallet, &effect.currency);
    }
    draft.append(book, Cause::TierChanged(change.clone()), None, log);
    Ok(())
}

/// The effects that change something. A wallet that does not exist counts as one whose
/// points go.
fn changed<'a>(book: &MemberBook, effects: &'a [TierEffect]) -> Vec<&'a TierEffect> {
    let stays = |inactivity: Inactivity| inactivity == Inactivity::Waived;
    let changes = |effect: &&TierEffect| {
        let wallet = book.wallets.get(&effect.currency);
        let known = wallet.map_or(Inactivity::Counts, |wallet| wallet.wallet.inactivity);
        stays(known) != stays(effect.inactivity)
    };
    effects.iter().filter(changes).collect()
}
