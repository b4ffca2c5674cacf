//! Voucher codes: Crockford base 32 with a check character.
//!
//! 100 random bits make 20 characters, which nobody guesses; the check
//! character, of 37, finds every mistyped character and every swap of
//! neighbours (<https://www.crockford.com/base32.html>). Codes are stored as a
//! keyed hash, to find them by, and encrypted, to show them again; neither
//! tells the code without the key, and no log line has it.

use std::fmt;

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, aead::Aead as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHECK_ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
const RANDOM_CHARACTERS: usize = 20;
const NONCE_LEN: usize = 12;

/// A voucher's code.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct VoucherCode(String);

impl VoucherCode {
    /// A code of random numbers, of which each gives five bits.
    #[must_use]
    pub(crate) fn from_random(random: [u8; RANDOM_CHARACTERS]) -> Self {
        let symbols = random.map(|byte| byte & 31);
        let mut code: String = symbols
            .iter()
            .map(|symbol| char::from(ALPHABET[usize::from(*symbol)]))
            .collect();
        code.push(check_character(&symbols));
        Self(code)
    }

    /// Reads a code as people type it: lower case, hyphens, `O` for `0`, `I`
    /// and `L` for `1`. `None` if it is none, the check character included.
    #[must_use]
    pub(crate) fn parse(typed: &str) -> Option<Self> {
        let typed: Vec<u8> = typed
            .bytes()
            .filter(|byte| !matches!(byte, b'-' | b' '))
            .map(|byte| byte.to_ascii_uppercase())
            .collect();
        let (check, code) = typed.split_last()?;
        if code.len() != RANDOM_CHARACTERS {
            return None;
        }
        let symbols: Option<Vec<u8>> = code
            .iter()
            .map(|byte| {
                let byte = match byte {
                    b'O' => b'0',
                    b'I' | b'L' => b'1',
                    other => *other,
                };
                let symbol = ALPHABET.iter().position(|known| *known == byte)?;
                u8::try_from(symbol).ok()
            })
            .collect();
        let symbols: [u8; RANDOM_CHARACTERS] = symbols?.try_into().ok()?;
        let parsed = Self::from_random(symbols);
        (parsed.0.as_bytes().last() == Some(check)).then_some(parsed)
    }

    /// The code as shown to its member.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherCode(…)")
    }
}

/// The number that the symbols spell, modulo 37, by Crockford's alphabet.
fn check_character(symbols: &[u8]) -> char {
    let remainder = symbols
        .iter()
        .fold(0_u32, |rest, symbol| (rest * 32 + u32::from(*symbol)) % 37);
    char::from(CHECK_ALPHABET[remainder as usize])
}

/// A key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub(crate) struct InvalidKey;

/// The key under which codes are hashed and encrypted.
#[derive(Clone)]
pub(crate) struct VoucherKey {
    hash: [u8; 32],
    seal: [u8; 32],
}

impl VoucherKey {
    /// Reads a key: 32 bytes as 64 hexadecimal digits.
    pub(crate) fn parse(hex: &str) -> Result<Self, InvalidKey> {
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(InvalidKey);
        }
        let mut master = [0; 32];
        for (index, byte) in master.iter_mut().enumerate() {
            *byte =
                u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).map_err(|_| InvalidKey)?;
        }
        // One key a purpose, so that neither tells of the other.
        Ok(Self {
            hash: mac(&master, b"fealty voucher hash"),
            seal: mac(&master, b"fealty voucher seal"),
        })
    }

    /// The keyed hash by which a code is found.
    #[must_use]
    pub(crate) fn hash(&self, code: &VoucherCode) -> Vec<u8> {
        mac(&self.hash, code.0.as_bytes()).to_vec()
    }

    /// Encrypts a code, under a nonce of random bytes.
    #[must_use]
    pub(crate) fn seal(&self, code: &VoucherCode, nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new(&self.seal.into());
        let sealed = cipher.encrypt(Nonce::from_slice(&nonce), code.0.as_bytes());
        let sealed = sealed.expect("a code is far shorter than what can be encrypted");
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts a code; `None` under another key.
    #[must_use]
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<VoucherCode> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let cipher = ChaCha20Poly1305::new(&self.seal.into());
        let opened = cipher.decrypt(Nonce::from_slice(nonce), sealed).ok()?;
        VoucherCode::parse(std::str::from_utf8(&opened).ok()?)
    }
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_code_is_no_code() {
        let code = VoucherCode::from_random([7; 20]);
        assert_eq!(code.reveal().len(), 21);
        let typed = code.reveal().to_lowercase();
        let typed = format!("{}-{}", &typed[..10], &typed[10..]);
        assert_eq!(VoucherCode::parse(&typed), Some(code.clone()));
        for index in 0..20 {
            let mut wrong = code.reveal().as_bytes().to_vec();
            wrong[index] = b'9';
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert_eq!(VoucherCode::parse(&wrong), None, "{wrong}");
        }
        assert_eq!(VoucherCode::parse(""), None);
        assert!(!format!("{code:?}").contains(code.reveal()));
    }

    #[test]
    fn a_sealed_code_opens_under_its_key_alone() {
        let key = VoucherKey::parse(&"ab".repeat(32)).expect("valid");
        let other = VoucherKey::parse(&"cd".repeat(32)).expect("valid");
        let code = VoucherCode::from_random([3; 20]);
        let sealed = key.seal(&code, [9; 12]);
        assert_eq!(key.open(&sealed), Some(code.clone()));
        assert_eq!(other.open(&sealed), None);
        assert_eq!(key.open(&[]), None);
        assert_ne!(key.hash(&code), other.hash(&code));
        assert!(VoucherKey::parse("short").is_err());
    }
}
