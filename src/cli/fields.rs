//! What people write on the command line, as JSON: fields of objects, and JSON from files.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::domains::types::{Kind, Type};

/// Longest JSON that is read from a file; the node takes less.
const BYTES_MAX: u64 = 64 << 20;

/// Parses a word that has to be JSON.
pub(super) fn json(word: &str) -> Result<Value, String> {
    serde_json::from_str(word).map_err(|error| format!("not JSON: {error}"))
}

/// JSON of a file, or of standard input for `-`.
pub(super) fn read_json(file: &str) -> anyhow::Result<Value> {
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin().lock().take(BYTES_MAX).read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("{file} cannot be read"))?;
        opened.take(BYTES_MAX).read_to_end(&mut bytes).with_context(|| format!("{file} cannot be read"))?;
    }
    serde_json::from_slice(&bytes).with_context(|| format!("{file} is not JSON"))
}

/// Fields from `name=text` and `name:=JSON`. Text becomes what the declared field is; a repeated name makes a list.
pub(super) fn fields(words: &[String], declared: Option<&Type>) -> anyhow::Result<Map<String, Value>> {
    let mut fields = Map::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            bail!("{word:?} is no field: write name=text or name:=JSON");
        };
        let (name, value) = match name.strip_suffix(':') {
            Some(name) => (name, json(value).map_err(|error| anyhow::anyhow!("the field {name} is {error}"))?),
            None => (name, of_kind(name, value, declared)?),
        };
        if name.is_empty() {
            bail!("{word:?} has no name: write name=text or name:=JSON");
        }
        match (fields.get_mut(name), value) {
            (None, value) => drop(fields.insert(name.to_owned(), value)),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::Array(list)), one) => list.push(one),
            (Some(_), _) => bail!("the field {name} is given twice, and is no list"),
        }
    }
    Ok(fields)
}

fn of_kind(name: &str, text: &str, declared: Option<&Type>) -> anyhow::Result<Value> {
    let kind = declared.and_then(|declared| declared.fields.get(name)).map(|field| &field.kind);
    match kind {
        Some(Kind::List(element)) => Ok(Value::Array(vec![one(name, text, element.as_deref())?])),
        kind => one(name, text, kind),
    }
}

fn one(name: &str, text: &str, kind: Option<&Kind>) -> anyhow::Result<Value> {
    match kind {
        Some(kind @ (Kind::Number | Kind::Integer | Kind::Bool | Kind::Table | Kind::Json)) => {
            json(text).map_err(|error| anyhow::anyhow!("the field {name} is {}, and {text:?} is {error}", kind.word()))
        }
        _ => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domains::all_effects;
    use crate::domains::catalog;

    fn made(words: &[&str], declared: Option<&Type>) -> anyhow::Result<Value> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        fields(&words, declared).map(Value::Object)
    }

    #[test]
    fn text_is_text_and_json_is_json() {
        let words = ["title=a=b", "n:=3", "none:=null", "empty=", "digits=3"];
        let expected = json!({ "title": "a=b", "n": 3, "none": null, "empty": "", "digits": "3" });
        assert_eq!(made(&words, None).unwrap(), expected);
    }

    #[test]
    fn a_declared_field_gives_text_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let text = "[node]\nname='a'\nbase='https://a.example'\n[type.x]\nfields.n = {kind='integer'}\n\
            fields.on = {kind='bool'}\nfields.tags = {kind='list', of='text'}\n";
        std::fs::write(&file, text).unwrap();
        let (_, catalog) = catalog::load(&file, std::iter::empty(), &all_effects()).unwrap();
        let declared = catalog.object_type("x");
        let words = ["n=3", "on=true", "tags=a", "tags=b", "other=3"];
        let expected = json!({ "n": 3, "on": true, "tags": ["a", "b"], "other": "3" });
        assert_eq!(made(&words, declared).unwrap(), expected);
        let slip = made(&["n=three"], declared).unwrap_err().to_string();
        assert!(slip.contains("the field n is"), "{slip}");
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for words in [&["title"][..], &["=x"], &["n:={"], &["a=1", "a=2"]] {
            assert!(made(words, None).is_err(), "{words:?}");
        }
    }
}
