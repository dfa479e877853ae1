//! Quickbeam: durable workflows between domains that share neither a database, nor an operator, nor trust.
//!
//! `ARCHITECTURE.md` is the map. Imports run one way: `web, wire → actors → domains`, `actors → store`; `web → programs → store`.

pub mod actors;
pub mod care;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domains;
mod hex;
pub mod keyring;
pub mod node;
pub mod private;
pub mod programs;
pub mod serve;
pub mod store;
pub mod tokens;
pub mod web;
pub mod wire;
