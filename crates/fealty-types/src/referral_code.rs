//! Referral codes: what a member passes on to friends. A code carries who gave it, encrypted
//! under the installation's key, so it needs no table, tells nobody a member's id, and none
//! can be made up.

use aes_siv::{KeyInit as _, siv::Aes128Siv};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{Ids, InvalidValue, MemberId, ProgramId, ids::DIGITS};

const CODE_RULE: InvalidValue =
    InvalidValue::new("must be a referral code of the programme, `ref_…`");
const PREFIX: &str = "ref_";
/// The longest code: that of a member with the longest id, and its check of 16 bytes.
const CODE_LEN_MAX: usize = PREFIX.len() + (1 + 64 + 16) * 8 / 5 + 1;

/// What a member's id is in a code.
const TEXT: u8 = 0;
const UUID: u8 = 1;

impl Ids {
    /// The code of a member of a programme: always the same one.
    #[must_use]
    pub fn referral_code(self, program: &ProgramId, member: &MemberId) -> String {
        let sealed = self
            .referral_cipher()
            .encrypt([program.as_str()], &packed(member))
            .expect("a short text and one header");
        let mut code = PREFIX.to_owned();
        DIGITS.encode_append(&sealed, &mut code);
        code
    }

    /// The member whose code it is.
    pub fn referrer(self, program: &ProgramId, code: &str) -> Result<MemberId, InvalidValue> {
        self.opened(program, code).ok_or(CODE_RULE)
    }

    fn opened(self, program: &ProgramId, code: &str) -> Option<MemberId> {
        let digits = code.strip_prefix(PREFIX)?;
        if code.len() > CODE_LEN_MAX {
            return None;
        }
        let sealed = DIGITS.decode(digits.as_bytes()).ok()?;
        let opened = self.referral_cipher().decrypt([program.as_str()], &sealed);
        unpacked(&opened.ok()?)
    }

    fn referral_cipher(self) -> Aes128Siv {
        let key = Sha256::new()
            .chain_update("fealty referral codes")
            .chain_update(self.key)
            .finalize();
        Aes128Siv::new(&key)
    }
}

/// A member's id in few bytes.
fn packed(member: &MemberId) -> Vec<u8> {
    let text = member.as_str();
    match Uuid::parse_str(text) {
        Ok(uuid) if uuid.hyphenated().to_string() == text => {
            [&[UUID], uuid.as_bytes().as_slice()].concat()
        }
        _ => [&[TEXT], text.as_bytes()].concat(),
    }
}

fn unpacked(packed: &[u8]) -> Option<MemberId> {
    let (kind, bytes) = packed.split_first()?;
    match *kind {
        TEXT => str::from_utf8(bytes).ok()?.parse().ok(),
        UUID => {
            let uuid = Uuid::from_slice(bytes).ok()?;
            uuid.hyphenated().to_string().parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(id: &str) -> ProgramId {
        id.parse().expect("an id")
    }

    fn member(id: &str) -> MemberId {
        id.parse().expect("an id")
    }

    #[test]
    fn a_code_leads_back_to_its_member_and_stays_what_it_is() {
        let (ids, club) = (Ids::new(*b"0123456789abcdef"), program("club"));
        for id in [
            "anna",
            "9f0c2f5e-3a52-4a0e-9d4b-0d1f6c2f7a11",
            "9F0C2F5E-3A52-4A0E-9D4B-0D1F6C2F7A11",
            &"m".repeat(64),
        ] {
            let code = ids.referral_code(&club, &member(id));
            assert!(code.len() <= CODE_LEN_MAX, "{code}");
            assert!(!code.contains(id), "{code}");
            assert_eq!(code, ids.referral_code(&club, &member(id)));
            assert_eq!(ids.referrer(&club, &code), Ok(member(id)));
        }
        // Written down: a code that was given out must be read for ever.
        let code = "ref_1dn9gw3qv4mqw7vf7k3rehb0nmx1s9n3nm";
        assert_eq!(ids.referral_code(&club, &member("anna")), code);
        let short = ids.referral_code(&club, &member("9f0c2f5e-3a52-4a0e-9d4b-0d1f6c2f7a11"));
        assert_eq!(short.len(), PREFIX.len() + 53);
    }

    #[test]
    fn what_was_not_given_out_is_none() {
        let (ids, club) = (Ids::new([7; 16]), program("club"));
        let code = ids.referral_code(&club, &member("anna"));
        assert!(Ids::new([8; 16]).referrer(&club, &code).is_err());
        assert!(ids.referrer(&program("other"), &code).is_err());
        for wrong in ["", "ref_", "anna", &code[4..], &code.to_uppercase()] {
            assert!(ids.referrer(&club, wrong).is_err(), "{wrong}");
        }
        for index in PREFIX.len()..code.len() {
            let mut other = code.clone().into_bytes();
            other[index] = if other[index] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).expect("ASCII");
            assert!(ids.referrer(&club, &other).is_err(), "{other}");
        }
    }
}
