//! What the rewards service decides: no tonic, no sqlx.

mod redemption;
mod voucher;

pub use redemption::{Redemption, State};
pub use voucher::{InvalidKey, VoucherCode, VoucherKey};
