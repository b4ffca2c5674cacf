//! What happened: a purchase or an activity, as rules see it.

use std::cell::{Cell, OnceCell};

use fealty_types::{AttributeName, CurrencyId, TenderKind, Timestamp};
use jiff::civil::DateTime;

use crate::{
    calendar::{WEEKDAYS, day_number},
    cel::{BoolName, NumberName, Of, TextName, Values},
    rule::Rules,
    slot::{Book, Slots, Stored},
    subject::Subject,
    text::{EventTexts, Symbol},
};

/// The value of a declared attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(&'a str),
}

/// Attributes that were given.
pub type Given<'a> = Vec<(&'a AttributeName, AttributeValue<'a>)>;

/// A line of a receipt. Its money is in minor units.
#[derive(Clone, Debug, Default)]
pub struct Line<'a> {
    /// The article; empty where nothing was said, as are all texts.
    pub sku: &'a str,
    /// Its category.
    pub category: &'a str,
    /// Whose make it is.
    pub brand: &'a str,
    /// How many.
    pub quantity: i64,
    /// What was paid for all of them, tax included.
    pub amount: i64,
    /// The tax in that.
    pub tax: i64,
    /// Attributes that were given.
    pub attributes: Given<'a>,
}

/// A purchase, an activity, or the end of a period. Of the others, what only purchases have is
/// empty or 0.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Which of them.
    pub subject: Subject,
    /// When it was.
    pub at: Timestamp,
    /// Where.
    pub brand: &'a str,
    /// The way it was sold.
    pub channel: &'a str,
    /// The shop.
    pub store: &'a str,
    /// The till.
    pub terminal: &'a str,
    /// What was paid, in minor units.
    pub amount: i64,
    /// What was paid at first, in minor units: more than `amount`, where this is what is
    /// left of a purchase after a return.
    pub whole_amount: i64,
    /// What of all that was paid at first was paid by which kind of tender, in their order;
    /// nothing where that was not said.
    pub paid: [i64; TenderKind::ALL.len()],
    /// What was bought; none where that was not said.
    pub lines: Vec<Line<'a>>,
    /// Attributes that were given.
    pub attributes: Given<'a>,
    /// The currencies that its brand issues: rules count that give one of them, or that
    /// say who issues.
    pub issues: &'a [CurrencyId],
    /// Rank of the member's tier that counts; none where the version has none such.
    pub tier_rank: Option<u16>,
    /// The member's tier; empty where there is none.
    pub tier: &'a str,
    /// Whether counters count it: what comes too late they do not.
    pub counts: bool,
    /// Of the end of a period, whether it is evaluated once more, for something came late: then
    /// rules that read the wallet keep what they gave.
    pub again: bool,
}

/// A line, ready to be asked.
#[derive(Debug)]
pub(crate) struct ReadyLine {
    sku: Symbol,
    category: Symbol,
    brand: Symbol,
    quantity: i64,
    amount: i64,
    tax: i64,
    /// What of it earns, and what of that is no tax.
    pub(crate) earns: i64,
    pub(crate) earns_net: i64,
    attributes: Vec<Option<Attribute>>,
}

#[derive(Clone, Copy, Debug)]
enum Attribute {
    Bool(bool),
    Number(i64),
    Text(Symbol),
}

/// What is known of the lines that a rule picks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Picked {
    pub(crate) amount: i64,
    pub(crate) quantity: i64,
    pub(crate) count: i64,
}

impl Event<'_> {
    /// What slots stand at for it, by what is stored of the member's numbers.
    #[must_use]
    pub fn inputs<'b, B: Book>(&self, rules: &'b Rules, book: &'b B) -> Stored<'b, B> {
        Stored {
            rules,
            book,
            subject: self.subject,
            at: self.at,
        }
    }

    /// What was paid in ways that earn.
    #[must_use]
    pub fn earning_amount(&self) -> i64 {
        self.share(self.amount, self.earning_whole())
    }

    /// What of all that was paid at first was paid in ways that earn.
    fn earning_whole(&self) -> i64 {
        let kinds = TenderKind::ALL.into_iter().zip(self.paid);
        let free = kinds.filter(|(kind, _)| !kind.earns());
        let free: i64 = free.map(|(_, paid)| paid).sum();
        (self.whole_amount - free).max(0)
    }

    /// What of an amount belongs to a part of all that was paid at first, rounded down.
    fn share(&self, amount: i64, part: i64) -> i64 {
        let share = match self.whole_amount {
            0 => 0,
            whole => i128::from(amount) * i128::from(part) / i128::from(whole),
        };
        i64::try_from(share).unwrap_or(i64::MAX)
    }
}

impl Picked {
    pub(crate) fn add(&mut self, line: &ReadyLine) {
        self.amount = self.amount.saturating_add(line.amount);
        self.quantity = self.quantity.saturating_add(line.quantity);
        self.count += 1;
    }
}

/// An event, ready to be asked: texts are numbers, the date is looked up once.
pub(crate) struct Ready<'a> {
    pub(crate) event: &'a Event<'a>,
    rules: &'a Rules,
    texts: EventTexts<'a>,
    pub(crate) lines: Vec<ReadyLine>,
    brand: Symbol,
    channel: Symbol,
    store: Symbol,
    terminal: Symbol,
    tier: Symbol,
    weekdays: [Symbol; 7],
    attributes: Vec<Option<Attribute>>,
    local: DateTime,
    date: i32,
    quantity: OnceCell<i64>,
    /// The line that is asked.
    pub(crate) at: Cell<usize>,
    /// The lines that the rule at hand picks.
    pub(crate) picked: Cell<Picked>,
    pub(crate) slots: &'a Slots<'a>,
}

impl<'a> Ready<'a> {
    pub(crate) fn new(rules: &'a Rules, event: &'a Event<'a>, slots: &'a Slots<'a>) -> Self {
        let mut texts = EventTexts::new(&rules.texts);
        let local = event
            .at
            .to_jiff()
            .to_zoned(rules.calendar.zone.clone())
            .datetime();
        let lines = ready_lines(rules, event, &mut texts);
        let mut of = |text: &'a str| texts.number(text);
        let (brand, channel) = (of(event.brand), of(event.channel));
        let (store, terminal) = (of(event.store), of(event.terminal));
        let tier = of(event.tier);
        let weekdays = WEEKDAYS.map(of);
        let declared = match event.subject {
            Subject::Purchase => &rules.purchase_attributes,
            Subject::Activity(of_type) => &rules.activities[usize::from(of_type)].attributes,
            Subject::End(_) => &rules.no_attributes,
        };
        let attributes = attributes(&event.attributes, declared, &mut texts);
        Self {
            event,
            rules,
            texts,
            lines,
            brand,
            channel,
            store,
            terminal,
            tier,
            weekdays,
            attributes,
            local,
            date: day_number(local.date()),
            quantity: OnceCell::new(),
            at: Cell::new(0),
            picked: Cell::default(),
            slots,
        }
    }

    /// The texts by which rules are found.
    pub(crate) fn keys(&self, mut found: impl FnMut(TextName, Symbol)) {
        for name in crate::index::OF_EVENTS {
            found(name, self.text(name));
        }
        let mut seen: Vec<(TextName, Symbol)> = Vec::with_capacity(3 * self.lines.len());
        for line in &self.lines {
            let of_line = [
                (TextName::LineSku, line.sku),
                (TextName::LineCategory, line.category),
                (TextName::LineBrand, line.brand),
            ];
            for key in of_line {
                if !seen.contains(&key) {
                    seen.push(key);
                    found(key.0, key.1);
                }
            }
        }
    }

    fn attribute(&self, of: Of, at: u16) -> Option<Attribute> {
        let attributes = match of {
            Of::Event => &self.attributes,
            Of::Line => &self.lines[self.at.get()].attributes,
        };
        attributes.get(usize::from(at)).copied().flatten()
    }
}

/// The lines, with what of each earns: what was paid in ways that earn nothing is
/// spread over all of them by amount. Without lines all is one.
fn ready_lines<'a>(
    rules: &Rules,
    event: &'a Event<'a>,
    texts: &mut EventTexts<'a>,
) -> Vec<ReadyLine> {
    let earning = event.earning_whole();
    // Exactly in all: each has what they come to so far, less what those before have.
    let share = |so_far: i64| event.share(so_far, earning);
    if event.lines.is_empty() {
        return vec![ReadyLine {
            sku: Symbol::EMPTY,
            category: Symbol::EMPTY,
            brand: Symbol::EMPTY,
            quantity: 1,
            amount: event.amount,
            tax: 0,
            earns: event.earning_amount(),
            earns_net: event.earning_amount(),
            attributes: Vec::new(),
        }];
    }
    let (mut gross, mut net) = (0_i64, 0_i64);
    let mut ready = Vec::with_capacity(event.lines.len());
    for line in &event.lines {
        let (before, net_before) = (share(gross), share(net));
        gross = gross.saturating_add(line.amount);
        net = net.saturating_add(line.amount - line.tax);
        ready.push(ReadyLine {
            sku: texts.number(line.sku),
            category: texts.number(line.category),
            brand: texts.number(line.brand),
            quantity: line.quantity,
            amount: line.amount,
            tax: line.tax,
            earns: share(gross) - before,
            earns_net: share(net) - net_before,
            attributes: attributes(&line.attributes, &rules.line_attributes, texts),
        });
    }
    ready
}

fn attributes<'a>(
    given: &'a Given<'a>,
    declared: &crate::Attributes,
    texts: &mut EventTexts<'a>,
) -> Vec<Option<Attribute>> {
    if given.is_empty() {
        return Vec::new();
    }
    let mut values = vec![None; declared.len()];
    for (name, value) in given {
        let value = match value {
            AttributeValue::Bool(value) => Attribute::Bool(*value),
            AttributeValue::Number(value) => Attribute::Number(*value),
            AttributeValue::Text(text) => Attribute::Text(texts.number(text)),
        };
        if let Some(at) = declared.place(name) {
            values[usize::from(at)] = Some(value);
        }
    }
    values
}

impl Values for Ready<'_> {
    fn bool(&self, name: BoolName) -> bool {
        match name {
            BoolName::Attribute(of, at) => {
                matches!(self.attribute(of, at), Some(Attribute::Bool(true)))
            }
            BoolName::Has(of, at) => self.attribute(of, at).is_some(),
        }
    }

    fn number(&self, name: NumberName) -> i64 {
        use NumberName as N;
        let line = || &self.lines[self.at.get()];
        match name {
            N::Amount => self.event.amount,
            N::EarningAmount => self.event.earning_amount(),
            N::Quantity => *self.quantity.get_or_init(|| {
                let quantities = self.lines.iter().map(|line| line.quantity);
                quantities.fold(0, i64::saturating_add)
            }),
            N::Paid(kind) => {
                let paid = self.event.paid[kind as usize];
                self.event.share(self.event.amount, paid)
            }
            N::LineAmount => line().amount,
            N::LineEarningAmount => line().earns,
            N::LineTax => line().tax,
            N::LineQuantity => line().quantity,
            N::PickedAmount => self.picked.get().amount,
            N::PickedQuantity => self.picked.get().quantity,
            N::PickedLines => self.picked.get().count,
            N::Date => self.date.into(),
            N::Time => self.event.at.to_jiff().as_microsecond(),
            N::Year => self.local.year().into(),
            N::Month => self.local.month().into(),
            N::Day => self.local.day().into(),
            N::Hour => self.local.hour().into(),
            N::Minute => self.local.minute().into(),
            N::Counter(counter) => self.slots.counter(self.rules, counter),
            N::Wallet(slot) => self.slots.get(slot).before,
            N::CounterAfter(counter) => self.slots.counter_after(self.rules, counter),
            N::Attribute(of, at) => match self.attribute(of, at) {
                Some(Attribute::Number(number)) => number,
                _ => 0,
            },
        }
    }

    fn text(&self, name: TextName) -> Symbol {
        let line = || &self.lines[self.at.get()];
        match name {
            TextName::Brand => self.brand,
            TextName::Channel => self.channel,
            TextName::Store => self.store,
            TextName::Terminal => self.terminal,
            TextName::LineSku => line().sku,
            TextName::LineCategory => line().category,
            TextName::LineBrand => line().brand,
            TextName::Weekday => {
                let into = self.local.date().weekday().to_monday_zero_offset();
                self.weekdays[usize::try_from(into).unwrap_or(0)]
            }
            TextName::Tier => self.tier,
            TextName::Attribute(of, at) => match self.attribute(of, at) {
                Some(Attribute::Text(text)) => text,
                _ => Symbol::EMPTY,
            },
        }
    }

    fn characters(&self, text: Symbol) -> &str {
        self.texts.text(text)
    }

    fn tier_rank(&self) -> Option<u16> {
        self.event.tier_rank
    }
}
