//! Decimal figures of the programme file as exact fractions.

/// A fraction of whole numbers, at least 0, as it was written: the denominator is a power
/// of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Above the line.
    pub numerator: i64,
    /// Below the line; at least 1.
    pub denominator: i64,
}

/// Digits after the point that a figure may have.
const FRACTION_DIGITS_MAX: usize = 6;

impl Ratio {
    /// Reads a figure such as `1.25`: digits, and at most six after a point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 12
            || fraction.len() > FRACTION_DIGITS_MAX
            || (text.contains('.') && fraction.is_empty())
            || !digits(whole)
            || !digits(fraction)
        {
            return None;
        }
        let denominator = 10_i64.pow(u32::try_from(fraction.len()).ok()?);
        let numerator = format!("{whole}{fraction}").parse().ok()?;
        Some(Self {
            numerator,
            denominator,
        })
    }

    /// The figure in units of 10^-`decimals`, if it is a whole number of them.
    #[must_use]
    pub fn in_units(self, decimals: u8) -> Option<i64> {
        let scaled = i128::from(self.numerator) * 10_i128.pow(u32::from(decimals));
        let denominator = i128::from(self.denominator);
        if scaled % denominator != 0 {
            return None;
        }
        i64::try_from(scaled / denominator).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact() {
        assert_eq!(
            Ratio::parse("1.25"),
            Some(Ratio {
                numerator: 125,
                denominator: 100
            })
        );
        assert_eq!(
            Ratio::parse("2"),
            Some(Ratio {
                numerator: 2,
                denominator: 1
            })
        );
        assert_eq!(
            Ratio::parse("100.00").and_then(|r| r.in_units(2)),
            Some(10_000)
        );
        assert_eq!(Ratio::parse("0.005").and_then(|r| r.in_units(2)), None);
        for bad in ["", ".5", "1.", "-1", "1e3", "1.2.3", "0.1234567", "1_000"] {
            assert_eq!(Ratio::parse(bad), None, "{bad}");
        }
    }
}
