//! What a purchase consists of.

use borsh::{BorshDeserialize, BorshSerialize, io};
use fealty_types::{
    Attributes, BrandId, Code, Money, OrderNumber, Position, TenderKind, TierId, Timestamp,
};

/// Lines of a purchase at the most.
pub const LINES_PER_PURCHASE_MAX: usize = 500;
/// Tenders of a purchase at the most.
pub const TENDERS_PER_PURCHASE_MAX: usize = 20;

/// Record a purchase.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Purchase {
    /// The brand where it was made.
    pub brand: BrandId,
    /// The brand's order number.
    pub order_number: OrderNumber,
    /// What was paid.
    pub amount: Money,
    /// When it was made; when it is recorded, if nothing was said.
    pub purchased_at: Option<Timestamp>,
    /// The way it was sold: a shop, a web site, an app.
    pub channel: Option<Code>,
    /// The shop.
    pub store: Option<Code>,
    /// The till in it.
    pub terminal: Option<Code>,
    /// What was bought.
    pub lines: Vec<PurchaseLine>,
    /// What was paid with.
    pub tenders: Vec<Tender>,
    /// Facts of it that the programme declares. They follow it in the canonical bytes,
    /// where there are some, with those of its lines.
    #[borsh(skip)]
    pub attributes: Attributes,
    /// The tier that counts for it, where whoever records a history says it. It follows the
    /// attributes in the canonical bytes.
    #[borsh(skip)]
    pub tier: Option<TierId>,
}

/// The attributes of some lines, by the lines' places.
type LineAttributes = Vec<(u16, Attributes)>;

impl Purchase {
    /// The first field in which two differ, by its name in the contract.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("brand", self.brand == other.brand),
            ("order_number", self.order_number == other.order_number),
            ("amount", self.amount == other.amount),
            ("purchase_time", self.purchased_at == other.purchased_at),
            ("channel", self.channel == other.channel),
            ("store", self.store == other.store),
            ("terminal", self.terminal == other.terminal),
            ("lines", self.lines == other.lines),
            ("tenders", self.tenders == other.tenders),
            ("attributes", self.attributes == other.attributes),
            ("tier", self.tier == other.tier),
        ];
        let different = fields.into_iter().find(|(_, same)| !same);
        different.map(|(name, _)| name)
    }

    /// Whether it or a line of it has attributes.
    #[must_use]
    pub fn has_attributes(&self) -> bool {
        let of_lines = |line: &PurchaseLine| !line.attributes.is_empty();
        !self.attributes.is_empty() || self.lines.iter().any(of_lines)
    }

    /// Writes the attributes that it and its lines have.
    pub(crate) fn serialize_attributes<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.attributes.serialize(writer)?;
        let numbered = (0_u16..).zip(&self.lines);
        let some = numbered.filter(|(_, line)| !line.attributes.is_empty());
        let of_lines: LineAttributes = some
            .map(|(at, line)| (at, line.attributes.clone()))
            .collect();
        of_lines.serialize(writer)
    }

    /// Reads the attributes that it and its lines have: there are some.
    pub(crate) fn with_attributes_of<R: io::Read>(self, reader: &mut R) -> io::Result<Self> {
        let read = self.with_any_attributes_of(reader)?;
        if read.has_attributes() {
            Ok(read)
        } else {
            Err(invalid("a purchase without the attributes that it has"))
        }
    }

    /// Reads the attributes that it and its lines have, if any, and the tier that was said.
    pub(crate) fn with_tier_of<R: io::Read>(self, reader: &mut R) -> io::Result<Self> {
        let read = self.with_any_attributes_of(reader)?;
        Ok(Self {
            tier: Some(TierId::deserialize_reader(reader)?),
            ..read
        })
    }

    /// There is one encoding for a purchase: lines in order, and none without.
    fn with_any_attributes_of<R: io::Read>(mut self, reader: &mut R) -> io::Result<Self> {
        self.attributes = Attributes::deserialize_reader(reader)?;
        let of_lines = LineAttributes::deserialize_reader(reader)?;
        if !of_lines.is_sorted_by(|one, other| one.0 < other.0) {
            return Err(invalid("attributes of lines out of order"));
        }
        for (at, attributes) in of_lines {
            let line = self.lines.get_mut(usize::from(at));
            let line = line.filter(|_| !attributes.is_empty());
            line.ok_or_else(|| invalid("attributes of no line"))?
                .attributes = attributes;
        }
        Ok(self)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One line of a receipt. Its money is in minor units of the purchase's currency.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PurchaseLine {
    /// The article.
    pub sku: Option<Code>,
    /// Its category.
    pub category: Option<Code>,
    /// Whose make it is.
    pub brand: Option<Code>,
    /// How many.
    pub quantity: u32,
    /// What was paid for all of them, tax included.
    pub minor_units: i64,
    /// The tax in that.
    pub tax_minor_units: i64,
    /// Facts of it that the programme declares; see [`Purchase::attributes`].
    #[borsh(skip)]
    pub attributes: Attributes,
}

/// A part of what was paid, by one means.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tender {
    /// By what.
    pub kind: TenderKind,
    /// How much, in minor units of the purchase's currency.
    pub minor_units: i64,
    /// Where it was paid in points: the hold that sets them aside.
    pub hold: Option<Position>,
}

/// A line of which something comes back, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReturnedLine {
    /// Its place in the purchase, from 0.
    pub line: u16,
    /// How many; if nothing is said, none where `minor_units` says how much money, else all
    /// that are left.
    pub quantity: Option<u32>,
    /// How much of its money, in minor units; if nothing is said, what so many of those that
    /// are left cost, rounded down.
    pub minor_units: Option<i64>,
}
