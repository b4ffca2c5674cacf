//! How much of which call.

use std::str::FromStr;

use super::calls::Call;

/// The most of one call in a mix.
const WEIGHT_MAX: u32 = 1_000;

/// Calls by weight, such as `accrue=6,redeem=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(Call, u32)>);

impl Mix {
    /// The calls in it.
    pub(super) fn calls(&self) -> impl Iterator<Item = Call> {
        self.0.iter().map(|(call, _)| *call)
    }

    /// The call with that number: the mix repeats, each call as often as it
    /// weighs, evenly spread.
    pub(super) fn at(&self, number: u64) -> Call {
        let total: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        // A number that has nothing in common with the next one's: calls of a
        // kind do not come in a row, and a kind is not tied to some members.
        let mut at = number.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29) % total;
        for (call, weight) in &self.0 {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return *call,
            }
        }
        self.0[0].0
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix: Vec<(Call, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let call: Call = name.parse()?;
            let weight = weight
                .parse()
                .ok()
                .filter(|weight| (1..=WEIGHT_MAX).contains(weight))
                .ok_or_else(|| format!("`{weight}` must be 1 to {WEIGHT_MAX}"))?;
            if mix.iter().any(|(known, _)| *known == call) {
                return Err(format!("{call} is there twice"));
            }
            mix.push((call, weight));
        }
        Ok(Self(mix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_gives_each_call_as_it_weighs() {
        let mix: Mix = "accrue=6,redeem=3,balance".parse().expect("a mix");
        let mut count = [0_u32; 3];
        for number in 0..10_000 {
            match mix.at(number) {
                Call::Accrue => count[0] += 1,
                Call::Redeem => count[1] += 1,
                Call::Balance => count[2] += 1,
                other => panic!("{other} is not in the mix"),
            }
        }
        for (count, expected) in count.into_iter().zip([6_000, 3_000, 1_000]) {
            assert!(count.abs_diff(expected) < 300, "{count} of {expected}");
        }
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for wrong in [
            "",
            "accrue=0",
            "accrue=1001",
            "accrue,accrue",
            "steal=1",
            "accrue=x",
        ] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
