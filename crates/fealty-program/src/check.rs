//! From the text's form to its meaning: every section is checked, and all that is
//! wrong is said at once.

use std::{collections::BTreeMap, sync::Arc};

use fealty_rules::{Attributes, Builder, Foundation};
use fealty_types::ActivityType;
use sha2::{Digest as _, Sha256};

use crate::{
    Calendar, DeclaredActivity, DeclaredAttributes, Earning, Program, ProgramError, ProgramErrors,
    ProgramSource, SOURCE_LEN_MAX,
    faults::Check,
    sections::{
        activities, adjustments, attributes, brands, budgets, calendar, counters, currencies,
        earning, examples, orders, personal, program, referrals, refunds, rewards, tiers,
    },
    source::{self, File, Places},
    version::text_digest,
};

/// The language of files that is spoken here.
const LANGUAGE: u32 = 1;

impl ProgramSource {
    /// Asks the rules for what the file's examples earn; says which do not.
    pub fn check_examples(&self) -> Result<(), ProgramErrors> {
        let mut check = Check::default();
        let asked = examples::Asked {
            rules: &self.program.earning.rules,
            brands: &self.program.brands,
            tiers: self.program.tiers.as_ref(),
        };
        for (at, example) in self.program.examples.iter().enumerate() {
            if let Some(why) = example.fails(&asked) {
                check.wrong(format!("examples.{at}"), why);
            }
        }
        if check.found.is_empty() {
            return Ok(());
        }
        let places = Places::of(&self.source);
        for error in &mut check.found {
            error.location = places.find(&error.path);
        }
        Err(ProgramErrors::new(check.found))
    }
}

impl ProgramSource {
    /// The line and column at which something of the file stands, such as
    /// `earning.base.when`: of the value, or of what it is missing from.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<(u64, u64)> {
        Places::of(&self.source).find(path)
    }
}

impl Program {
    /// Reads and checks a programme file; says all that is wrong with it at once.
    pub fn parse(source: &str) -> Result<ProgramSource, ProgramErrors> {
        parse(source)
    }
}

/// Reads and checks a file.
fn parse(source: &str) -> Result<ProgramSource, ProgramErrors> {
    if source.len() > SOURCE_LEN_MAX {
        let message = format!("must be at most {SOURCE_LEN_MAX} bytes");
        return Err(ProgramError::of_file(message).into());
    }
    let file = source::read(source)?;
    let mut check = Check::default();
    let checked = program(&file, &mut check);
    let Some(program) = checked.filter(|_| check.found.is_empty()) else {
        let places = Places::of(source);
        for error in &mut check.found {
            error.location = places.find(&error.path).map(|found| match error.offset {
                Some(offset) => source::further_on(source, found, offset),
                None => found,
            });
        }
        return Err(ProgramErrors::new(check.found));
    };
    let meaning =
        serde_json::to_vec(&file).map_err(|error| ProgramError::of_file(error.to_string()))?;
    Ok(ProgramSource {
        program: Arc::new(program),
        source: source.to_owned(),
        digest: format!("{:x}", Sha256::digest(meaning)),
        text_digest: text_digest(source),
    })
}

/// Checks all sections; a value only where none that it needs is missing.
fn program(file: &File, check: &mut Check) -> Option<Program> {
    if file.language.is_some_and(|language| language != LANGUAGE) {
        check.wrong(
            "language",
            format!("must be {LANGUAGE}, the one that is spoken here"),
        );
    }
    let calendar = calendar::check(file.time_zone.as_deref(), file.calendar.as_ref(), check);
    let money = program::money(&file.money, check)?;
    let tiers = match &file.tiers {
        None => None,
        // Without its tiers, whatever refers to them would seem to be wrong.
        Some(text) => Some(tiers::check(text, money, check)?),
    };
    let currencies = currencies::check(&file.currencies, tiers.as_ref(), check);
    let brands = brands::check(&file.brands, currencies.as_ref(), check);
    let attributes = attributes::check(file.attributes.as_ref(), check);
    let mut activities = activities::check(&file.activities, check);
    let of_brands = (&brands, money);
    let referrals = referrals::check(file.referrals.as_ref(), of_brands, &mut activities, check);
    let context = earning::Context {
        money,
        currencies: currencies.as_ref(),
        brands: &brands,
        funders: budgets::funders(&file.budgets),
        tiers: tiers.as_ref(),
        calendar: calendar.as_ref().map(|(calendar, _)| calendar),
    };
    let late_days = calendar.as_ref().map(|(_, late_days)| *late_days);
    let earning = earning(file, &context, (&attributes, &activities, late_days), check);
    let examples = match (&earning, &context.calendar) {
        (Some(earning), Some(calendar)) if rules_are_right(check) => {
            let context = examples::Context {
                money,
                brands: brands.keys().collect(),
                tiers: tiers.as_ref(),
                attributes: &attributes,
                activities: &activities,
                zone: &calendar.zone,
                rules: &earning.rules,
            };
            examples::check(&file.examples, &context, check)
        }
        // Without rules, whatever examples say would seem to be wrong.
        _ => Vec::new(),
    };
    let rewards = rewards::check(&file.rewards, &brands, check);
    let refunds = refunds::check(file.refunds.as_ref(), check);
    let adjustments = adjustments::check(file.adjustments.as_ref(), check);
    let orders = orders::check(file.orders.as_ref(), check);
    let personal = personal::check(file.personal.as_ref(), (&attributes, &activities), check);
    Some(Program {
        id: file.program.clone(),
        calendar: calendar?.0,
        money,
        currencies: currencies?,
        brands,
        attributes,
        activities,
        earning: earning?,
        tiers,
        rewards,
        referrals,
        refunds: refunds?,
        adjustments: adjustments?,
        orders: orders?,
        personal: personal?,
        examples,
    })
}

/// Whether nothing was found in what purchases earn by.
fn rules_are_right(check: &Check) -> bool {
    let of_rules = ["earning.", "counters.", "budgets."];
    let mut found = check.found.iter();
    !found.any(|error| {
        of_rules
            .into_iter()
            .any(|section| error.path.starts_with(section))
    })
}

/// Checks counters and rules, and has them compiled.
fn earning(
    file: &File,
    context: &earning::Context<'_>,
    (attributes, activities, late_days): (
        &DeclaredAttributes,
        &BTreeMap<ActivityType, DeclaredActivity>,
        Option<i32>,
    ),
    check: &mut Check,
) -> Option<Earning> {
    let utc = || Calendar::of(jiff::tz::TimeZone::UTC);
    let rounding = context.currencies.into_iter().flatten();
    let levels = context.tiers.iter().flat_map(|scheme| &scheme.levels);
    let mut builder = Builder::new(Foundation {
        // Where the calendar is wrong, the rest is checked by another.
        calendar: context.calendar.cloned().unwrap_or_else(utc),
        tiers: levels.map(|level| level.tier.clone()).collect(),
        decimals: context.money.decimals,
        purchase: Attributes::new(&attributes.purchase),
        line: Attributes::new(&attributes.line),
        activities: activities::readable(activities),
        rounding: rounding
            .map(|(id, currency)| (id.clone(), currency.round))
            .collect(),
        groups: earning::groups(&file.groups, check),
        tier_as_of: earning::tier_as_of(&file.earning),
        late_days: late_days.unwrap_or(0),
    });
    counters::check(&file.counters, &mut builder, check);
    budgets::check(&file.budgets, context, &mut builder, check);
    let terms = earning::check(&file.earning, context, &mut builder, check);
    match builder.finish() {
        Ok(rules) => {
            let earning = Earning { rules, terms };
            if let Some(currencies) = context.currencies {
                earning::ends::check(&earning, (currencies, context.tiers), check);
            }
            Some(earning)
        }
        Err(faults) => {
            for (counter, fault) in faults {
                check.faults(&format!("counters.{counter}"), vec![fault]);
            }
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const RECORD_CLUB: &str = include_str!("../../../examples/programs/record-club.yaml");

    /// The example with a section added.
    pub(crate) fn with_section(section: &str) -> Arc<Program> {
        let file = format!("{RECORD_CLUB}\n{section}\n");
        parse(&file).expect("valid").program
    }

    /// The paths at which the example is wrong with a section added.
    pub(crate) fn refused_at(section: &str) -> Vec<String> {
        let file = format!("{RECORD_CLUB}\n{section}\n");
        let errors = parse(&file).expect_err("refused");
        errors.iter().map(|error| error.path.clone()).collect()
    }

    fn refusal(change: impl FnOnce(String) -> String) -> ProgramError {
        let changed = change(RECORD_CLUB.to_owned());
        assert_ne!(changed, RECORD_CLUB, "the change must change the file");
        parse(&changed)
            .expect_err("must be refused")
            .first()
            .clone()
    }

    fn moment(text: &str) -> fealty_types::Timestamp {
        fealty_types::Timestamp::new(text.parse().expect("a moment"))
    }

    #[test]
    fn the_example_is_read() {
        let program = parse(RECORD_CLUB).expect("valid").program;
        assert_eq!(program.earning.rules.rules().len(), 2);
        assert_eq!(
            program.rewards["concert-evening".parse().as_ref().expect("id")].stock,
            Some(300)
        );
        let points = "points".parse().expect("id");
        assert_eq!(
            program.expiry_of(&points, moment("1997-01-15T12:00:00Z"), None),
            crate::ExpiryTerms::At(moment("1998-02-01T00:00:00Z"))
        );
        let scheme = program.tiers.as_ref().expect("tiers");
        let judged =
            scheme.first_evaluation(moment("1997-01-15T12:00:00Z"), &program.calendar.zone);
        assert_eq!(judged, moment("1998-01-16T00:00:00Z"));
        let again = scheme.next_evaluation(judged, &program.calendar.zone);
        assert_eq!(again, moment("1999-01-16T00:00:00Z"));
        assert_eq!(scheme.rank_of(29_999), 1);
        assert_eq!(scheme.rank_of(30_000), 2);
    }

    #[test]
    fn layout_does_not_change_the_digest() {
        let first = parse(RECORD_CLUB).expect("valid").digest;
        let second = parse(&format!("# a remark\n{RECORD_CLUB}"))
            .expect("valid")
            .digest;
        assert_eq!(first, second);
    }

    #[test]
    fn what_is_unknown_is_refused_by_name_and_place() {
        let error = refusal(|file| {
            file.replace(
                "    on: purchase\n",
                "    on: purchase\n    wenn: purchase.channel == \"web\"\n",
            )
        });
        assert!(error.message.contains("wenn"), "{error}");
        assert!(error.location.is_some(), "{error}");
        let error = refusal(|file| file.replacen("on: purchase", "on: activity.review", 1));
        assert_eq!(error.message, "there is no activity `review`");
        let error = refusal(|file| file.replacen("on: purchase", "on: purchases", 1));
        assert!(error.message.contains("purchases"), "{error}");
        assert!(error.location.is_some(), "{error}");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_place() {
        let file = RECORD_CLUB
            .replace("stock: 300", "stock: -1")
            .replace("points: 10, ", "points: -10, ")
            .replace("time_zone: UTC", "time_zone: Moon/Tranquility");
        let errors = parse(&file).expect_err("refused");
        let found: Vec<_> = errors
            .iter()
            .map(|e| (e.path.as_str(), e.location))
            .collect();
        let line = |text: &str| {
            let line = file.lines().position(|line| line.contains(text));
            u64::try_from(line.expect("it is there")).expect("small") + 1
        };
        let paths = found.iter().map(|(path, at)| (*path, at.map(|at| at.0)));
        let expected = [
            ("time_zone", Some(line("Tranquility"))),
            ("earning.base.earn.rate.points", Some(line("points: -10"))),
            ("rewards.concert-evening.stock", Some(line("stock: -1"))),
        ];
        // A rule that could not be read is missed by the one that multiplies it.
        let paths: Vec<_> = paths
            .filter(|(path, _)| !path.ends_with("multiply"))
            .collect();
        assert_eq!(paths, expected, "{errors}");
    }

    #[test]
    fn what_does_not_resolve_is_refused() {
        let cases: [(&str, &str, &str); 9] = [
            ("time_zone: UTC", "time_zone: Moon/Tranquility", "time_zone"),
            (
                "multiply: base",
                "multiply: basis",
                "earning.tier-bonus.earn.multiply",
            ),
            (
                "gold: \"1.50\"",
                "golden: \"1.50\"",
                "earning.tier-bonus.earn.by_tier.golden",
            ),
            (
                "gold: \"1.50\"",
                "gold: \"0.50\"",
                "earning.tier-bonus.earn.by_tier.gold",
            ),
            (
                "per: \"1.00\"",
                "per: \"0.001\"",
                "earning.base.earn.rate.per",
            ),
            (
                "points: 10, ",
                "points: -10, ",
                "earning.base.earn.rate.points",
            ),
            (
                "from: \"300.00\"",
                "from: \"50.00\"",
                "tiers.levels.gold.from",
            ),
            (
                "points: 5000",
                "points: 0",
                "rewards.concert-evening.price.points",
            ),
            ("stock: 300", "stock: -1", "rewards.concert-evening.stock"),
        ];
        for (from, to, path) in cases {
            let error = refusal(|file| file.replace(from, to));
            assert_eq!(error.path, path, "{error}");
        }
    }
}
