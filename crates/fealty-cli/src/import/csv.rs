//! Orders out of a CSV file: a row for each line.

use std::io::Read;

use ::csv::{ByteRecord, ReaderBuilder, Trim};
use anyhow::{Context as _, ensure};
use fealty_ledger::LINES_PER_PURCHASE_MAX;
use fealty_rules::hint;

use super::{
    Fault, Order,
    purchase::{Amount, LineText, PurchaseText, Reading},
};

/// The columns that a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Member,
    Order,
    OccurredAt,
    Brand,
    Channel,
    Store,
    Terminal,
    Tier,
    Sku,
    Category,
    Quantity,
    Amount,
    Tax,
}

impl Column {
    const ALL: [(&'static str, Self); 13] = [
        ("member", Self::Member),
        ("order", Self::Order),
        ("occurred_at", Self::OccurredAt),
        ("brand", Self::Brand),
        ("channel", Self::Channel),
        ("store", Self::Store),
        ("terminal", Self::Terminal),
        ("tier", Self::Tier),
        ("sku", Self::Sku),
        ("category", Self::Category),
        ("quantity", Self::Quantity),
        ("amount", Self::Amount),
        ("tax", Self::Tax),
    ];
    /// Those that it must have.
    const NEEDED: [Self; 5] = [
        Self::Member,
        Self::Order,
        Self::OccurredAt,
        Self::Brand,
        Self::Amount,
    ];
    /// Those that are the same in all rows of an order.
    const OF_ORDER: [Self; 6] = [
        Self::Member,
        Self::OccurredAt,
        Self::Channel,
        Self::Store,
        Self::Terminal,
        Self::Tier,
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(_, column)| *column == self)
            .map_or("", |(name, _)| name)
    }
}

/// Which column stands where.
struct Header(Vec<Column>);

impl Header {
    fn read(record: &ByteRecord) -> anyhow::Result<Self> {
        let names = || Column::ALL.iter().map(|(name, _)| *name);
        let mut columns = Vec::new();
        for name in record {
            let name = String::from_utf8_lossy(name);
            let known = Column::ALL.iter().find(|(known, _)| *known == name);
            let (_, column) = known.with_context(|| {
                let hint = hint(&name, names());
                format!("line 1: there is no column `{name}`{hint}")
            })?;
            ensure!(!columns.contains(column), "line 1: `{name}` is there twice");
            columns.push(*column);
        }
        for needed in Column::NEEDED {
            let name = needed.name();
            ensure!(
                columns.contains(&needed),
                "line 1: the column `{name}` is missing"
            );
        }
        Ok(Self(columns))
    }
}

/// A row.
struct Row<'a> {
    header: &'a Header,
    record: &'a ByteRecord,
    line: u64,
}

impl Row<'_> {
    /// What stands in a column; nothing where there is no such column.
    fn text(&self, column: Column) -> String {
        let at = self.header.0.iter().position(|known| *known == column);
        let bytes = at.and_then(|at| self.record.get(at));
        bytes.map_or(String::new(), |bytes| {
            String::from_utf8_lossy(bytes).into_owned()
        })
    }

    fn check(&self) -> Result<(), String> {
        let (has, wants) = (self.record.len(), self.header.0.len());
        if has != wants {
            return Err(format!("the row has {has} columns of {wants}"));
        }
        let mut all = self.record.iter();
        if all.any(|field| std::str::from_utf8(field).is_err()) {
            return Err("the row is not UTF-8".to_owned());
        }
        Ok(())
    }

    /// The line of a purchase.
    fn line_text(&self) -> Result<LineText, String> {
        let quantity = self.text(Column::Quantity);
        let quantity = match &*quantity {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| format!("`quantity`: `{text}` must be a whole number"))?,
            ),
        };
        let tax = self.text(Column::Tax);
        Ok(LineText {
            sku: self.text(Column::Sku),
            category: self.text(Column::Category),
            quantity,
            amount: Amount(self.text(Column::Amount)),
            tax: (!tax.is_empty()).then_some(Amount(tax)),
            ..LineText::default()
        })
    }
}

/// Rows of one order, as far as they were read.
struct Group {
    /// Brand and number.
    key: [String; 2],
    /// What is the same in all of its rows.
    of_order: [String; 6],
    rows: Vec<u64>,
    lines: Vec<LineText>,
    faults: Vec<Fault>,
}

impl Group {
    fn new(row: &Row<'_>) -> Self {
        Self {
            key: [Column::Brand, Column::Order].map(|column| row.text(column)),
            of_order: Column::OF_ORDER.map(|column| row.text(column)),
            rows: Vec::new(),
            lines: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn add(&mut self, row: &Row<'_>) {
        let line = row.line;
        self.rows.push(line);
        if let Err(message) = row.check() {
            self.faults.push(Fault { line, message });
            return;
        }
        for (column, known) in Column::OF_ORDER.into_iter().zip(&self.of_order) {
            let (name, text) = (column.name(), row.text(column));
            if text != *known {
                let message =
                    format!("`{name}`: `{text}` must be `{known}`, as in the order's first row");
                self.faults.push(Fault { line, message });
            }
        }
        match row.line_text() {
            // Of a file whose rows are all of one order, no more than that is kept.
            Ok(_) if self.lines.len() == LINES_PER_PURCHASE_MAX => {
                if self.faults.len() < LINES_PER_PURCHASE_MAX {
                    let message = format!("an order has at most {LINES_PER_PURCHASE_MAX} rows");
                    self.faults.push(Fault { line, message });
                }
            }
            Ok(text) => self.lines.push(text),
            Err(message) => self.faults.push(Fault { line, message }),
        }
    }

    fn order(self, reading: &Reading) -> Order {
        let [member, occurred_at, channel, store, terminal, tier] = self.of_order;
        let [brand, number] = self.key;
        let mut text = PurchaseText {
            member,
            order: number.clone(),
            occurred_at,
            brand: brand.clone(),
            channel,
            store,
            terminal,
            tier,
            lines: self.lines,
            ..PurchaseText::default()
        };
        // One row that says nothing of what was bought is no line.
        if let [line] = &*text.lines
            && line.sku.is_empty()
            && line.category.is_empty()
            && line.quantity.is_none()
            && line.tax.is_none()
        {
            text.amount = Some(line.amount.clone());
            text.lines.clear();
        }
        let mut faults = self.faults;
        let purchase = reading.request(text, &self.rows);
        let purchase = match purchase {
            Ok(purchase) if faults.is_empty() => Ok(purchase),
            read => {
                faults.extend(read.err().unwrap_or_default());
                faults.sort_by_key(|fault| fault.line);
                Err(faults)
            }
        };
        Order {
            rows: self.rows,
            brand,
            number,
            purchase,
        }
    }
}

/// Reads orders, in the order of the file, until `put` wants no more.
pub(super) fn orders(
    file: impl Read,
    reading: &Reading,
    put: &mut dyn FnMut(Order) -> bool,
) -> anyhow::Result<()> {
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        // Whether a row is as long as the first one is seen when it is known whose it is.
        .flexible(true)
        .from_reader(file);
    let header = Header::read(reader.byte_headers()?)?;
    let mut record = ByteRecord::new();
    let mut group: Option<Group> = None;
    while reader.read_byte_record(&mut record)? {
        let row = Row {
            header: &header,
            record: &record,
            line: record.position().map_or(0, ::csv::Position::line),
        };
        let key = [Column::Brand, Column::Order].map(|column| row.text(column));
        // A row that is broken may be of the order before it, whatever its columns say.
        let is_broken = row.check().is_err();
        let begins = |group: &Group| group.key != key && !is_broken;
        if group.as_ref().is_none_or(begins) {
            let before = group.replace(Group::new(&row));
            if let Some(before) = before
                && !put(before.order(reading))
            {
                return Ok(());
            }
        }
        if let Some(group) = &mut group {
            group.add(&row);
        }
    }
    if let Some(last) = group {
        put(last.order(reading));
    }
    Ok(())
}
