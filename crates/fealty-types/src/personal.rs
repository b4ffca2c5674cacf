//! What looks like personal data, and so must not become a key that is kept for ever.

/// Whether a text is an e-mail address, a telephone number with its country, or the
/// number of a payment card.
pub(crate) fn looks_personal(text: &str) -> bool {
    is_address(text) || is_telephone(text) || is_card(text)
}

/// `local@domain.tld`, anywhere in it.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let has_name = local.ends_with(|c: char| c.is_ascii_alphanumeric());
    let domain: &str = domain
        .split([' ', '/', ':', '>', ')'])
        .next()
        .unwrap_or(domain);
    let tld = domain
        .rsplit_once('.')
        .map(|(host, tld)| (!host.is_empty(), tld));
    has_name
        && tld.is_some_and(|(has_host, tld)| {
            has_host && tld.len() >= 2 && tld.bytes().all(|b| b.is_ascii_alphabetic())
        })
}

/// The digits of a number that is written alone, with what people put between them.
fn digits(text: &str, between: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            byte if between.contains(&byte) => {}
            _ => return None,
        }
    }
    Some(digits)
}

/// As E.164 writes it: `+`, then 8 to 15 digits.
fn is_telephone(text: &str) -> bool {
    text.strip_prefix('+')
        .and_then(|number| digits(number, b" -()./"))
        .is_some_and(|digits| (8..=15).contains(&digits.len()))
}

/// As ISO/IEC 7812 makes them: the length and the first digits of a card scheme, and
/// the check digit by Luhn. A receipt's number of such a length is seldom one: it must
/// begin with those digits, and one in ten of them has the check digit.
fn is_card(text: &str) -> bool {
    let Some(digits) = digits(text, b" -") else {
        return false;
    };
    let first = |len: usize| {
        let leading = digits.iter().take(len);
        leading.fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let is_scheme = match digits.len() {
        14 => matches!(first(2), 36 | 38 | 39) || matches!(first(3), 300..=305),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(4), 2_221..=2_720 | 3_528..=3_589 | 6_011)
        }
        19 => first(1) == 4 || first(2) == 62,
        _ => false,
    };
    is_scheme && has_check_digit(&digits)
}

fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = u32::from(*digit) * if place % 2 == 1 { 2 } else { 1 };
            doubled / 10 + doubled % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::looks_personal;

    #[test]
    fn addresses_telephones_and_cards_are_known() {
        for personal in [
            "anna@example.com",
            "order of anna.b+x@mail.example.co.uk",
            "<anna@example.com>",
            "+49 30 1234567",
            "+447911123456",
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "378282246310005",
            "2223003122003222",
        ] {
            assert!(looks_personal(personal), "{personal}");
        }
    }

    #[test]
    fn orders_and_requests_are_not() {
        for order in [
            "order-1",
            "4111111111111112",
            "2026112500001234",
            "0030-1234567",
            "till@3",
            "@example.com",
            "sku@2.0",
            "+1",
            "0195f7a0-6b1e-7cc3-9b3b-2f1f0d1a9e55",
            "4006381333931",
        ] {
            assert!(!looks_personal(order), "{order}");
        }
    }
}
