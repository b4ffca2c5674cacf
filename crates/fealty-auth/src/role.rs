//! What a caller is.

use std::{fmt, str::FromStr};

use fealty_proto::access::v1 as wire;

/// A role; the contracts say what each is (`fealty.access.v1.Role`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the programme.
    Operator,
    /// Keeps its accounts.
    Finance,
    /// Helps members.
    Support,
    /// A till, or a shop's checkout service.
    Checkout,
    /// A member, in an app.
    Member,
    /// A partner merchant.
    Partner,
    /// Reads everything and changes nothing.
    Auditor,
    /// A service, which may act for somebody.
    Service,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Operator,
        Self::Finance,
        Self::Support,
        Self::Checkout,
        Self::Member,
        Self::Partner,
        Self::Auditor,
        Self::Service,
    ];

    /// Its name in a token.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Finance => "finance",
            Self::Support => "support",
            Self::Checkout => "checkout",
            Self::Member => "member",
            Self::Partner => "partner",
            Self::Auditor => "auditor",
            Self::Service => "service",
        }
    }

    /// The role of the contracts, if it is one.
    #[must_use]
    pub fn of_wire(role: wire::Role) -> Option<Self> {
        Some(match role {
            wire::Role::Unspecified => return None,
            wire::Role::Operator => Self::Operator,
            wire::Role::Finance => Self::Finance,
            wire::Role::Support => Self::Support,
            wire::Role::Checkout => Self::Checkout,
            wire::Role::Member => Self::Member,
            wire::Role::Partner => Self::Partner,
            wire::Role::Auditor => Self::Auditor,
            wire::Role::Service => Self::Service,
        })
    }

    /// The role as the contracts have it.
    #[must_use]
    pub fn to_wire(self) -> wire::Role {
        match self {
            Self::Operator => wire::Role::Operator,
            Self::Finance => wire::Role::Finance,
            Self::Support => wire::Role::Support,
            Self::Checkout => wire::Role::Checkout,
            Self::Member => wire::Role::Member,
            Self::Partner => wire::Role::Partner,
            Self::Auditor => wire::Role::Auditor,
            Self::Service => wire::Role::Service,
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no role; there are {names}")
        })
    }
}

/// Some roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// Them, as the log keeps them: bit n for the role of number n in the contracts.
    #[must_use]
    pub fn bits(self) -> u16 {
        u16::from(self.0) << 1
    }

    /// Whether a role is among them.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | role.bit()))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(", "))
    }
}
