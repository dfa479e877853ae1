//! Durable actors: what one is ([`entity`]), the shell that runs each ([`host`]), who knows them all ([`registry`]), and
//! one file per kind.

pub mod entity;
pub mod layout;
pub mod record;
