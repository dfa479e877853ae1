//! Everything that speaks to other nodes: signatures, keys, fetching, and what may be believed.

pub mod address;
pub mod base;
pub mod call;
pub mod captured;
pub mod challenge;
pub mod checkup;
pub mod claim;
pub mod deliver;
pub mod digest;
pub mod document;
mod draft;
pub mod error;
pub mod fetch;
#[cfg(test)]
pub(crate) mod for_tests;
pub mod found;
pub mod inbox;
pub mod jcs;
pub mod key;
pub mod keys;
mod knock;
mod known;
pub mod message;
mod pem;
pub mod proof;
mod published;
pub mod rate;
mod recent;
pub mod refusal;
pub mod rsa;
pub mod runners;
pub mod sign;
pub mod signature;
pub mod strangers;
pub mod transport;
pub mod verify;
pub mod webfinger;
