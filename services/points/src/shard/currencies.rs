//! A bit for each currency whose wallet an entry of the log touched, in a column beside its
//! bytes: so a member's log is searched for one wallet without reading all of it.

use fealty_ledger::Entry;
use fealty_types::CurrencyId;
use sha2::{Digest as _, Sha256};

/// Bits that currencies share.
const CURRENCY_BITS: u8 = 15;

/// The bit that stands for a currency in a row of the log.
pub(crate) fn currency_bit(currency: &CurrencyId) -> i16 {
    let digest = Sha256::digest(currency.as_str());
    1 << (digest[0] % CURRENCY_BITS)
}

/// The bits of the currencies whose wallets an entry touched.
pub(crate) fn currencies_of(entry: &Entry) -> i16 {
    let touched = entry.transaction().map_or(&[][..], |made| &made.wallets);
    let bits = touched.iter().map(|after| currency_bit(&after.currency));
    bits.fold(0, |bits, bit| bits | bit)
}
