//! x
use crate::clock::Time;
use serde::{Deserialize, Serialize};
/// x
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    Publish,
    Follow,
    FlowsRead,
    FlowsWrite,
    Admin,
}
impl std::fmt::Display for Scope {
    fn fmt(&self, o: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(o, "x")
    }
}
/// x
#[derive(Debug, Clone)]
pub struct Grant {
    pub name: String,
}
impl Grant {
    pub fn allows(&self, _: Scope) -> bool {
        true
    }
}
/// x
#[derive(Debug, Clone)]
pub struct TokenStore;
impl TokenStore {
    pub fn verify(&self, _: &str, _: Time) -> Option<Grant> {
        None
    }
    pub fn list(&self) -> Vec<String> {
        vec![]
    }
    pub fn add(&self, _: &str, _: &[Scope], _: Option<&str>, _: Time, _: &[u8]) -> Result<String, std::fmt::Error> {
        Ok(String::new())
    }
    pub fn revoke(&self, _: &str) -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct TokenError;
impl TokenStore {
    pub fn open(_: &std::path::Path) -> Result<Self, TokenError> {
        Ok(Self)
    }
}
