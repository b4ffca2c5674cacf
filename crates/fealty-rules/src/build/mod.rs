//! Builds the rules of a version from what the programme file says, and says what is
//! wrong with it.

mod counters;
mod ends;
mod exact;
mod formula;
mod rest;
mod slots;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{CounterId, CurrencyId, RuleId};

use crate::{
    CounterName, Scope,
    calendar::Every,
    cel::{Bool, CelError, Checker, WalletPart},
    index::Index,
    near::hint,
    rule::{ActivityKind, Adds, Counter, Edge, Group, KeptBudget, Rule, Rules, Slot},
    subject::Subject,
    text::Texts,
};

pub use source::{
    CapSource, CounterSource, Counts, Fault, FormulaSource, Foundation, On, Over, RuleSource,
};

/// Builds rules.
pub struct Builder {
    foundation: Foundation,
    texts: Texts,
    counters: Vec<Counter>,
    names: BTreeMap<CounterId, CounterName>,
    of_points: Vec<(usize, Vec<RuleId>)>,
    slots: Vec<Slot>,
    selections: Vec<Bool>,
    budgets: Vec<KeptBudget>,
    activities: Vec<ActivityKind>,
    wallets: Vec<(CurrencyId, WalletPart)>,
    /// The slots in which it stands how often the end of a period was written.
    ends: BTreeMap<Every, u16>,
    rules: Vec<Rule>,
    /// Rules that are wrong.
    failed: BTreeSet<RuleId>,
    index: Index,
}

/// Slots of a version at the most.
const SLOTS_MAX: usize = 4_000;

type Faults = Vec<Fault>;

impl Builder {
    /// Rules that stand on something.
    #[must_use]
    pub fn new(foundation: Foundation) -> Self {
        let mut texts = Texts::default();
        for tier in &foundation.tiers {
            texts.number(tier.as_str());
        }
        let mut builder = Self {
            texts,
            counters: Vec::new(),
            names: BTreeMap::new(),
            of_points: Vec::new(),
            slots: Vec::new(),
            selections: Vec::new(),
            budgets: Vec::new(),
            activities: Vec::new(),
            wallets: Vec::new(),
            ends: BTreeMap::new(),
            rules: Vec::new(),
            failed: BTreeSet::new(),
            index: Index::default(),
            foundation,
        };
        for (id, attributes) in builder.foundation.activities.clone() {
            let days = attributes.is_some().then(|| builder.days_of(&id));
            builder.activities.push(ActivityKind {
                id,
                readable: attributes.is_some(),
                attributes: attributes.unwrap_or_default(),
                rules: Vec::new(),
                days,
            });
        }
        builder
    }

    /// Adds a rule.
    pub fn rule(&mut self, source: &RuleSource<'_>) -> Result<(), Faults> {
        let added = self.add_rule(source);
        if added.is_err() {
            self.failed.insert(source.id.clone());
        }
        added
    }

    /// Notes a rule that is there and cannot be built: who refers to it is not wrong.
    pub fn miss_rule(&mut self, id: &RuleId) {
        self.failed.insert(id.clone());
    }

    fn add_rule(&mut self, source: &RuleSource<'_>) -> Result<(), Faults> {
        let mut faults = Vec::new();
        let on = self.on(source, &mut faults)?;
        ends::check(source, &mut faults);
        let base = self.base(source, &mut faults);
        let currency = source
            .currency
            .clone()
            .or_else(|| base.map(|at| self.rules[at].currency.clone()));
        let wallet = self.wallet_slots(source, currency.as_ref());
        let names = std::mem::take(&mut self.names);
        let lines = self.picked_lines((source, on), &names, &mut faults);
        let (when, edge) = self.when((source, on), wallet, &names, &mut faults);
        let formula = self.formula((source, on), (base, wallet), &names, &mut faults);
        self.names = names;
        let group = self.group(source, &mut faults);
        let budget = self.budget_for(source, currency.as_ref(), &mut faults);
        if let Some(edge) = edge {
            self.check_edge((source, on), edge, &mut faults);
        }
        let (Some(currency), Some(formula)) = (currency, formula) else {
            return Err(faults);
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let edge = edge.map(|edge| self.kept_edge(source, edge));
        let caps = self.caps(source)?;
        let end = self.kept_end((source, on), (&when, &formula, &caps))?;
        if self.slots.len() > SLOTS_MAX {
            let message = format!("counters, caps and edges may be {SLOTS_MAX} together");
            return Err(vec![Fault::new("caps", message)]);
        }
        let round = self.foundation.rounding.get(&currency);
        self.keep(Rule {
            id: source.id.clone(),
            on,
            round: round.copied().unwrap_or_default(),
            currency,
            funded_by: source.funded_by.clone(),
            from: source.from,
            until: source.until,
            when_text: source.when.map(Into::into),
            lines_text: source.lines.map(Into::into),
            when,
            edge,
            lines,
            group,
            formula,
            caps,
            budget,
            reads: None,
            end,
        });
        Ok(())
    }

    /// Keeps a rule that is right.
    fn keep(&mut self, mut rule: Rule) {
        let number = u16::try_from(self.rules.len()).unwrap_or(u16::MAX);
        let selection = rule.lines.map(|at| &self.selections[usize::from(at)]);
        match rule.on {
            Subject::Purchase => {
                self.index.add(number, &rule.when, selection);
                // An activity does not come back in parts; a purchase may.
                rule.reads = rest::reads(&rule, self);
            }
            Subject::Activity(of_type) => {
                self.activities[usize::from(of_type)].rules.push(number);
            }
            Subject::End(_) => {}
        }
        self.rules.push(rule);
    }

    /// Whether a rule and the edge that it asks for go together.
    fn check_edge(
        &self,
        (source, on): (&RuleSource<'_>, Subject),
        edge: Edge,
        faults: &mut Faults,
    ) {
        if edge.each && !matches!(source.formula, FormulaSource::Fixed { .. }) {
            let message = "`reaches_each` is for rules that give `fixed` points";
            faults.push(Fault::new("when", message));
        }
        if !self.moves(on, edge.counter) || matches!(on, Subject::End(_)) {
            let message = "the rule is asked of what the counter does not count: its edges are \
                           never reached by it";
            faults.push(Fault::new("when", message));
        }
    }

    /// The number of the condition by which a rule picks lines.
    fn picked_lines(
        &mut self,
        (source, on): (&RuleSource<'_>, Subject),
        names: &BTreeMap<CounterId, CounterName>,
        faults: &mut Faults,
    ) -> Option<u16> {
        let lines = source.lines.filter(|_| on == Subject::Purchase)?;
        match self.lines((lines, on), names) {
            Ok(number) => Some(number),
            Err(error) => {
                faults.push(Fault::of("lines", error));
                None
            }
        }
    }

    /// What a rule is asked of. Activities have no money and no lines.
    fn on(&self, source: &RuleSource<'_>, faults: &mut Faults) -> Result<Subject, Faults> {
        let of_type = match &source.on {
            On::Purchase => return Ok(Subject::Purchase),
            On::End(every) => return Ok(Subject::End(*every)),
            On::Activity(of_type) => of_type,
        };
        let number = self.activity(of_type, "on").map_err(|fault| vec![fault])?;
        if !matches!(source.formula, FormulaSource::Fixed { .. }) {
            let message = "an activity gives `fixed` points: it has no money";
            faults.push(Fault::new("earn", message));
        }
        if source.lines.is_some() {
            faults.push(Fault::new("lines", "an activity has no lines"));
        }
        Ok(Subject::Activity(number))
    }

    /// Whether what a rule is asked of may move a counter.
    fn moves(&self, on: Subject, counter: u16) -> bool {
        match &self.counters[usize::from(counter)].adds {
            Adds::Purchase { .. } | Adds::Line { .. } => on == Subject::Purchase,
            Adds::Activity { of, .. } => on == Subject::Activity(*of),
            Adds::Points { .. } => true,
        }
    }

    /// Where the base is that a rule multiplies.
    fn base(&self, source: &RuleSource<'_>, faults: &mut Faults) -> Option<usize> {
        let FormulaSource::Multiply { base, .. } = &source.formula else {
            return None;
        };
        let is_base = |rule: &Rule| rule.id == *base && rule.formula.is_base();
        let found = self.rules.iter().position(is_base);
        if found.is_none() && !self.failed.contains(base) {
            let bases = self.rules.iter().filter(|rule| rule.formula.is_base());
            let hint = hint(base.as_str(), bases.map(|rule| rule.id.as_str()));
            let message = format!("`{base}` must be a rule with a rate, further up{hint}");
            faults.push(Fault::new("earn.multiply", message));
        }
        found
    }

    /// The number of the condition that picks lines.
    fn lines(
        &mut self,
        (source, on): (&str, Subject),
        names: &BTreeMap<CounterId, CounterName>,
    ) -> Result<u16, CelError> {
        let scope = Scope {
            of_lines: true,
            ..scope(&self.foundation, (&self.activities, on), names)
        };
        let (condition, edge) = Checker::condition(source, scope, &mut self.texts)?;
        if edge.is_some() {
            return Err(CelError {
                message: "an edge of a counter belongs into `when`".to_owned(),
                offset: 0,
            });
        }
        let known = self.selections.iter().position(|known| *known == condition);
        let at = known.unwrap_or_else(|| {
            self.selections.push(condition);
            self.selections.len() - 1
        });
        Ok(u16::try_from(at).unwrap_or(u16::MAX))
    }

    fn when(
        &mut self,
        (source, on): (&RuleSource<'_>, Subject),
        wallet: Option<[u16; 4]>,
        names: &BTreeMap<CounterId, CounterName>,
        faults: &mut Faults,
    ) -> (Bool, Option<Edge>) {
        let Some(when) = source.when else {
            return (Bool::Known(true), None);
        };
        let scope = Scope {
            picked: source.lines.is_some(),
            wallet,
            ..scope(&self.foundation, (&self.activities, on), names)
        };
        match Checker::condition(when, scope, &mut self.texts) {
            Ok(found) => found,
            Err(error) => {
                faults.push(Fault::of("when", error));
                (Bool::Known(true), None)
            }
        }
    }

    fn group(&self, source: &RuleSource<'_>, faults: &mut Faults) -> Option<u16> {
        let id = source.group.as_ref()?;
        let groups = &self.foundation.groups;
        let Some(number) = groups.keys().position(|known| known == id) else {
            let message = format!(
                "`{id}` has no order: say `groups: {{ {id}: best }}`, or `first`, beside `earning`"
            );
            faults.push(Fault::new("group", message));
            return None;
        };
        let number = u16::try_from(number).ok()?;
        let is_base = matches!(
            source.formula,
            FormulaSource::Rate { .. } | FormulaSource::Bands { .. }
        );
        if !is_base {
            let message = "only rules with a rate or bands stand in groups";
            faults.push(Fault::new("group", message));
        }
        let mut others = self
            .rules
            .iter()
            .filter(|other| other.group == Some(number));
        if others.any(|other| Some(&other.currency) != source.currency.as_ref()) {
            faults.push(Fault::new("group", "its rules must give one currency"));
        }
        Some(number)
    }

    /// The rules, all together.
    pub fn finish(mut self) -> Result<Rules, Vec<(CounterId, Fault)>> {
        let mut faults = Vec::new();
        for (at, rules) in std::mem::take(&mut self.of_points) {
            let id = self.counters[at].id.clone();
            let mut numbers = Vec::with_capacity(rules.len());
            for rule in rules {
                if let Some(number) = self.rules.iter().position(|known| known.id == rule) {
                    numbers.push(u16::try_from(number).unwrap_or(u16::MAX));
                } else if !self.failed.contains(&rule) {
                    let ids = self.rules.iter().map(|known| known.id.as_str());
                    let message = format!("there is no rule `{rule}`{}", hint(rule.as_str(), ids));
                    faults.push((id.clone(), Fault::new("rules", message)));
                }
            }
            self.counters[at].adds = Adds::Points {
                rules: numbers.into(),
            };
        }
        faults.extend(self.circles());
        if !faults.is_empty() {
            return Err(faults);
        }
        let foundation = self.foundation;
        let groups = foundation
            .groups
            .into_iter()
            .map(|(id, pick)| Group { id, pick });
        Ok(Rules {
            texts: self.texts,
            calendar: foundation.calendar,
            rules: self.rules,
            groups: groups.collect(),
            selections: self.selections,
            counters: self.counters,
            budgets: self.budgets,
            by_key: self.slots.iter().map(|slot| slot.key).zip(0..).collect(),
            slots: self.slots,
            index: self.index,
            activities: self.activities,
            wallets: self.wallets,
            ends: self.ends,
            no_attributes: crate::Attributes::default(),
            purchase_attributes: foundation.purchase,
            line_attributes: foundation.line,
            tier_as_of: foundation.tier_as_of,
            late_days: foundation.late_days,
        })
    }
}

fn scope<'s>(
    foundation: &'s Foundation,
    (activities, on): (&'s [ActivityKind], Subject),
    counters: &'s BTreeMap<CounterId, CounterName>,
) -> Scope<'s> {
    Scope {
        activity: match on {
            Subject::Purchase | Subject::End(_) => None,
            Subject::Activity(of_type) => Some(&activities[usize::from(of_type)].attributes),
        },
        of_ends: matches!(on, Subject::End(_)),
        wallet: None,
        purchase: &foundation.purchase,
        line: &foundation.line,
        of_lines: false,
        picked: false,
        tiers: &foundation.tiers,
        counters,
        decimals: foundation.decimals,
    }
}
