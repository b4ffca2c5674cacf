//! Numbers as people read them.

/// 1234567 is 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// -1234567 is -1,234,567.
pub(crate) fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

/// A difference, with its sign: +1,234, or 0.
pub(crate) fn difference(number: i64) -> String {
    let sign = if number > 0 { "+" } else { "" };
    format!("{sign}{}", signed(number))
}

/// By how many hundredths something grew: +12.5%; nothing where there was nothing.
pub(crate) fn growth(before: i64, after: i64) -> Option<String> {
    if before == 0 {
        return None;
    }
    let permille = (i128::from(after) - i128::from(before)) * 1_000;
    let permille = permille / i128::from(before.abs());
    let sign = match permille.signum() {
        1 => "+",
        -1 => "-",
        _ => "",
    };
    let permille = permille.unsigned_abs();
    Some(format!("{sign}{}.{}%", permille / 10, permille % 10))
}

/// Minor units of money with its digits after the point: 1,234.50.
pub(crate) fn money(minor_units: i64, decimals: u8) -> String {
    let per_unit = 10_u64.pow(u32::from(decimals));
    let sign = if minor_units < 0 { "-" } else { "" };
    let units = minor_units.unsigned_abs();
    let whole = grouped(units / per_unit);
    if decimals == 0 {
        return format!("{sign}{whole}");
    }
    let width = usize::from(decimals);
    format!("{sign}{whole}.{:0width$}", units % per_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_signed() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(signed(-999), "-999");
        assert_eq!(difference(1_000), "+1,000");
        assert_eq!(money(-123_405, 2), "-1,234.05");
        assert_eq!(money(7, 0), "7");
        assert_eq!(growth(200, 225).as_deref(), Some("+12.5%"));
        assert_eq!(growth(3, 2).as_deref(), Some("-33.3%"));
        assert_eq!(growth(0, 5), None);
    }
}
