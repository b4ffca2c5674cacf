//! Who calls, and what that caller reaches.
//!
//! A call carries a JWT, or comes over a connection with a client certificate.
//! [`Tokens`] turns a token into an [`Identity`]: signed by a key of the
//! configured issuer (`keys`, `source`), meant for this service, not expired,
//! not revoked; whose claims name what is configured ([`Settings`]). Each RPC
//! declares its roles and its scope in the contracts ([`AccessTable`]).
//!
//! What an id in a request reaches is checked where it is parsed: programmes,
//! members and brands become [`InReach`] only through a [`Caller`], and use
//! cases take nothing else. [`Issuer`] makes tokens for development and tests.

mod access;
mod caller;
mod crypto;
mod identity;
mod issuer;
mod keys;
mod role;
mod settings;
mod source;
mod tokens;
mod watched;

pub use access::{Access, AccessError, AccessTable, Rule, Scope};
pub use caller::{Caller, InReach, OutOfReach, Touched};
pub use identity::{Identity, InvalidClaim, Programs};
pub use issuer::{Grant, Issuer, IssuerError};
pub use role::{Role, Roles};
pub use settings::{Settings, SettingsError};
pub use source::keep_fresh;
pub use tokens::{TOKEN_LEN_MAX, TokenFault, Tokens};
pub use watched::{LOOKED_AT_EVERY, WatchedFile};
