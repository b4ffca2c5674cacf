//! From a text to a typed expression, or to what is wrong with it and where.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, SourceInfo, operators},
    parser::Parser,
};
use fealty_types::TierId;

use super::{
    form::{Bool, Number, Text},
    path::path,
    scope::Scope,
};
use crate::{
    calendar::{self, WEEKDAYS},
    decimal::Ratio,
    rule::Edge,
    text::Texts,
};

/// The longest expression, in bytes.
pub const LEN_MAX: usize = 4_096;
/// How deep an expression may be nested.
const DEPTH_MAX: u16 = 64;
/// Parts of an expression at the most: so much work it is at the worst, each time.
const PARTS_MAX: usize = 1_000;

/// Something that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CelError {
    /// What is wrong.
    pub message: String,
    /// Where, in characters from the beginning of the expression.
    pub offset: usize,
}

/// A typed expression.
pub(super) enum Typed {
    Bool(Bool),
    Number(Number),
    Money(Number),
    Date(Number),
    Moment(Number),
    Text(Text),
    /// True as often as the edge is reached by the event.
    Edge(Edge),
}

impl Typed {
    fn name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a whole number",
            Self::Money(_) => "money",
            Self::Date(_) => "a date",
            Self::Moment(_) => "a moment",
            Self::Text(_) => "a text",
            Self::Edge(_) => "an edge of a counter",
        }
    }
}

pub(super) type Checked<T> = Result<T, CelError>;

/// Checks expressions of one scope.
pub(crate) struct Checker<'a> {
    pub(super) scope: Scope<'a>,
    texts: &'a mut Texts,
    places: SourceInfo,
    parts: usize,
}

impl<'a> Checker<'a> {
    /// A condition; with the edge of a counter that it asks for, if it does.
    pub(crate) fn condition(
        source: &'a str,
        scope: Scope<'a>,
        texts: &'a mut Texts,
    ) -> Checked<(Bool, Option<Edge>)> {
        let (mut checker, tree) = Self::parse(source, scope, texts)?;
        let mut edge = None;
        let mut parts = Vec::new();
        for part in conjuncts(&tree) {
            match checker.typed(part)? {
                Typed::Edge(found) if edge.is_none() => edge = Some(found),
                Typed::Edge(_) => {
                    return Err(checker.wrong(part, "a rule can ask for one edge of a counter"));
                }
                other => parts.push(checker.as_bool(other, part)?),
            }
        }
        Ok((all(parts), edge))
    }

    /// A whole number, or money in minor units.
    pub(crate) fn figure(
        source: &'a str,
        scope: Scope<'a>,
        texts: &'a mut Texts,
    ) -> Checked<(Number, bool)> {
        let (mut checker, tree) = Self::parse(source, scope, texts)?;
        match checker.typed(&tree)? {
            Typed::Number(number) => Ok((number, false)),
            Typed::Money(number) => Ok((number, true)),
            other => {
                let message = format!("must be a whole number or money, not {}", other.name());
                Err(checker.wrong(&tree, message))
            }
        }
    }

    fn parse(source: &'a str, scope: Scope<'a>, texts: &'a mut Texts) -> Checked<(Self, IdedExpr)> {
        if source.len() > LEN_MAX {
            let message = format!("must be at most {LEN_MAX} bytes long");
            return Err(CelError { message, offset: 0 });
        }
        let parser = Parser::new().max_recursion_depth(DEPTH_MAX);
        let (tree, places) = parser.parse_with_source_info(source).map_err(|errors| {
            let first = errors.errors.first();
            let message = first.map_or("cannot be read", |error| &*error.msg);
            let (line, column) = first.map_or((1, 1), |error| error.pos);
            let before = source
                .split_inclusive('\n')
                .take(usize::try_from(line - 1).unwrap_or(0));
            let before: usize = before.map(|line| line.chars().count()).sum();
            CelError {
                message: format!("is no expression: {message}"),
                offset: before + usize::try_from(column - 1).unwrap_or(0),
            }
        })?;
        let checker = Self {
            scope,
            texts,
            places,
            parts: 0,
        };
        Ok((checker, tree))
    }

    pub(super) fn wrong(&self, at: &IdedExpr, message: impl Into<String>) -> CelError {
        let begins = self.begins(at);
        CelError {
            message: message.into(),
            offset: begins,
        }
    }

    /// Where an expression begins: its first part does.
    fn begins(&self, at: &IdedExpr) -> usize {
        let own = self
            .places
            .offset_for(at.id)
            .map_or(usize::MAX, |place| place.0 as usize);
        let first = match &at.expr {
            Expr::Select(select) => Some(self.begins(&select.operand)),
            // A function's own place is behind its name.
            Expr::Call(call) if call.target.is_none() && is_function(&call.func_name) => {
                return own.saturating_sub(call.func_name.chars().count());
            }
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.map(|part| self.begins(part)).min()
            }
            _ => None,
        };
        let begins = own.min(first.unwrap_or(usize::MAX));
        if begins == usize::MAX { 0 } else { begins }
    }

    fn typed(&mut self, tree: &IdedExpr) -> Checked<Typed> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(self.wrong(tree, format!("must have at most {PARTS_MAX} parts")));
        }
        match &tree.expr {
            Expr::Literal(literal) => self.literal(tree, literal),
            Expr::Ident(_) | Expr::Select(_) => self.name(tree),
            Expr::Call(call) => self.call(tree, call),
            Expr::Comprehension(_) => Err(self.wrong(
                tree,
                "loops are not part of the language: `lines` picks the lines that a rule is about",
            )),
            Expr::List(_) => Err(self.wrong(tree, "a list may only stand to the right of `in`")),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.wrong(tree, "maps and messages are not part of the language"))
            }
        }
    }

    fn literal(&mut self, tree: &IdedExpr, literal: &LiteralValue) -> Checked<Typed> {
        Ok(match literal {
            LiteralValue::Boolean(value) => Typed::Bool(Bool::Known(*value.inner())),
            LiteralValue::Int(value) => Typed::Number(Number::Known(*value.inner())),
            LiteralValue::String(value) => {
                Typed::Text(Text::Known(self.texts.number(value.inner())))
            }
            LiteralValue::Double(_) => {
                let message = "floating point is not exact: write money(\"4.75\")";
                return Err(self.wrong(tree, message));
            }
            LiteralValue::UInt(_) => {
                return Err(self.wrong(tree, "write whole numbers without `u`"));
            }
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                return Err(self.wrong(tree, "bytes and null are not part of the language"));
            }
        })
    }

    fn call(&mut self, tree: &IdedExpr, call: &CallExpr) -> Checked<Typed> {
        use operators as op;
        match (call.func_name.as_str(), call.target.as_deref(), &*call.args) {
            (op::INDEX, None, [_, _]) => self.name(tree),
            (op::LOGICAL_AND, None, [one, other]) => {
                let parts = [self.bool(one)?, self.bool(other)?];
                Ok(Typed::Bool(all(parts)))
            }
            (op::LOGICAL_OR, None, [one, other]) => {
                let parts = [self.bool(one)?, self.bool(other)?];
                Ok(Typed::Bool(Bool::Any(flat(parts, |part| match part {
                    Bool::Any(parts) => Ok(parts),
                    other => Err(other),
                }))))
            }
            (op::LOGICAL_NOT, None, [inner]) => Ok(Typed::Bool(not(self.bool(inner)?))),
            (op::CONDITIONAL, None, [condition, then, otherwise]) => {
                let condition = self.bool(condition)?;
                let sides = (self.typed(then)?, self.typed(otherwise)?);
                self.conditional(tree, condition, sides)
            }
            (op::ADD, None, [one, other]) => self.sum(tree, (one, other), Number::Add),
            (op::SUBSTRACT, None, [one, other]) => self.sum(tree, (one, other), Number::Subtract),
            (op::MULTIPLY, None, [one, other]) => self.product(tree, one, other),
            (op::DIVIDE | op::MODULO, None, [number, by]) => {
                self.quotient(tree, &call.func_name, number, by)
            }
            (op::NEGATE, None, [inner]) => match self.typed(inner)? {
                Typed::Number(inner) => Ok(Typed::Number(minus(inner))),
                Typed::Money(inner) => Ok(Typed::Money(minus(inner))),
                other => Err(self.wrong(tree, format!("`-` is not for {}", other.name()))),
            },
            (op::EQUALS, None, [one, other]) => Ok(Typed::Bool(self.equal(one, other)?)),
            (op::NOT_EQUALS, None, [one, other]) => Ok(Typed::Bool(not(self.equal(one, other)?))),
            (op::LESS, None, [one, other]) | (op::GREATER, None, [other, one]) => {
                Ok(Typed::Bool(Bool::Less(Box::new(self.ordered(one, other)?))))
            }
            (op::GREATER_EQUALS, None, [one, other]) | (op::LESS_EQUALS, None, [other, one]) => {
                let less = Bool::Less(Box::new(self.ordered(one, other)?));
                Ok(Typed::Bool(not(less)))
            }
            (op::IN, None, [value, list]) => Ok(Typed::Bool(self.one_of(value, list)?)),
            ("money", None, [amount]) => self.money(amount),
            ("date", None, [date]) => self.date(date),
            (name @ ("startsWith" | "endsWith" | "contains"), Some(text), [part]) => {
                self.text_function(name, text, part)
            }
            ("at_least", Some(target), [tier]) => self.tier_at_least(tree, target, tier),
            (name @ ("passes" | "reaches_each"), Some(counter), [at]) => {
                self.edge(tree, name, counter, at)
            }
            (name, ..) => {
                let names = FUNCTIONS.iter().copied();
                Err(self.unknown(tree, "function for these arguments:", name, names))
            }
        }
    }

    fn bool(&mut self, tree: &IdedExpr) -> Checked<Bool> {
        let typed = self.typed(tree)?;
        self.as_bool(typed, tree)
    }

    fn as_bool(&self, typed: Typed, tree: &IdedExpr) -> Checked<Bool> {
        match typed {
            Typed::Bool(inner) => Ok(inner),
            Typed::Edge(_) => Err(self.wrong(
                tree,
                "an edge of a counter stands alone in `when`, or beside other conditions with `&&`",
            )),
            other => Err(self.wrong(tree, format!("must be true or false, not {}", other.name()))),
        }
    }

    fn conditional(
        &self,
        tree: &IdedExpr,
        condition: Bool,
        (then, otherwise): (Typed, Typed),
    ) -> Checked<Typed> {
        let number = |one, other| Number::If(Box::new((condition.clone(), one, other)));
        Ok(match (then, otherwise) {
            (Typed::Bool(one), Typed::Bool(other)) => {
                Typed::Bool(Bool::If(Box::new((condition, one, other))))
            }
            (Typed::Number(one), Typed::Number(other)) => Typed::Number(number(one, other)),
            (Typed::Money(one), Typed::Money(other)) => Typed::Money(number(one, other)),
            (one, other) => return Err(self.mixed(tree, &one, &other)),
        })
    }

    fn mixed(&self, tree: &IdedExpr, one: &Typed, other: &Typed) -> CelError {
        let message = format!("{} and {} do not go together", one.name(), other.name());
        self.wrong(tree, message)
    }

    fn sum(
        &mut self,
        tree: &IdedExpr,
        (one, other): (&IdedExpr, &IdedExpr),
        form: impl Fn(Box<(Number, Number)>) -> Number,
    ) -> Checked<Typed> {
        match (self.typed(one)?, self.typed(other)?) {
            (Typed::Number(one), Typed::Number(other)) => {
                Ok(Typed::Number(form(Box::new((one, other)))))
            }
            (Typed::Money(one), Typed::Money(other)) => {
                Ok(Typed::Money(form(Box::new((one, other)))))
            }
            // So many days before or after.
            (Typed::Date(date), Typed::Number(days)) => {
                Ok(Typed::Date(form(Box::new((date, days)))))
            }
            (one, other) => Err(self.mixed(tree, &one, &other)),
        }
    }

    fn product(&mut self, tree: &IdedExpr, one: &IdedExpr, other: &IdedExpr) -> Checked<Typed> {
        let form = |one, other| Number::Multiply(Box::new((one, other)));
        match (self.typed(one)?, self.typed(other)?) {
            (Typed::Number(one), Typed::Number(other)) => Ok(Typed::Number(form(one, other))),
            (Typed::Money(money), Typed::Number(number))
            | (Typed::Number(number), Typed::Money(money)) => Ok(Typed::Money(form(money, number))),
            (one, other) => Err(self.mixed(tree, &one, &other)),
        }
    }

    fn quotient(
        &mut self,
        tree: &IdedExpr,
        operator: &str,
        number: &IdedExpr,
        by: &IdedExpr,
    ) -> Checked<Typed> {
        let by = match self.typed(by)? {
            Typed::Number(Number::Known(known)) if known > 0 => known,
            _ => {
                return Err(self.wrong(
                    by,
                    "may only be divided by a number that stands here, above 0",
                ));
            }
        };
        let form = |number| match operator {
            operators::DIVIDE => Number::Divide(Box::new(number), by),
            _ => Number::Remainder(Box::new(number), by),
        };
        match self.typed(number)? {
            Typed::Number(number) => Ok(Typed::Number(form(number))),
            Typed::Money(number) => Ok(Typed::Money(form(number))),
            other => Err(self.wrong(tree, format!("{} cannot be divided", other.name()))),
        }
    }

    fn equal(&mut self, one: &IdedExpr, other: &IdedExpr) -> Checked<Bool> {
        match (self.typed(one)?, self.typed(other)?) {
            (Typed::Number(a), Typed::Number(b))
            | (Typed::Money(a), Typed::Money(b))
            | (Typed::Date(a), Typed::Date(b)) => Ok(Bool::Equal(Box::new((a, b)))),
            (Typed::Text(a), Typed::Text(b)) => {
                self.known_value(one, other)?;
                self.known_value(other, one)?;
                Ok(Bool::SameText(a, b))
            }
            (Typed::Bool(a), Typed::Bool(b)) => Ok(Bool::Same(Box::new((a, b)))),
            (a, b) => Err(self.mixed(other, &a, &b)),
        }
    }

    fn ordered(&mut self, one: &IdedExpr, other: &IdedExpr) -> Checked<(Number, Number)> {
        match (self.typed(one)?, self.typed(other)?) {
            (Typed::Number(a), Typed::Number(b))
            | (Typed::Money(a), Typed::Money(b))
            | (Typed::Date(a), Typed::Date(b))
            | (Typed::Moment(a), Typed::Moment(b)) => Ok((a, b)),
            (Typed::Text(_), Typed::Text(_)) if is_tier(one) || is_tier(other) => {
                Err(self.wrong(one, "tiers are compared by member.tier.at_least(\"gold\")"))
            }
            (a, b) => Err(self.mixed(other, &a, &b)),
        }
    }

    /// Whether a text that a tier or a day is compared with can be one.
    fn known_value(&self, name: &IdedExpr, value: &IdedExpr) -> Checked<()> {
        let Expr::Literal(LiteralValue::String(text)) = &value.expr else {
            return Ok(());
        };
        let text = text.inner();
        match path(name).as_deref() {
            Some(["member", "tier"]) => {
                let mut tiers = self.scope.tiers.iter().map(TierId::as_str);
                if !tiers.clone().any(|tier| tier == text) {
                    return Err(self.unknown(value, "tier", text, &mut tiers));
                }
            }
            Some(["event", "weekday"]) if !WEEKDAYS.contains(&text) => {
                return Err(self.unknown(value, "day of the week", text, WEEKDAYS.into_iter()));
            }
            _ => {}
        }
        Ok(())
    }

    fn one_of(&mut self, value: &IdedExpr, list: &IdedExpr) -> Checked<Bool> {
        let Expr::List(list) = &list.expr else {
            return Err(self.wrong(list, "must be a list that stands here"));
        };
        let typed = self.typed(value)?;
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for element in &list.elements {
            match (&typed, self.typed(element)?) {
                (Typed::Number(_), Typed::Number(Number::Known(number)))
                | (Typed::Money(_), Typed::Money(Number::Known(number)))
                | (Typed::Date(_), Typed::Date(Number::Known(number))) => numbers.push(number),
                (Typed::Text(_), Typed::Text(Text::Known(text))) => {
                    self.known_value(value, element)?;
                    texts.push(text);
                }
                (typed, other) => {
                    let (expected, found) = (typed.name(), other.name());
                    let message = format!("must be {expected} that stands here, not {found}");
                    return Err(self.wrong(element, message));
                }
            }
        }
        numbers.sort_unstable();
        texts.sort_unstable();
        match typed {
            Typed::Number(number) | Typed::Money(number) | Typed::Date(number) => {
                Ok(Bool::OneOf(Box::new(number), numbers.into()))
            }
            Typed::Text(text) => Ok(Bool::TextOneOf(text, texts.into())),
            other => Err(self.wrong(value, format!("`in` is not for {}", other.name()))),
        }
    }

    fn money(&mut self, amount: &IdedExpr) -> Checked<Typed> {
        let decimals = self.scope.decimals;
        let text = self.literal_text(amount)?;
        let units = Ratio::parse(&text).and_then(|ratio| ratio.in_units(decimals));
        let units = units.ok_or_else(|| {
            let message = format!(
                "`{text}` must be an amount with at most {decimals} digits after the point"
            );
            self.wrong(amount, message)
        })?;
        Ok(Typed::Money(Number::Known(units)))
    }

    fn date(&mut self, date: &IdedExpr) -> Checked<Typed> {
        let text = self.literal_text(date)?;
        let parsed: Result<jiff::civil::Date, _> = text.parse();
        let parsed = parsed
            .map_err(|_| self.wrong(date, format!("`{text}` must be a date such as 2026-11-30")))?;
        Ok(Typed::Date(Number::Known(
            calendar::day_number(parsed).into(),
        )))
    }

    fn literal_text(&self, tree: &IdedExpr) -> Checked<String> {
        match &tree.expr {
            Expr::Literal(LiteralValue::String(text)) => Ok(text.inner().to_owned()),
            _ => Err(self.wrong(tree, "must be a text in quotes")),
        }
    }

    fn text_function(&mut self, name: &str, of: &IdedExpr, part: &IdedExpr) -> Checked<Typed> {
        let text = match self.typed(of)? {
            Typed::Text(text) => text,
            other => return Err(self.wrong(of, format!("must be a text, not {}", other.name()))),
        };
        let part = self.literal_text(part)?.into();
        Ok(Typed::Bool(match name {
            "startsWith" => Bool::StartsWith(text, part),
            "endsWith" => Bool::EndsWith(text, part),
            _ => Bool::Contains(text, part),
        }))
    }

    fn tier_at_least(
        &mut self,
        tree: &IdedExpr,
        target: &IdedExpr,
        tier: &IdedExpr,
    ) -> Checked<Typed> {
        if !is_tier(target) {
            return Err(self.wrong(tree, "`at_least` is for member.tier"));
        }
        let text = self.literal_text(tier)?;
        let tiers = self.scope.tiers;
        let rank = tiers.iter().position(|known| known.as_str() == text);
        let rank = rank
            .ok_or_else(|| self.unknown(tier, "tier", &text, tiers.iter().map(TierId::as_str)))?;
        let rank = u16::try_from(rank).unwrap_or(u16::MAX);
        Ok(Typed::Bool(Bool::TierAtLeast(rank)))
    }

    fn edge(
        &mut self,
        tree: &IdedExpr,
        name: &str,
        counter: &IdedExpr,
        at: &IdedExpr,
    ) -> Checked<Typed> {
        let of_counter = path(counter);
        let Some(["counters", counter]) = of_counter.as_deref() else {
            return Err(self.wrong(tree, format!("`{name}` is for counters")));
        };
        let counter = self.counter(tree, counter)?;
        if counter.of_points {
            return Err(self.wrong(tree, "counters of points have no edges"));
        }
        let at = match (self.typed(at)?, counter.is_money) {
            (Typed::Number(Number::Known(at)), false) | (Typed::Money(Number::Known(at)), true)
                if at > 0 =>
            {
                at
            }
            (_, true) => return Err(self.wrong(at, "must be an amount such as money(\"500.00\")")),
            _ => return Err(self.wrong(at, "must be a number that stands here, above 0")),
        };
        Ok(Typed::Edge(Edge {
            counter: counter.number,
            at,
            each: name == "reaches_each",
        }))
    }
}

const FUNCTIONS: [&str; 8] = [
    "money",
    "date",
    "startsWith",
    "endsWith",
    "contains",
    "at_least",
    "passes",
    "reaches_each",
];

/// Whether it is called by its name, and is no operator.
fn is_function(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn is_tier(tree: &IdedExpr) -> bool {
    matches!(path(tree).as_deref(), Some(["member", "tier"]))
}

/// The parts of `a && b && c`.
fn conjuncts(tree: &IdedExpr) -> Vec<&IdedExpr> {
    match &tree.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.iter().flat_map(conjuncts).collect()
        }
        _ => vec![tree],
    }
}

/// All parts must be true; what is known to be drops out.
fn all(parts: impl IntoIterator<Item = Bool>) -> Bool {
    let parts = parts.into_iter().filter(|part| *part != Bool::Known(true));
    let parts = flat(parts, |part| match part {
        Bool::All(parts) => Ok(parts),
        other => Err(other),
    });
    match Vec::from(parts) {
        parts if parts.is_empty() => Bool::Known(true),
        mut parts if parts.len() == 1 => parts.remove(0),
        parts => Bool::All(parts.into()),
    }
}

/// Parts, with those of parts of the same kind in their place.
fn flat(
    parts: impl IntoIterator<Item = Bool>,
    inner: impl Fn(Bool) -> Result<Box<[Bool]>, Bool>,
) -> Box<[Bool]> {
    let mut all = Vec::new();
    for part in parts {
        match inner(part) {
            Ok(parts) => all.extend(Vec::from(parts)),
            Err(part) => all.push(part),
        }
    }
    all.into()
}

fn not(inner: Bool) -> Bool {
    match inner {
        Bool::Known(known) => Bool::Known(!known),
        Bool::Not(inner) => *inner,
        other => Bool::Not(Box::new(other)),
    }
}

fn minus(inner: Number) -> Number {
    match inner {
        Number::Known(known) => Number::Known(known.saturating_neg()),
        other => Number::Subtract(Box::new((Number::Known(0), other))),
    }
}
