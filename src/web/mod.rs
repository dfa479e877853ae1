//! What programs and people use: the API, the administration, and the pages.

pub mod admin;
pub mod auth;
pub mod callback;
pub mod client;
pub mod collections;
pub mod discovery;
pub mod flows;
pub mod follow;
mod guard;
pub mod http;
pub mod list;
pub mod methods;
pub mod negotiate;
pub mod neighbour;
pub mod objects;
pub mod pages;
pub mod picture;
pub mod public;
pub mod queues;
pub mod retention;
pub mod routes;
pub mod runners;
pub mod schedules;
mod signed;
pub mod site;
pub mod store;
pub mod stream;
