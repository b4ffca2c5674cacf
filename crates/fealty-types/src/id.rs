//! Ids: strings with limits, cheap to clone. Up to 23 bytes, as most have, they
//! need no memory of their own.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize, io};
use smol_str::SmolStr;

use crate::{InvalidValue, personal};

/// Characters of a slug: ids of programmes, brands, currencies, tiers, rewards.
const SLUG_LEN_MAX: usize = 64;
const MEMBER_LEN_MAX: usize = 64;
const REQUEST_ID_LEN_MAX: usize = 128;
const ORDER_NUMBER_LEN_MAX: usize = 128;
const SUBJECT_LEN_MAX: usize = 128;
const REFERENCE_LEN_MAX: usize = 256;

const METADATA_KEY_LEN_MAX: usize = 32;

const SLUG_RULE: &str = "must be 1 to 64 characters of a-z, 0-9 and -, and begin with a letter";
const MEMBER_RULE: &str = "must be 1 to 64 characters of A-Z, a-z, 0-9 and any of - _ . :";
const REQUEST_ID_RULE: &str = "must be 1 to 128 printable ASCII characters, and no e-mail \
                               address, telephone or card number, for it is kept for ever";
const ORDER_NUMBER_RULE: &str = REQUEST_ID_RULE;
const SUBJECT_RULE: &str = "must be 1 to 128 printable ASCII characters";
const REFERENCE_RULE: &str = "must be at most 256 characters, none of them a control character";
const METADATA_KEY_RULE: &str =
    "must be 1 to 32 characters of a-z, 0-9, - and _, and begin with a letter";
const CODE_LEN_MAX: usize = 64;
const CODE_RULE: &str = "must be 1 to 64 characters, none of them a control character";
const METADATA_VALUE_RULE: &str = "must be 1 to 256 characters, none of them a control character";

fn is_slug(value: &str) -> bool {
    value.len() <= SLUG_LEN_MAX
        && value.starts_with(|c: char| c.is_ascii_lowercase())
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_member(value: &str) -> bool {
    (1..=MEMBER_LEN_MAX).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn is_printable(value: &str, len_max: usize) -> bool {
    (1..=len_max).contains(&value.len()) && value.bytes().all(|b| (0x20..0x7f).contains(&b))
}

fn is_request_id(value: &str) -> bool {
    is_printable(value, REQUEST_ID_LEN_MAX) && !personal::looks_personal(value)
}

fn is_order_number(value: &str) -> bool {
    is_printable(value, ORDER_NUMBER_LEN_MAX) && !personal::looks_personal(value)
}

fn is_subject(value: &str) -> bool {
    is_printable(value, SUBJECT_LEN_MAX)
}

fn is_metadata_key(value: &str) -> bool {
    (1..=METADATA_KEY_LEN_MAX).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_lowercase())
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

fn is_code(value: &str) -> bool {
    (1..=CODE_LEN_MAX).contains(&value.chars().count()) && !value.chars().any(char::is_control)
}

fn is_metadata_value(value: &str) -> bool {
    !value.is_empty() && is_reference(value)
}

fn is_reference(value: &str) -> bool {
    value.chars().count() <= REFERENCE_LEN_MAX && !value.chars().any(char::is_control)
}

/// The longest id in bytes: a reference of characters of four bytes.
const BYTES_MAX: usize = 4 * REFERENCE_LEN_MAX;

/// Reads the bytes that a string's canonical form has after its length, most
/// often without asking for memory, and has them parsed.
fn read_text<T, R: io::Read>(
    reader: &mut R,
    parse: impl Fn(&str) -> Result<T, InvalidValue>,
) -> io::Result<T> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let len = u32::deserialize_reader(reader)? as usize;
    if len > BYTES_MAX {
        return Err(invalid(format!("an id of {len} bytes")));
    }
    let mut short = [0; 64];
    let mut long = Vec::new();
    let bytes = if let Some(bytes) = short.get_mut(..len) {
        bytes
    } else {
        long.resize(len, 0);
        &mut long[..]
    };
    reader.read_exact(bytes)?;
    let text = str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    parse(text).map_err(|error| invalid(error.to_string()))
}

macro_rules! string_id {
    ($(#[doc = $doc:literal] $name:ident: $check:ident, $rule:ident;)+) => {$(
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(value: &str) -> Result<Self, InvalidValue> {
                if $check(value) {
                    Ok(Self(SmolStr::new(value)))
                } else {
                    Err(InvalidValue::new($rule))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl BorshSerialize for $name {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                str::serialize(&self.0, writer)
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                read_text(reader, str::parse)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|error: InvalidValue| {
                    serde::de::Error::custom(format_args!("`{text}` {error}"))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )+};
}

string_id! {
    /// A programme: a tenant with its currencies, brands, rules, tiers and catalogue.
    ProgramId: is_slug, SLUG_RULE;
    /// A company of a programme that issues points, accepts them, or both.
    BrandId: is_slug, SLUG_RULE;
    /// A unit of points.
    CurrencyId: is_slug, SLUG_RULE;
    /// A tier of a programme's scheme.
    TierId: is_slug, SLUG_RULE;
    /// A reward of the catalogue.
    RewardId: is_slug, SLUG_RULE;
    /// An earning rule.
    RuleId: is_slug, SLUG_RULE;
    /// A budget of a programme: points that rules give at the most, all members together.
    BudgetId: is_slug, SLUG_RULE;
    /// A counter: a number that a programme keeps for each member.
    CounterId: is_slug, SLUG_RULE;
    /// A group of earning rules of which one gives.
    GroupId: is_slug, SLUG_RULE;
    /// A fact of purchases, lines or activities that a programme declares.
    AttributeName: is_metadata_key, METADATA_KEY_RULE;
    /// A member, opaque: it must not hold personal data, for it stays in the log.
    MemberId: is_member, MEMBER_RULE;
    /// The caller's name for a change, unique for a programme and member.
    RequestId: is_request_id, REQUEST_ID_RULE;
    /// A brand's own number of an order.
    OrderNumber: is_order_number, ORDER_NUMBER_RULE;
    /// Who calls, as the issuer of tokens names it.
    Subject: is_subject, SUBJECT_RULE;
    /// A kind of activity that a programme declares: what members do that is no purchase.
    ActivityType: is_slug, SLUG_RULE;
    /// The caller's own id of an activity.
    ActivityId: is_order_number, ORDER_NUMBER_RULE;
    /// The caller's own word for a change; may be empty.
    Reference: is_reference, REFERENCE_RULE;
    /// Something that points can wait for, such as `shipped`.
    EventName: is_slug, SLUG_RULE;
    /// A code of the caller's own: an article, a category, a shop, a till.
    Code: is_code, CODE_RULE;
    /// What a piece of metadata is called.
    MetadataKey: is_metadata_key, METADATA_KEY_RULE;
    /// What it says.
    MetadataValue: is_metadata_value, METADATA_VALUE_RULE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_canonical_form() {
        for text in [
            "a",
            "exactly-twenty-three-by",
            &"b".repeat(64),
            &"ä".repeat(256),
        ] {
            let id: Reference = text.parse().expect("a reference");
            let bytes = borsh::to_vec(&id).expect("bytes");
            assert_eq!(bytes, borsh::to_vec(text).expect("bytes"));
            assert_eq!(Reference::try_from_slice(&bytes).expect("an id"), id);
        }
        // Longer than any id, cut short, not UTF-8, against the rule.
        for bytes in [
            &[0, 5, 0, 0][..],
            &[3, 0, 0, 0, b'a'],
            &[1, 0, 0, 0, 0xff],
            &[0; 4],
        ] {
            assert!(ProgramId::try_from_slice(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn ids_keep_to_their_limits() {
        assert!("record-club".parse::<ProgramId>().is_ok());
        let too_long = "a".repeat(65);
        for bad in ["", "Record", "9lives", "a b", "ä", too_long.as_str()] {
            assert!(bad.parse::<ProgramId>().is_err(), "{bad:?}");
        }
        assert!("00001".parse::<MemberId>().is_ok());
        for bad in ["", "a b", "x\n", too_long.as_str()] {
            assert!(bad.parse::<MemberId>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(128).parse::<RequestId>().is_ok());
        for bad in [String::new(), "x".repeat(129), "tab\t".to_owned()] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
        assert!("".parse::<Reference>().is_ok());
        assert!("ä".repeat(257).parse::<Reference>().is_err());
    }
}
