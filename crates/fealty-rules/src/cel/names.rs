//! The names of expressions: what each means, and what is said of one that is not there.

use cel::{IdedExpr, common::ast::Expr};
use fealty_types::TenderKind;

use super::{
    check::{CelError, Checked, Checker, Typed},
    form::{Bool, BoolName, Number, NumberName, Of, Text, TextName},
    path::path,
    scope::{AttributeType, Attributes, CounterName, WalletPart},
};
use crate::near;

impl Checker<'_> {
    pub(super) fn name(&mut self, tree: &IdedExpr) -> Checked<Typed> {
        if let Expr::Select(select) = &tree.expr
            && select.test
        {
            return self.has(tree, &select.operand, &select.field);
        }
        let Some(path) = path(tree) else {
            return Err(self.wrong(tree, "only names have fields"));
        };
        self.named(tree, &path)
    }

    /// `has(purchase.attributes.own_cup)`.
    fn has(&mut self, tree: &IdedExpr, of: &IdedExpr, name: &str) -> Checked<Typed> {
        let (of, attributes) = match path(of).as_deref() {
            Some(["purchase", "attributes"]) if self.scope.activity.is_none() => {
                (Of::Event, self.scope.purchase)
            }
            Some(["activity", "attributes"]) if let Some(declared) = self.scope.activity => {
                (Of::Event, declared)
            }
            Some(["line", "attributes"]) if self.scope.of_lines => (Of::Line, self.scope.line),
            _ => return Err(self.wrong(tree, "`has` asks whether an attribute is given")),
        };
        match attributes.find(name) {
            Some((at, _)) => Ok(Typed::Bool(Bool::Name(BoolName::Has(of, at)))),
            None => Err(self.unknown(tree, "attribute", name, attributes.names())),
        }
    }

    fn named(&mut self, tree: &IdedExpr, path: &[&str]) -> Checked<Typed> {
        use NumberName as N;
        use TextName as T;
        let number = |name| Ok(Typed::Number(Number::Name(name)));
        let money = |name| Ok(Typed::Money(Number::Name(name)));
        let text = |name| Ok(Typed::Text(Text::Name(name)));
        match path {
            ["purchase" | "line" | "lines" | "activity", ..] if self.scope.of_ends => {
                let message = "at a period's end nothing is bought: `counters` and `wallet` are \
                               known here";
                Err(self.wrong(tree, message))
            }
            ["wallet", part] => self.wallet(tree, part),
            ["purchase" | "line" | "lines", ..] if self.scope.activity.is_some() => {
                let message = "it is asked of activities: purchases are not known here";
                Err(self.wrong(tree, message))
            }
            ["activity", ..] if self.scope.activity.is_none() => {
                let message = "`activity` is only known in rules and counters of activities";
                Err(self.wrong(tree, message))
            }
            ["purchase", "amount"] => money(N::Amount),
            ["purchase", "earning_amount"] => money(N::EarningAmount),
            ["purchase", "quantity"] => number(N::Quantity),
            ["purchase" | "activity", "brand"] => text(T::Brand),
            ["purchase", "channel"] => text(T::Channel),
            ["purchase", "store"] => text(T::Store),
            ["purchase", "terminal"] => text(T::Terminal),
            ["purchase", "paid", kind] => self.paid(tree, kind),
            ["purchase" | "activity", "attributes", name] => self.attribute(tree, Of::Event, name),
            ["line", ..] if !self.scope.of_lines => {
                let message = "`line` is only known in `lines`, and in counters of lines";
                Err(self.wrong(tree, message))
            }
            ["line", "sku"] => text(T::LineSku),
            ["line", "category"] => text(T::LineCategory),
            ["line", "brand"] => text(T::LineBrand),
            ["line", "quantity"] => number(N::LineQuantity),
            ["line", "amount"] => money(N::LineAmount),
            ["line", "earning_amount"] => money(N::LineEarningAmount),
            ["line", "tax"] => money(N::LineTax),
            ["line", "attributes", name] => self.attribute(tree, Of::Line, name),
            ["lines", ..] if !self.scope.picked => {
                let message = "`lines` are those that the rule picks, and it picks none";
                Err(self.wrong(tree, message))
            }
            ["lines", "amount"] => money(N::PickedAmount),
            ["lines", "quantity"] => number(N::PickedQuantity),
            ["lines", "count"] => number(N::PickedLines),
            ["member", "tier"] if self.scope.tiers.is_empty() => {
                Err(self.wrong(tree, "the programme has no tiers"))
            }
            ["member", "tier"] => text(T::Tier),
            ["event", "date"] => Ok(Typed::Date(Number::Name(N::Date))),
            ["event", "time"] => Ok(Typed::Moment(Number::Name(N::Time))),
            ["event", "year"] => number(N::Year),
            ["event", "month"] => number(N::Month),
            ["event", "day"] => number(N::Day),
            ["event", "hour"] => number(N::Hour),
            ["event", "minute"] => number(N::Minute),
            ["event", "weekday"] => text(T::Weekday),
            ["counters", name] => {
                let counter = self.counter(tree, name)?;
                Ok(counter.typed(N::Counter(counter.number)))
            }
            ["counters", name, "after"] => self.counter_after(tree, name),
            _ => {
                let written = path.join(".");
                Err(self.unknown(tree, "name", &written, self.names().into_iter()))
            }
        }
    }

    /// What was paid by one kind of tender.
    fn paid(&self, tree: &IdedExpr, kind: &str) -> Checked<Typed> {
        let mut known = TenderKind::ALL.into_iter();
        if let Some(known) = known.find(|known| known.name() == kind) {
            return Ok(Typed::Money(Number::Name(NumberName::Paid(known))));
        }
        let names = TenderKind::ALL.into_iter().map(TenderKind::name);
        Err(self.unknown(tree, "kind of tender", kind, names))
    }

    /// Points in a part of the member's wallet.
    fn wallet(&self, tree: &IdedExpr, name: &str) -> Checked<Typed> {
        let Some(slots) = self.scope.wallet else {
            let message = "`wallet` is only known in rules of the ends of periods";
            return Err(self.wrong(tree, message));
        };
        let mut parts = WalletPart::ALL.into_iter().zip(slots);
        if let Some((_, slot)) = parts.find(|(part, _)| part.name() == name) {
            return Ok(Typed::Number(Number::Name(NumberName::Wallet(slot))));
        }
        let names = WalletPart::ALL.into_iter().map(WalletPart::name);
        Err(self.unknown(tree, "part of the wallet", name, names))
    }

    /// A counter with the event.
    fn counter_after(&mut self, tree: &IdedExpr, name: &str) -> Checked<Typed> {
        let counter = self.counter(tree, name)?;
        if self.scope.of_ends {
            let message = "nothing moves at a period's end: leave out `after`";
            return Err(self.wrong(tree, message));
        }
        if counter.of_points {
            let message = "what a counter of points comes to is not known yet";
            return Err(self.wrong(tree, message));
        }
        Ok(counter.typed(NumberName::CounterAfter(counter.number)))
    }

    /// The names that there are, for one who wrote another.
    fn names(&self) -> Vec<&'static str> {
        let known = NAMES.iter().copied();
        let here = known.filter(|name| match name.split('.').next() {
            Some("activity") => self.scope.activity.is_some(),
            Some("wallet") => self.scope.wallet.is_some(),
            Some("purchase" | "line" | "lines") if self.scope.of_ends => false,
            Some("purchase") => self.scope.activity.is_none(),
            Some("line") => self.scope.of_lines && self.scope.activity.is_none(),
            Some("lines") => self.scope.picked && self.scope.activity.is_none(),
            Some("counters") => !self.scope.counters.is_empty(),
            Some("member") => !self.scope.tiers.is_empty(),
            _ => true,
        });
        here.collect()
    }

    pub(super) fn unknown<'n>(
        &self,
        tree: &IdedExpr,
        what: &str,
        written: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> CelError {
        let names: Vec<&str> = names.collect();
        // `a.b-c` is a difference.
        let dashed = |name: &&&str| {
            let rest = name.strip_prefix(written);
            rest.is_some_and(|rest| rest.starts_with('-'))
        };
        let hint = match names.iter().find(dashed) {
            Some(name) => format!(", and one with a dash stands in brackets: [\"{name}\"]"),
            None => near::hint(written, names.into_iter()),
        };
        self.wrong(tree, format!("there is no {what} `{written}`{hint}"))
    }

    fn attribute(&mut self, tree: &IdedExpr, of: Of, name: &str) -> Checked<Typed> {
        let attributes: &Attributes = match of {
            Of::Event => self.scope.activity.unwrap_or(self.scope.purchase),
            Of::Line => self.scope.line,
        };
        let Some((at, of_type)) = attributes.find(name) else {
            return Err(self.unknown(tree, "attribute", name, attributes.names()));
        };
        Ok(match of_type {
            AttributeType::Bool => Typed::Bool(Bool::Name(BoolName::Attribute(of, at))),
            AttributeType::Number => Typed::Number(Number::Name(NumberName::Attribute(of, at))),
            AttributeType::Text => Typed::Text(Text::Name(TextName::Attribute(of, at))),
            AttributeType::Personal => {
                let what = format!("`{name}` is personal: the log has its hash only");
                return Err(self.wrong(tree, what));
            }
        })
    }

    pub(super) fn counter(&mut self, tree: &IdedExpr, name: &str) -> Checked<CounterName> {
        let counters = self.scope.counters;
        if counters.is_empty() {
            return Err(self.wrong(tree, "no counters are known here"));
        }
        let known = name.parse().ok().and_then(|id| counters.get(&id).copied());
        known.ok_or_else(|| {
            let names = counters.keys().map(fealty_types::CounterId::as_str);
            self.unknown(tree, "counter", name, names)
        })
    }
}

impl CounterName {
    fn typed(self, name: NumberName) -> Typed {
        if self.is_money {
            Typed::Money(Number::Name(name))
        } else {
            Typed::Number(Number::Name(name))
        }
    }
}

/// Names that expressions know, for one who wrote another.
const NAMES: [&str; 31] = [
    "wallet.available",
    "wallet.pending",
    "wallet.held",
    "wallet.debt",
    "activity.brand",
    "purchase.amount",
    "purchase.earning_amount",
    "purchase.quantity",
    "purchase.brand",
    "purchase.channel",
    "purchase.store",
    "purchase.terminal",
    "line.sku",
    "line.category",
    "line.brand",
    "line.quantity",
    "line.amount",
    "line.earning_amount",
    "line.tax",
    "lines.amount",
    "lines.quantity",
    "lines.count",
    "member.tier",
    "event.date",
    "event.time",
    "event.year",
    "event.month",
    "event.day",
    "event.hour",
    "event.minute",
    "event.weekday",
];
