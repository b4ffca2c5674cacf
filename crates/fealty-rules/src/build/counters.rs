//! The counters of a version.

use std::collections::BTreeMap;

use super::{Builder, CounterSource, Counts, Fault, Faults, scope, slots::key};
use crate::{
    CounterName, Scope,
    cel::{Bool, Checker, Number},
    rule::{Adds, Counter, Reads, Slot},
    subject::Subject,
    window::Window,
};

impl Builder {
    /// Adds a counter.
    pub fn counter(&mut self, source: &CounterSource<'_>) -> Result<(), Faults> {
        let (adds, is_money, mut faults) = match self.adds(source) {
            Ok((adds, is_money)) => (adds, is_money, Vec::new()),
            // Who names it is not wrong for that.
            Err(faults) => (
                Adds::Points {
                    rules: Box::new([]),
                },
                false,
                faults,
            ),
        };
        let number = u16::try_from(self.counters.len()).unwrap_or(u16::MAX);
        let name = format!("counter/{}", source.id);
        let (over, window, days) = match self.over(&source.over, "over") {
            Ok(over) => over,
            Err(fault) => {
                faults.push(fault);
                (String::new(), Window::Ever, None)
            }
        };
        let slot = self.slot(Slot {
            key: key(&[&name, &source.identity, &over]),
            window,
            once_per_day: source.once_per_day,
            reads: days.map_or(Reads::OwnDate, Reads::Since),
        });
        let of_points = source.of == Counts::Points;
        if of_points {
            self.of_points
                .push((self.counters.len(), source.rules.clone()));
        }
        self.counters.push(Counter {
            id: source.id.clone(),
            adds,
            is_money,
            backfill: source.backfill,
            slot,
        });
        let name = CounterName {
            number,
            is_money,
            of_points,
        };
        self.names.insert(source.id.clone(), name);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    fn adds(&mut self, source: &CounterSource<'_>) -> Result<(Adds, bool), Faults> {
        if source.of == Counts::Points {
            if source.backfill {
                let message = "is for counters of purchases, lines and activities: what rules gave \
                               before, other rules may have given";
                return Err(vec![Fault::new("backfill", message)]);
            }
            if source.when.is_some() || source.add.is_some() || source.once_per_day {
                let message = "counts points that rules give: it has `rules`, and no `when`, `add` \
                               or `once_per`";
                return Err(vec![Fault::new("of", message)]);
            }
            return Ok((
                Adds::Points {
                    rules: Box::new([]),
                },
                false,
            ));
        }
        let on = match &source.of {
            Counts::Activities(of_type) => {
                let number = self.activity(of_type, "of").map_err(|fault| vec![fault])?;
                Subject::Activity(number)
            }
            Counts::Purchases | Counts::Lines | Counts::Points => Subject::Purchase,
        };
        let (texts, none) = (&mut self.texts, BTreeMap::new());
        let scope = Scope {
            of_lines: source.of == Counts::Lines,
            ..scope(&self.foundation, (&self.activities, on), &none)
        };
        let mut faults = Vec::new();
        let when = match source.when {
            None => Bool::Known(true),
            Some(when) => match Checker::condition(when, scope, texts) {
                Ok((when, _)) => when,
                Err(error) => {
                    faults.push(Fault::of("when", error));
                    Bool::Known(true)
                }
            },
        };
        let (add, is_money) = match source.add {
            None => (Number::Known(1), false),
            Some(add) => match Checker::figure(add, scope, texts) {
                Ok(add) => add,
                Err(error) => {
                    faults.push(Fault::of("add", error));
                    (Number::Known(1), false)
                }
            },
        };
        if source.once_per_day && add != Number::Known(1) {
            let message = "must be 1 beside `once_per`: a day counts once, whatever it brings";
            faults.push(Fault::new("add", message));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let adds = match (&source.of, on) {
            (_, Subject::Activity(of)) => Adds::Activity { of, when, add },
            (Counts::Lines, _) => Adds::Line { when, add },
            (_, _) => Adds::Purchase { when, add },
        };
        Ok((adds, is_money))
    }
}
