//! What is counted of a load: times by call, refusals by reason.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{callers::Answered, calls::Call, mix::Mix};

/// Parts that callers record into, so that few wait for another's lock.
const PARTS: usize = 8;
/// The longest time that is told apart from longer ones: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Times are kept to this many digits.
const DIGITS: u8 = 3;

/// Times of a call's answers, in microseconds.
#[derive(Clone)]
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Self(histogram.expect("3 digits and an hour are within what a histogram takes"))
    }

    /// The time within which that many of 1,000 answers came.
    fn at(&self, per_mille: u32) -> u64 {
        self.0.value_at_quantile(f64::from(per_mille) / 1_000.0)
    }
}

#[derive(Clone)]
struct Part {
    times: Vec<Times>,
    refused: BTreeMap<String, u64>,
}

impl Part {
    fn new(calls: usize) -> Self {
        Self {
            times: vec![Times::new(); calls],
            refused: BTreeMap::new(),
        }
    }

    fn add(&mut self, other: &Self) {
        for (times, more) in self.times.iter_mut().zip(&other.times) {
            // Both have the same bounds and digits, so nothing is refused.
            let _ = times.0.add(&more.0);
        }
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
    }
}

/// Counts a load's answers.
pub(super) struct Tally {
    mix: Arc<Mix>,
    calls: Vec<Call>,
    parts: Vec<Mutex<Part>>,
    /// What was shown already, and when.
    shown: Mutex<(Part, Duration)>,
}

/// A load's figures.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    seconds: u64,
    calls: Vec<OfCall>,
    refused: BTreeMap<String, u64>,
}

/// A call's figures.
#[derive(Debug, Serialize)]
struct OfCall {
    call: &'static str,
    per_second: u64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Tally {
    pub(super) fn new(mix: Arc<Mix>) -> Self {
        let calls: Vec<Call> = mix.calls().collect();
        let part = || Part::new(calls.len());
        Self {
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
            shown: Mutex::new((part(), Duration::ZERO)),
            mix,
            calls,
        }
    }

    /// Counts an answer.
    pub(super) fn record(&self, answered: Answered) {
        let call = self.mix.at(answered.number);
        let part = &self.parts[answered.caller % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        match answered.answer {
            Ok(()) => {
                let index = self.calls.iter().position(|known| *known == call);
                let times = &mut part.times[index.expect("a call of the mix")];
                times.0.saturating_record(u64::from(answered.micros));
            }
            Err(status) => {
                let reason = fealty_client::reason(&status);
                let reason = reason.unwrap_or_else(|| format!("{:?}", status.code()));
                *part.refused.entry(reason).or_default() += 1;
            }
        }
    }

    fn so_far(&self) -> Part {
        let mut all = Part::new(self.calls.len());
        for part in &self.parts {
            all.add(&part.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }

    /// A line on what came since the last one; `at` is since the start.
    pub(super) fn since_last(&self, at: Duration) -> String {
        let all = self.so_far();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, until) = &*shown;
        let took = at.saturating_sub(*until);
        let mut line = format!("{:>5} s", at.as_secs());
        for ((call, now), before) in self.calls.iter().zip(&all.times).zip(&before.times) {
            let mut new = now.clone();
            // What was there before is a part of what is there now.
            let _ = new.0.subtract(&before.0);
            let (p50, p99) = (millis(new.at(500)), millis(new.at(990)));
            let rate = per_second(new.0.len(), took);
            let _ = write!(line, "   {call} {rate}/s p50 {p50} p99 {p99} ms");
        }
        let count = |part: &Part| part.refused.values().sum::<u64>();
        match count(&all) - count(before) {
            0 => {}
            refused => {
                let _ = write!(line, "   refused {refused}");
            }
        }
        *shown = (all, at);
        line
    }

    /// The figures of the whole.
    pub(super) fn whole(&self, took: Duration) -> Whole {
        let all = self.so_far();
        let calls = self.calls.iter().zip(&all.times);
        let calls = calls.map(|(call, times)| OfCall {
            call: call.name(),
            per_second: per_second(times.0.len(), took),
            p50_us: times.at(500),
            p99_us: times.at(990),
            p999_us: times.at(999),
            max_us: times.0.max(),
        });
        Whole {
            seconds: took.as_secs(),
            calls: calls.collect(),
            refused: all.refused,
        }
    }
}

impl Whole {
    /// As a table.
    pub(super) fn table(&self) -> String {
        let mut text =
            String::from("call              a second    p50 ms    p99 ms  p99.9 ms    max ms\n");
        for of in &self.calls {
            let times = [of.p50_us, of.p99_us, of.p999_us, of.max_us].map(millis);
            let [p50, p99, p999, max] = times;
            let (call, rate) = (of.call, of.per_second);
            let _ = writeln!(
                text,
                "{call:<16}{rate:>10}{p50:>10}{p99:>10}{p999:>10}{max:>10}"
            );
        }
        for (reason, count) in &self.refused {
            let _ = writeln!(text, "refused: {reason} {count}");
        }
        text
    }
}

fn per_second(count: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

/// Microseconds as milliseconds with one digit.
fn millis(micros: u64) -> String {
    format!("{}.{}", micros / 1_000, micros % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_refusals_are_told_apart() {
        let mix = Arc::new("accrue".parse::<Mix>().expect("a mix"));
        let tally = Tally::new(mix);
        for number in 0..1_000 {
            let micros = if number < 980 { 1_000 } else { 90_000 };
            let answer = if number % 10 == 9 {
                Err(tonic::Status::unavailable("down"))
            } else {
                Ok(())
            };
            tally.record(Answered {
                caller: usize::try_from(number).expect("small"),
                number,
                micros,
                answer,
            });
        }
        let line = tally.since_last(Duration::from_secs(1));
        assert!(line.contains("accrue 900/s p50 1.0 p99 90."), "{line}");
        assert!(line.contains("refused 100"), "{line}");
        // Nothing came since.
        let line = tally.since_last(Duration::from_secs(2));
        assert!(
            line.contains("accrue 0/s") && !line.contains("refused"),
            "{line}"
        );
        let table = tally.whole(Duration::from_secs(2)).table();
        assert!(table.contains("refused: Unavailable 100"), "{table}");
        assert!(
            table
                .lines()
                .any(|line| line.starts_with("accrue") && line.contains(" 450 "))
        );
    }
}
