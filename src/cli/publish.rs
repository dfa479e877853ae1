//! `quickbeam publish`: writes, changes or deletes an object of this node, which publishes that.

use serde_json::{Map, Value, json};

use super::client::{Ask, Door, segment};
use super::context::Context;
use super::fields;
use super::list::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A declared type, such as article
    #[arg(value_name = "TYPE")]
    kind: String,
    /// A field as name=text or name:=JSON; again for each, and for each element of a list
    #[arg(long = "field", short = 'f', value_name = "NAME=VALUE")]
    fields: Vec<String>,
    /// The fields as a JSON object, from a file or from standard input with -; --field comes over them
    #[arg(long, value_name = "FILE")]
    json_body: Option<String>,
    /// The address below the base [default: made of the title]
    #[arg(long, conflicts_with_all = ["update", "delete"])]
    slug: Option<String>,
    /// Also to this peer, follower or not; again for each
    #[arg(long, value_name = "PEER", conflicts_with_all = ["update", "delete"])]
    to: Vec<String>,
    /// Who may see it: public, followers or direct
    #[arg(long, conflicts_with_all = ["update", "delete"], value_parser = ["public", "followers", "direct"])]
    visibility: Option<String>,
    /// Change the object of this slug; name:=null takes a field away
    #[arg(long, value_name = "SLUG", conflicts_with = "delete")]
    update: Option<String>,
    /// Delete the object of this slug
    #[arg(long, value_name = "SLUG", conflicts_with_all = ["fields", "json_body"])]
    delete: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let ask = ask(args, context)?;
    let answer = context.client()?.ask(&ask)?;
    context.print(&answer, |answer| shown(args, answer));
    Ok(())
}

fn shown(args: &Args, answer: &Value) -> String {
    let verb = match (&args.update, &args.delete) {
        (Some(_), _) => "updated",
        (_, Some(_)) => "deleted",
        _ => "published",
    };
    format!("{verb} {}\n{}", text(answer, "id"), text(answer, "activity"))
}

fn ask(args: &Args, context: &Context) -> anyhow::Result<Ask> {
    let all = format!("/api/objects/{}", segment(&args.kind));
    let one = |slug: &str| format!("{all}/{}", segment(slug));
    let change = |method, path| Ask::change(Door::Public, method, path, context.key());
    Ok(match (&args.update, &args.delete) {
        (_, Some(slug)) => change("DELETE", one(slug)),
        (Some(slug), None) => change("PATCH", one(slug)).json(&Value::Object(object(args, context)?)),
        (None, None) => {
            let mut object = object(args, context)?;
            if let Some(slug) = &args.slug {
                object.insert("slug".into(), slug.as_str().into());
            }
            if let Some(visibility) = &args.visibility {
                object.insert("visibility".into(), visibility.as_str().into());
            }
            if !args.to.is_empty() {
                object.insert("to".into(), json!(args.to));
            }
            change("POST", all).json(&Value::Object(object))
        }
    })
}

/// The JSON body with the fields over it.
fn object(args: &Args, context: &Context) -> anyhow::Result<Map<String, Value>> {
    let (_, catalog) = context.catalog()?;
    let given = fields::fields(&args.fields, catalog.object_type(&args.kind))?;
    let mut object = match args.json_body.as_deref().map(fields::read_json).transpose()? {
        None => Map::new(),
        Some(Value::Object(object)) => object,
        Some(_) => anyhow::bail!("the JSON body has to be an object: {{\"title\": \"Gig night\"}}"),
    };
    object.extend(given);
    Ok(object)
}
