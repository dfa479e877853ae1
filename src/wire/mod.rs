//! Everything that speaks to other nodes: signatures, keys, fetching, and what may be believed.

pub mod address;
pub mod base;
pub mod digest;
pub mod document;
pub mod fetch;
pub mod found;
pub mod key;
pub mod keys;
pub mod message;
mod recent;
pub mod refusal;
pub mod sign;
pub mod signature;
#[cfg(test)]
pub(crate) mod testing;
pub mod transport;
pub mod verify;
