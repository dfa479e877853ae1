//! A request to any service, as a step declares it: secrets by name only, everything else as expressions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::definition::{Argument, Deadline};

/// The methods that a step can use.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A request, and which answers are good ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Http {
    pub method: String,
    /// CEL.
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Header>,
    /// JSON, or a text as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Argument>,
    /// Statuses that mean it was done; every 2xx without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ok: Vec<u16>,
    /// The service answers later, at a URL that it is given as `callback_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Deadline>,
}

/// A header's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Header {
    Cel(String),
    /// The value of `[secrets.NAME]`, looked up when the request is sent and stored nowhere.
    Secret {
        secret: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
}
