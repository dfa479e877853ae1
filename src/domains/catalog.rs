//! x
use super::{behaviours::Behaviour, flow::check::Compiled, types::Type, verb::Verb};
use std::sync::Arc;
/// x
pub struct Catalog;
impl Catalog {
    pub fn type_named(&self, _: &str) -> Option<&Type> {
        None
    }
    pub fn type_shown_as(&self, _: &str) -> Option<&str> {
        None
    }
    pub fn on(&self, _: &str, _: &Verb) -> Option<&Behaviour> {
        None
    }
    pub fn remote(&self, _: &str, _: &Verb) -> Option<&Behaviour> {
        None
    }
    pub fn current(&self, _: &str) -> Option<Arc<Compiled>> {
        None
    }
    pub fn definition(&self, _: &str) -> Option<Arc<Compiled>> {
        None
    }
}
