//! The catalogue: what points buy, for whom, and how much of it is left.

pub(crate) mod grpc;
mod offers;
mod stock;
pub(crate) mod store;

pub(crate) use offers::Catalog;
pub(crate) use stock::OpenStock;
