//! Bar charts, drawn without scripts: two bars for each label, as it was recorded and as the
//! file has it.

use std::collections::{BTreeMap, BTreeSet};

use fealty_points::simulation::Compared;
use maud::{Markup, html};

use crate::figures::signed;

/// Labels that have room side by side.
const LABELS_MAX: usize = 36;
/// The drawing, in units of its own.
const WIDTH: i64 = 760;
const HEIGHT: i64 = 230;
const LEFT: i64 = 92;
const TOP: i64 = 10;
const BOTTOM: i64 = 34;

/// What a chart shows for each label.
pub(super) type Bars = Vec<(String, Compared<i64>)>;

/// The bars of both sides, by label; where there are too many months, by year.
pub(super) fn bars(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Bars {
    let labels: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let by_year = labels.len() > LABELS_MAX;
    let mut bars: Bars = Vec::new();
    for label in labels {
        let name = match label.split_once('-') {
            Some((year, _)) if by_year => year,
            _ => label,
        };
        let of = |side: &BTreeMap<String, i64>| side.get(label).copied().unwrap_or_default();
        let (before, after) = (of(before), of(after));
        match bars.last_mut() {
            Some((known, compared)) if known == name => {
                compared.before += before;
                compared.after += after;
            }
            _ => bars.push((name.to_owned(), Compared { before, after })),
        }
    }
    bars
}

/// The least of 1, 2, 5, 10, 20 … that four of reach to the top.
fn step(most: i64) -> i64 {
    let mut power = 1;
    loop {
        for of in [1, 2, 5] {
            if of * power * 4 >= most {
                return of * power;
            }
        }
        power *= 10;
    }
}

/// A chart, with figures as `figure` shows them.
pub(super) fn chart(bars: &Bars, figure: impl Fn(i64) -> String) -> Markup {
    let most = bars.iter().map(|(_, of)| of.before.max(of.after));
    let step = step(most.max().unwrap_or(0).max(1));
    let height = HEIGHT - TOP - BOTTOM;
    let up = |points: i64| {
        let units = i128::from(points.max(0)) * i128::from(height) / i128::from(step * 4);
        i64::try_from(units).unwrap_or(height)
    };
    let count = i64::try_from(bars.len()).unwrap_or(1).max(1);
    let slot = (WIDTH - LEFT) / count;
    let bar = (slot * 2 / 5).clamp(1, 26);
    let every = (count * 68).div_euclid(WIDTH - LEFT) + 1;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" {
            @for line in 0..=4 {
                @let y = TOP + height - up(step * line);
                line class="grid" x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                text class="axis" x=(LEFT - 8) y=(y + 5) text-anchor="end" { (figure(step * line)) }
            }
            @for (at, (label, of)) in (0_i64..).zip(bars) {
                @let middle = LEFT + slot * at + slot / 2;
                g {
                    title { (label) ": " (figure(of.before)) " → " (figure(of.after)) }
                    rect class="hover" x=(LEFT + slot * at) y=(TOP) width=(slot) height=(height) {}
                    rect class="before" x=(middle - bar) y=(TOP + height - up(of.before))
                        width=(bar) height=(up(of.before)) {}
                    rect class="after" x=(middle) y=(TOP + height - up(of.after))
                        width=(bar) height=(up(of.after)) {}
                }
                @if at % every == 0 {
                    text class="axis" x=(middle) y=(HEIGHT - 10) text-anchor="middle" { (label) }
                }
            }
        }
    }
}

/// Points as a chart shows them: 1.5M, 20k, 300.
pub(super) fn short(points: i64) -> String {
    let (unit, name) = match points {
        1_000_000.. => (1_000_000, "M"),
        10_000.. => (1_000, "k"),
        _ => return signed(points),
    };
    let tenths = points / (unit / 10);
    match tenths % 10 {
        0 => format!("{}{name}", signed(tenths / 10)),
        rest => format!("{}.{rest}{name}", signed(tenths / 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_steps() {
        assert_eq!(
            [1, 4, 5, 100, 101, 7_900].map(step),
            [1, 1, 2, 50, 50, 2_000]
        );
        assert_eq!([950, 12_300, 2_000_000].map(short), ["950", "12.3k", "2M"]);
    }

    #[test]
    fn many_months_become_years() {
        let before: BTreeMap<String, i64> = (0..40)
            .map(|at| (format!("{}-{:02}", 2000 + at / 12, at % 12 + 1), 1))
            .collect();
        let after = BTreeMap::from([("never".to_owned(), 7)]);
        let bars = bars(&before, &after);
        let told: Vec<(&str, i64, i64)> = bars
            .iter()
            .map(|(name, of)| (&**name, of.before, of.after))
            .collect();
        assert_eq!(
            told,
            [
                ("2000", 12, 0),
                ("2001", 12, 0),
                ("2002", 12, 0),
                ("2003", 4, 0),
                ("never", 0, 7)
            ]
        );
    }
}
