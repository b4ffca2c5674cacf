//! The ids that callers are given for transactions, holds and lots.
//!
//! Inside, a transaction is a place in a shard's log. Told as such, it would show how
//! many shards there are and how much is done in them. So the place is encrypted: one
//! block of AES-128 under a key that the installation made for itself. What comes out
//! looks random, is another one in every installation, stays the same for ever, and
//! leads back to its place without a table.

use std::{fmt, sync::LazyLock};

use aes::{
    Aes128,
    cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _},
};
use data_encoding::{Encoding, Specification};

use crate::{InvalidValue, LotId, LotPlace, Position, ShardId, TransactionPlace};

const TRANSACTION_RULE: InvalidValue =
    InvalidValue::new("must be the id of a transaction, `txn_…`");
const HOLD_RULE: InvalidValue = InvalidValue::new("must be the id of a hold, `hold_…`");
const LOT_RULE: InvalidValue = InvalidValue::new("must be the id of a lot, `lot_…`");

/// What an id is of; its number is in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Transaction = 1,
    Hold = 2,
    Lot = 3,
    Token = 4,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Transaction => "txn_",
            Self::Hold => "hold_",
            Self::Lot => "lot_",
            Self::Token => "",
        }
    }
}

/// Crockford's digits, in small letters: none is taken for another.
pub(crate) static DIGITS: LazyLock<Encoding> = LazyLock::new(|| {
    let mut digits = Specification::new();
    digits.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    digits.encoding().expect("32 digits")
});

/// Makes the ids of an installation, and reads them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub(crate) key: [u8; 16],
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    /// Those under an installation's key.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Of a transaction.
    #[must_use]
    pub fn transaction(self, place: TransactionPlace) -> String {
        self.seal(Kind::Transaction, place.shard.get(), place.position.get())
    }

    /// Of the hold that a transaction made.
    #[must_use]
    pub fn hold(self, place: TransactionPlace) -> String {
        self.seal(Kind::Hold, place.shard.get(), place.position.get())
    }

    /// Of a lot.
    #[must_use]
    pub fn lot(self, place: LotPlace) -> String {
        self.seal(Kind::Lot, place.shard.get(), place.lot.get())
    }

    /// A token that tells a number to this installation and nothing to others: where a
    /// page goes on.
    #[must_use]
    pub fn token(self, number: i64) -> String {
        self.seal(Kind::Token, 0, number)
    }

    /// The place of the transaction of that id.
    pub fn transaction_place(self, id: &str) -> Result<TransactionPlace, InvalidValue> {
        self.place(Kind::Transaction, id).ok_or(TRANSACTION_RULE)
    }

    /// The place of the transaction that made the hold of that id.
    pub fn hold_place(self, id: &str) -> Result<TransactionPlace, InvalidValue> {
        self.place(Kind::Hold, id).ok_or(HOLD_RULE)
    }

    /// The place of the lot of that id.
    pub fn lot_place(self, id: &str) -> Result<LotPlace, InvalidValue> {
        let (shard, lot) = self.open(Kind::Lot, id).ok_or(LOT_RULE)?;
        Ok(LotPlace {
            shard: ShardId::new(shard),
            lot: LotId::from_stored(lot),
        })
    }

    /// The number that a token tells; none for one that this installation did not make.
    #[must_use]
    pub fn token_number(self, token: &str) -> Option<i64> {
        let (_, number) = self.open(Kind::Token, token)?;
        Some(number)
    }

    fn place(self, kind: Kind, id: &str) -> Option<TransactionPlace> {
        let (shard, position) = self.open(kind, id)?;
        Some(TransactionPlace {
            shard: ShardId::new(shard),
            position: Position::new(position),
        })
    }

    /// The block: what kind, the shard, the number, and six bytes of nothing by which
    /// an id that this installation did not make is known.
    fn seal(self, kind: Kind, shard: u8, number: i64) -> String {
        let mut block = [0; 16];
        block[0] = kind as u8;
        block[1] = shard;
        block[2..10].copy_from_slice(&number.to_be_bytes());
        let mut block = block.into();
        Aes128::new(&self.key.into()).encrypt_block(&mut block);
        let mut id = String::with_capacity(32);
        id.push_str(kind.prefix());
        DIGITS.encode_append(&block, &mut id);
        id
    }

    fn open(self, kind: Kind, id: &str) -> Option<(u8, i64)> {
        let digits = id.strip_prefix(kind.prefix())?;
        let bytes = DIGITS.decode(digits.as_bytes()).ok()?;
        let block: [u8; 16] = bytes.try_into().ok()?;
        let mut block = block.into();
        Aes128::new(&self.key.into()).decrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        if block[0] != kind as u8 || block[10..] != [0; 6] {
            return None;
        }
        let number: [u8; 8] = block[2..10].try_into().ok()?;
        Some((block[1], i64::from_be_bytes(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shard: u8, position: i64) -> TransactionPlace {
        TransactionPlace {
            shard: ShardId::new(shard),
            position: Position::new(position),
        }
    }

    #[test]
    fn ids_lead_back_to_their_places_and_stay_what_they_are() {
        let ids = Ids::new(*b"0123456789abcdef");
        let id = ids.transaction(place(3, 1_042));
        // Written down: an id that was given out must be read for ever.
        assert_eq!(id, "txn_y0rkxdkhandyj1wddkvyc15asm");
        assert_eq!(ids.transaction_place(&id), Ok(place(3, 1_042)));
        let hold = ids.hold(place(255, i64::MAX));
        assert_eq!(ids.hold_place(&hold), Ok(place(255, i64::MAX)));
        let lot = LotPlace {
            shard: ShardId::new(0),
            lot: LotId::new(Position::new(7), 3),
        };
        assert_eq!(ids.lot_place(&ids.lot(lot)), Ok(lot));
        assert_eq!(ids.token_number(&ids.token(-5)), Some(-5));
    }

    #[test]
    fn what_was_not_given_out_is_none() {
        let ids = Ids::new([7; 16]);
        let id = ids.transaction(place(3, 1_042));
        assert!(
            Ids::new([8; 16]).transaction_place(&id).is_err(),
            "another installation's"
        );
        assert!(ids.hold_place(&id).is_err(), "a transaction is no hold");
        let of_hold = id.replace("txn_", "hold_");
        assert!(ids.hold_place(&of_hold).is_err(), "under another name");
        for wrong in [
            "",
            "txn_",
            "3-1042",
            &id[..id.len() - 1],
            &id.to_uppercase(),
        ] {
            assert!(ids.transaction_place(wrong).is_err(), "{wrong}");
        }
        // Each digit counts.
        for index in 4..id.len() {
            let mut other = id.clone().into_bytes();
            other[index] = if other[index] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).expect("ASCII");
            assert!(ids.transaction_place(&other).is_err(), "{other}");
        }
    }
}
