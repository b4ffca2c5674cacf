//! Times on their way to and from the wire.

use fealty_types::{InvalidValue, Timestamp};

/// To the wire.
#[must_use]
pub fn to_wire_time(moment: Timestamp) -> prost_types::Timestamp {
    let micros = moment.micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}

/// From the wire: the years 1900 to 2200, cut to whole microseconds.
pub fn from_wire_time(moment: prost_types::Timestamp) -> Result<Timestamp, InvalidValue> {
    const SECONDS_MIN: i64 = -2_208_988_800;
    const SECONDS_MAX: i64 = 7_258_118_400;
    const RULE: InvalidValue =
        InvalidValue::new("must be a time of the years 1900 to 2200, with 0 to 999,999,999 nanos");
    if !(SECONDS_MIN..SECONDS_MAX).contains(&moment.seconds)
        || !(0..1_000_000_000).contains(&moment.nanos)
    {
        return Err(RULE);
    }
    Timestamp::from_micros(moment.seconds * 1_000_000 + i64::from(moment.nanos) / 1_000).ok_or(RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_wire() {
        for micros in [0, 1, -1, 852_854_400_000_000, 999_999] {
            let moment = Timestamp::from_micros(micros).expect("in range");
            assert_eq!(from_wire_time(to_wire_time(moment)), Ok(moment));
        }
        for bad in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
            let bad = prost_types::Timestamp {
                seconds: bad.0,
                nanos: bad.1,
            };
            assert!(from_wire_time(bad).is_err());
        }
    }
}
