//! What became of each rule: of a purchase that was recorded, from the facts in the log, and
//! of one that is only asked about.

use fealty_ledger::{EarnedFacts, Purchase, SlotRead};
use fealty_program::ProgramVersion;
use fealty_rules::{Inputs, Outcome, Rules, SlotValue, Stored, Verdict, Verdicts, evaluate};
use fealty_types::{CurrencyId, RuleId, TierId, Timestamp};

use super::{
    OfMember, PlanError,
    event::{Numbers, check_attributes, event},
};

/// What became of a rule.
#[derive(Clone, Debug)]
pub(crate) struct OfRule {
    pub(crate) rule: RuleId,
    pub(crate) currency: CurrencyId,
    pub(crate) verdict: Verdict,
    /// Its condition, and which lines it picks, as the programme says it.
    pub(crate) when: Option<Box<str>>,
    pub(crate) lines: Option<Box<str>>,
    /// The rule of its group that gave.
    pub(crate) other: Option<RuleId>,
    pub(crate) is_bonus: bool,
}

/// What a purchase would earn.
#[derive(Clone, Debug)]
pub(crate) struct Preview {
    pub(crate) purchased_at: Timestamp,
    pub(crate) tier: Option<TierId>,
    /// In the order of the programme.
    pub(crate) rules: Vec<OfRule>,
}

/// What became of each rule of a purchase that was recorded at a moment. The same facts give
/// the same answer for ever.
pub(crate) fn recorded(
    applied: &ProgramVersion,
    purchase: &Purchase,
    facts: &EarnedFacts,
    recorded_at: Timestamp,
) -> Vec<OfRule> {
    let program = &applied.program;
    let rules = &program.earning.rules;
    let Some(brand) = program.brands.get(&purchase.brand) else {
        return Vec::new();
    };
    let tier = (facts.tier.as_ref(), facts.purchased_at);
    let counts = rules.counts(facts.purchased_at, recorded_at);
    let event = event(program, brand, purchase, tier, counts);
    let mut verdicts = Verdicts::default();
    match evaluate(rules, &event, &Recorded(&facts.read), &mut verdicts) {
        Ok(_) => told(rules, verdicts),
        Err(_) => Vec::new(),
    }
}

/// What a purchase would earn now, or at another time; it need not be an order yet.
pub(crate) fn preview(
    applied: &ProgramVersion,
    purchase: &Purchase,
    of_member: OfMember<'_>,
    now: Timestamp,
) -> Result<Preview, PlanError> {
    let program = &applied.program;
    let rules = &program.earning.rules;
    let brand = program.brands.get(&purchase.brand);
    let brand = brand.ok_or_else(|| PlanError::BrandNotFound(purchase.brand.clone()))?;
    if purchase.amount.currency() != program.money.currency {
        return Err(PlanError::WrongMoneyCurrency {
            expected: program.money.currency,
            actual: purchase.amount.currency(),
        });
    }
    check_attributes(program, purchase)?;
    let purchased_at = purchase.purchased_at.unwrap_or(now);
    let lowest = || program.tiers.as_ref()?.levels.first();
    let tier = of_member
        .tier
        .or_else(|| lowest().map(|level| level.tier.clone()));
    let counts = rules.counts(purchased_at, now);
    let event = event(
        program,
        brand,
        purchase,
        (tier.as_ref(), purchased_at),
        counts,
    );
    let inputs = Stored {
        rules,
        book: &Numbers(of_member.counters),
        at: purchased_at,
    };
    let mut verdicts = Verdicts::default();
    let Outcome { .. } =
        evaluate(rules, &event, &inputs, &mut verdicts).map_err(|_| PlanError::TooManyPoints)?;
    Ok(Preview {
        purchased_at,
        rules: told(rules, verdicts),
        tier,
    })
}

/// A member's numbers as the log kept what was read of them.
struct Recorded<'a>(&'a [SlotRead]);

impl Inputs for Recorded<'_> {
    fn slot(&self, number: u16) -> SlotValue {
        let read = self.0.iter().find(|read| read.slot == number);
        read.map_or(SlotValue::default(), |read| SlotValue {
            before: read.before,
            with_any: read.with_any,
        })
    }
}

fn told(rules: &Rules, Verdicts(mut verdicts): Verdicts) -> Vec<OfRule> {
    verdicts.sort_unstable_by_key(|(rule, _)| *rule);
    let told = verdicts.into_iter().filter_map(|(number, verdict)| {
        let rule = rules.rule(number)?;
        let other = match verdict {
            Verdict::OutOfGroup { other } => rules.rule(other).map(|other| other.id.clone()),
            _ => None,
        };
        Some(OfRule {
            rule: rule.id.clone(),
            currency: rule.currency.clone(),
            verdict,
            when: rule.when_text.clone(),
            lines: rule.lines_text.clone(),
            other,
            is_bonus: rule.is_bonus(),
        })
    });
    told.collect()
}
