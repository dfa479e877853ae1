//! The form that says which flows are listed: every word that the list takes, and the fields that flows are found by.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::domains::flow::progress::Phase;
use crate::web::site::Site;

/// Fields that are asked for: those of one flow are all there once it is named.
const FIELDS_MAX: usize = 12;
/// What the list takes besides the state: how it is called, the word, its width, and an example.
const WORDS: [(&str, &str, u8, &str); 7] = [
    ("Flow", "name", 12, ""),
    ("Type", "type", 8, ""),
    ("Key", "key", 14, ""),
    ("Object", "object", 18, "its id"),
    ("Definition", "definition", 12, ""),
    ("Since", "since", 10, "1h, 7d"),
    ("Until", "until", 10, "1h, 7d"),
];
/// Makes the name of a field one that is none of the words.
const FIELD: &str = "field.";

/// The form, filled in with what was asked for.
pub(super) fn form(site: &Site, words: &BTreeMap<String, String>) -> Markup {
    html! {
        form.filter method="get" action="/flows" {
            @for (label, word, size, example) in WORDS {
                label { (label) " " input name=(word) value=(given(words, word)) size=(size) placeholder=[Some(example).filter(|it| !it.is_empty())]; }
                @if word == "name" { (states(given(words, "state"))) }
            }
            @for field in fields(site, words) {
                @let value = given(words, &format!("{FIELD}{field}"));
                @let value = if value.is_empty() && !is_word(&field) { given(words, &field) } else { value };
                label { (field) " " input name={ (FIELD) (field) } value=(value) size="12"; }
            }
            button { "Show" }
        }
    }
}

fn states(given: &str) -> Markup {
    html! {
        label { "State " select name="state" {
            option value="" { "any" }
            @for phase in Phase::ALL { option selected[given == phase.word()] { (phase.word()) } }
        } }
    }
}

/// What was asked for by a word. A span that instances are older than is the same until then.
fn given<'a>(words: &'a BTreeMap<String, String>, word: &str) -> &'a str {
    let said = |word: &str| words.get(word).map(String::as_str).filter(|value| !value.is_empty());
    let older = || said("older_than").filter(|_| word == "until");
    said(word).or_else(older).unwrap_or_default()
}

fn is_word(name: &str) -> bool {
    ["state", "older_than", "after", "limit"].contains(&name) || WORDS.iter().any(|(_, word, ..)| *word == name)
}

/// The fields of the flow that is named, or of all; and those that were asked for, whoever declared them.
fn fields(site: &Site, words: &BTreeMap<String, String>) -> BTreeSet<String> {
    let name = given(words, "name");
    let flows = site.runtime.world.catalog.flows().filter(|flow| name.is_empty() || flow.definition.name == name);
    let declared: BTreeSet<&String> = flows.flat_map(|flow| flow.search.keys()).collect();
    let asked = words.iter().filter(|(_, value)| !value.is_empty()).map(|(word, _)| word);
    let asked = asked.filter(|word| !is_word(word)).map(|word| word.strip_prefix(FIELD).unwrap_or(word).to_owned());
    declared.into_iter().take(FIELDS_MAX).cloned().chain(asked).collect()
}
