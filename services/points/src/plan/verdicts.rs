//! What became of each rule: of a purchase that was recorded, from the facts in the log, and
//! of one that is only asked about.

use fealty_ledger::{Command, EarnedFacts, Purchase};
use fealty_program::ProgramVersion;
use fealty_rules::{Recorded, Rules, SlotValue, Trace, Verdict, Verdicts, evaluate};
use fealty_types::{CurrencyId, RuleId, TierId, Timestamp};

use super::{
    OfMember, Plan, PlanError,
    event::{activity_event, event},
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

/// What became of each rule of a purchase or an activity that was recorded at a moment. The
/// same facts give the same answer for ever.
pub(crate) fn recorded(
    applied: &ProgramVersion,
    command: &Command,
    facts: &EarnedFacts,
    recorded_at: Timestamp,
) -> Vec<OfRule> {
    let mut verdicts = Verdicts::default();
    let of = (command, facts);
    match evaluated_again(applied, of, recorded_at, &mut verdicts) {
        Some(()) => told(&applied.program.earning.rules, verdicts),
        None => Vec::new(),
    }
}

/// Points that caps and budgets held back of what a rule would have given.
#[derive(Clone, Debug, Default)]
struct HeldBack(Vec<(u16, i64)>);

impl Trace for HeldBack {
    const ALL: bool = false;

    fn tell(&mut self, rule: u16, verdict: Verdict) {
        let points = match verdict {
            Verdict::Gave { points, uncapped } => uncapped - points,
            Verdict::BudgetSpent { uncapped } | Verdict::CapReached { uncapped, .. } => uncapped,
            _ => 0,
        };
        if points > 0 {
            self.0.push((rule, points));
        }
    }
}

/// Points that caps and budgets held back of a purchase or an activity that was recorded at a
/// moment, by rule.
pub(crate) fn held_back(
    applied: &ProgramVersion,
    (command, facts): (&Command, &EarnedFacts),
    recorded_at: Timestamp,
) -> Vec<(RuleId, i64)> {
    let mut held_back = HeldBack::default();
    if evaluated_again(applied, (command, facts), recorded_at, &mut held_back).is_none() {
        return Vec::new();
    }
    let rules = &applied.program.earning.rules;
    let held_back = held_back.0.into_iter();
    let by_rule = held_back.filter_map(|(number, points)| {
        let rule = rules.rule(number)?;
        Some((rule.id.clone(), points))
    });
    by_rule.collect()
}

/// Evaluates a purchase or an activity again that was recorded at a moment; `None` where that
/// cannot be.
fn evaluated_again(
    applied: &ProgramVersion,
    (command, facts): (&Command, &EarnedFacts),
    recorded_at: Timestamp,
    trace: &mut impl Trace,
) -> Option<()> {
    let program = &applied.program;
    let rules = &program.earning.rules;
    let brand = program.brands.get(command.brand()?)?;
    let tier = (facts.tier.as_ref(), facts.purchased_at);
    let counts = rules.counts(facts.purchased_at, recorded_at);
    let event = match command {
        Command::Purchase(purchase) => {
            let purchase = (purchase, purchase.amount);
            Some(event(program, &brand.issues, purchase, tier, counts))
        }
        Command::Activity(activity) => {
            activity_event(program, &brand.issues, activity, tier, counts)
        }
        _ => None,
    };
    let read = read(facts);
    evaluate(rules, &event?, &Recorded(&read), trace).ok()?;
    Some(())
}

/// What a purchase would earn now, or at another time; it need not be an order yet.
pub(crate) fn preview(
    applied: &ProgramVersion,
    purchase: &Purchase,
    of_member: OfMember<'_>,
    now: Timestamp,
) -> Result<Preview, PlanError> {
    let plan = Plan::by(applied, of_member, now);
    let brand = plan.check_content(purchase)?;
    let purchased_at = purchase.purchased_at.unwrap_or(now);
    let mut verdicts = Verdicts::default();
    plan.evaluated(purchase, (brand, purchased_at), &mut verdicts)?;
    Ok(Preview {
        purchased_at,
        rules: told(&plan.program.earning.rules, verdicts),
        tier: plan.tier,
    })
}

/// What the log kept of the member's numbers as they were read.
pub(super) fn read(facts: &EarnedFacts) -> Vec<(u16, SlotValue)> {
    let read = facts.read.iter().map(|read| {
        let value = SlotValue {
            before: read.before,
            with_any: read.with_any,
        };
        (read.slot, value)
    });
    read.collect()
}

/// What became of rules, by their names.
pub(super) fn told(rules: &Rules, Verdicts(mut verdicts): Verdicts) -> Vec<OfRule> {
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
