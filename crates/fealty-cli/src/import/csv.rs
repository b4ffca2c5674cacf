//! Orders out of a CSV file: a row for each line.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use ::csv::{ByteRecord, ReaderBuilder, Terminator, Trim};
use anyhow::{Context as _, ensure};
use fealty_ledger::LINES_PER_PURCHASE_MAX;
use fealty_program::Orders;
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
    /// Brand and number, and what the programme wants besides.
    key: [String; 4],
    /// What is the same in all of its rows.
    of_order: [String; 6],
    rows: Vec<u64>,
    /// Those of them that are lines.
    rows_of_lines: Vec<u64>,
    lines: Vec<LineText>,
    faults: Vec<Fault>,
}

impl Group {
    fn new(row: &Row<'_>, key: [String; 4]) -> Self {
        Self {
            key,
            of_order: Column::OF_ORDER.map(|column| row.text(column)),
            rows: Vec::new(),
            rows_of_lines: Vec::new(),
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
            Ok(text) => {
                self.rows_of_lines.push(line);
                self.lines.push(text);
            }
            Err(message) => self.faults.push(Fault { line, message }),
        }
    }

    fn order(self, reading: &Reading) -> Order {
        let [member, occurred_at, channel, store, terminal, tier] = self.of_order;
        let [brand, number, ..] = self.key;
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
        let rows = match &*self.rows_of_lines {
            [] => &self.rows,
            rows => rows,
        };
        let purchase = reading.request(text, rows);
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

/// The columns that tell one order from the next.
fn columns_of_key(reading: &Reading) -> [Option<Column>; 4] {
    let Orders { by_store, by_day } = reading.program.orders;
    [
        Some(Column::Brand),
        Some(Column::Order),
        by_store.then_some(Column::Store),
        by_day.then_some(Column::OccurredAt),
    ]
}

/// The line in which a row begins that has been read, and after which a line begins.
fn first_line(record: &ByteRecord, next: u64) -> u64 {
    let within = record.as_slice().iter().filter(|byte| **byte == b'\n');
    next.saturating_sub(1 + within.count() as u64)
}

/// The longest row; a longer one has a quote that is not closed.
const ROW_BYTES_MAX: u64 = 1024 * 1024;

/// A file of which no row is longer than that.
struct Bounded<R> {
    file: R,
    /// Bytes that were read since a row began.
    since_row: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > ROW_BYTES_MAX {
            return Err(io::Error::other(
                "is longer than 1 MiB: is there a quote that is not closed?",
            ));
        }
        let read = self.file.read(buffer)?;
        self.since_row.set(self.since_row.get() + read as u64);
        Ok(read)
    }
}

/// Reads orders, in the order of the file, until `put` wants no more.
pub(super) fn orders(
    file: impl Read,
    reading: &Reading,
    put: &mut dyn FnMut(Order) -> bool,
) -> anyhow::Result<()> {
    let since_row = Rc::new(Cell::new(0));
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        // Whether a row is as long as the first one is seen when it is known whose it is.
        .flexible(true)
        // So each line is counted where it ends, whatever is before that.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(Bounded {
            // The last row ends like the others.
            file: file.chain(&b"\n"[..]),
            since_row: Rc::clone(&since_row),
        });
    let header = Header::read(reader.byte_headers()?)?;
    let mut record = ByteRecord::new();
    let mut group: Option<Group> = None;
    loop {
        since_row.set(0);
        let begins = reader.position().line();
        let read = reader.read_byte_record(&mut record);
        if !read.with_context(|| format!("the row that begins at line {begins}"))? {
            break;
        }
        if record.len() == 1 && record[0].is_empty() {
            continue;
        }
        let row = Row {
            header: &header,
            record: &record,
            line: first_line(&record, reader.position().line()),
        };
        let key = columns_of_key(reading)
            .map(|column| column.map_or(String::new(), |column| row.text(column)));
        // A row that is broken may be of the order before it, whatever its columns say.
        let is_broken = row.check().is_err();
        let begins = |group: &Group| group.key != key && !is_broken;
        if group.as_ref().is_none_or(begins) {
            let before = group.replace(Group::new(&row, key));
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

#[cfg(test)]
mod tests {
    use fealty_program::Program;

    use super::*;
    use crate::{demo::PROGRAM, import::purchase::TierOption};

    /// The rows of each order of a file, and what is wrong with them.
    fn read(program: &str, csv: &str) -> anyhow::Result<Vec<(Vec<u64>, Vec<Fault>)>> {
        let reading = Reading {
            program: Program::parse(program).expect("right").program,
            in_rows: true,
            tier: TierOption::Known,
        };
        let mut read = Vec::new();
        orders(csv.as_bytes(), &reading, &mut |order: Order| {
            read.push((order.rows, order.purchase.err().unwrap_or_default()));
            true
        })?;
        Ok(read)
    }

    const HEAD: &str = "member,order,occurred_at,brand,sku,quantity,amount";

    #[test]
    fn rows_are_told_by_the_lines_in_which_they_begin() {
        for end in ["\n", "\r\n"] {
            let rows = [
                HEAD,
                "",
                "anna,1,1997-01-01,record-shop,a,1,2.00",
                "",
                "",
                "anna,1,1997-01-01,record-shop,\"b\nc\",1,2.00",
                "anna,2,1997-01-01,record-shop,\"d\",two,2.00",
                "anna,2,1997-01-01,record-shop,e,1,2.005",
            ];
            let read = read(PROGRAM, &rows.join(end)).expect("it can be read");
            let [(one, nothing), (two, faults)] = &*read else {
                panic!("{read:?}");
            };
            assert_eq!((&**one, &**two), (&[3, 6][..], &[8, 9][..]));
            assert!(nothing.is_empty(), "{nothing:?}");
            let lines: Vec<u64> = faults.iter().map(|fault| fault.line).collect();
            assert_eq!(lines, [8, 9], "{faults:?}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_ends_the_file_there() {
        let row = "anna,1,1997-01-01,record-shop,a,1,2.00\n";
        let csv = format!(
            "{HEAD}\n{row}anna,2,1997-01-01,record-shop,\"a,1,2.00\n{}",
            row.repeat(50_000)
        );
        let wrong = read(PROGRAM, &csv).expect_err("it is too long");
        let wrong = format!("{wrong:#}");
        assert!(
            wrong.contains("line 3") && wrong.contains("a quote that is not closed"),
            "{wrong}"
        );
    }

    #[test]
    fn where_numbers_come_again_in_each_store_they_are_other_orders() {
        let program = format!("{PROGRAM}orders: {{ unique_by: [store] }}\n");
        let csv = "member,order,occurred_at,brand,store,amount\n\
                   anna,1,1997-01-01,record-shop,7,2.00\n\
                   ben,1,1997-01-01,record-shop,8,2.00\n";
        let told = |program| -> Vec<_> {
            let read = read(program, csv).expect("it can be read");
            read.into_iter()
                .map(|(rows, faults)| (rows, faults.len()))
                .collect()
        };
        assert_eq!(told(&program), [(vec![2], 0), (vec![3], 0)]);
        assert_eq!(told(PROGRAM), [(vec![2, 3], 2)]);
    }
}
