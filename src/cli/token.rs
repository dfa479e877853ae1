//! `quickbeam token`: the tokens of programs and people, through the running node or, without one, in its data folder.

use serde_json::{Value, json};

use super::ago::ago;
use super::client::{Ask, ClientError, Door, segment};
use super::context::Context;
use super::list::{items, text};
use super::table::table;
use crate::clock::Time;
use crate::config::Config;
use crate::private::PrivateError;
use crate::tokens::{Scope, TokenStore, Wanted};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Make a token; it is printed once
    Add {
        /// What it is known by: who has it, or what for
        name: String,
        /// publish, follow, flows:read, flows:write, store:read, store:write or admin; several with commas
        #[arg(long = "scope", alias = "scopes", value_name = "SCOPE", value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// Of the store, reach only what is named below this: shop/ [default: all of it]
        #[arg(long)]
        prefix: Option<String>,
        /// When it ends: 12h, 30d [default: never]
        #[arg(long, value_name = "SPAN")]
        expires: Option<String>,
    },
    /// All tokens, without what their bearers send
    List,
    /// Make a token worthless
    Revoke { name: String },
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let config = context.config()?;
    let answer = match through_node(args, context, &config) {
        // Only its own process changes what a running node has in memory; without one the file is all there is.
        Err(ClientError::NotRunning { .. } | ClientError::Token(PrivateError::Missing { .. })) => {
            in_folder(args, context, &config)?
        }
        answer => answer?,
    };
    context.print(&answer, |answer| shown(args, answer, context.clock.now()));
    Ok(())
}

fn shown(args: &Args, answer: &Value, now: Time) -> String {
    match args {
        Args::Add { .. } => format!("{}\nKeep it: it is not shown again.", text(answer, "token")),
        Args::List => {
            let row = |item: &Value| {
                let ends = if item["expires"].is_null() { "never".into() } else { ago(&item["expires"], now) };
                vec![text(item, "name"), text(item, "scopes"), text(item, "prefix"), ago(&item["created"], now), ends]
            };
            let rows: Vec<_> = items(answer).iter().map(row).collect();
            table(
                &["name", "scopes", "prefix", "made", "ends"],
                &rows,
                "no tokens yet: quickbeam token add NAME --scope publish",
            )
        }
        Args::Revoke { name } => format!("the token {name} is revoked"),
    }
}

fn through_node(args: &Args, context: &Context, config: &Config) -> Result<Value, ClientError> {
    let client = context.client_of(config)?;
    match args {
        Args::Add { name, scopes, prefix, expires } => {
            let mut body = json!({ "name": name, "scopes": scopes });
            if let Some(prefix) = prefix {
                body["prefix"] = prefix.as_str().into();
            }
            if let Some(expires) = expires {
                body["expires"] = expires.as_str().into();
            }
            client.ask(&Ask::change(Door::Admin, "POST", "/admin/tokens", context.key()).json(&body))
        }
        Args::List => client.ask(&Ask::get(Door::Admin, "/admin/tokens")),
        Args::Revoke { name } => {
            let path = format!("/admin/tokens/{}", segment(name));
            client.ask(&Ask::change(Door::Admin, "DELETE", path, context.key()))
        }
    }
}

fn in_folder(args: &Args, context: &Context, config: &Config) -> anyhow::Result<Value> {
    let store = TokenStore::open(&config.node.data)?;
    match args {
        Args::Add { name, scopes, prefix, expires } => {
            let wanted = Wanted { name, scopes, prefix: prefix.as_deref(), expires: expires.as_deref() };
            let token = store.add(&wanted, context.clock.now(), &context.seed())?;
            Ok(json!({ "name": name, "token": token }))
        }
        Args::List => Ok(json!({ "items": store.list() })),
        Args::Revoke { name } => {
            store.revoke(name)?;
            Ok(json!({}))
        }
    }
}
