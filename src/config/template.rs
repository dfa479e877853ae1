//! Writes a new node's configuration: a commented template with the answers put in.

use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// The configurations that a node can start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    Blog,
    Events,
    Empty,
}

/// What is put into a template. Nothing here is checked: the file that comes out of it is.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub name: String,
    pub base: String,
    /// The template's own without it; so for both listeners.
    pub data: Option<String>,
    pub listen: Option<String>,
    pub admin_listen: Option<String>,
    pub fetch_allow: Vec<String>,
    pub follow_at_start: Vec<String>,
    pub peers: Vec<PeerAnswer>,
}

/// One `[peers.NAME]`.
#[derive(Debug, Clone)]
pub struct PeerAnswer {
    pub name: String,
    pub actor: String,
    pub secret_file: Option<String>,
}

impl Template {
    pub const ALL: [Template; 3] = [Template::Blog, Template::Events, Template::Empty];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Template::Blog => "blog",
            Template::Events => "events",
            Template::Empty => "empty",
        }
    }

    /// The file as it stands in the source, which is a right configuration by itself.
    pub fn source(self) -> &'static str {
        match self {
            Template::Blog => include_str!("../../config/blog.toml"),
            Template::Events => include_str!("../../config/events.toml"),
            Template::Empty => include_str!("../../config/empty.toml"),
        }
    }
}

/// The template with the answers, its comments kept.
pub fn render(template: Template, answers: &Answers) -> String {
    let mut document: DocumentMut =
        template.source().parse().expect("the templates are TOML, which a test makes sure of");
    let texts = [
        ("node", "name", Some(&answers.name)),
        ("node", "base", Some(&answers.base)),
        ("node", "data", answers.data.as_ref()),
        ("public", "listen", answers.listen.as_ref()),
        ("admin", "listen", answers.admin_listen.as_ref()),
    ];
    for (section, key, text) in texts {
        if let Some(text) = text {
            set(&mut document, section, key, Value::from(text.as_str()));
        }
    }
    let lists = [("fetch", "allow", &answers.fetch_allow), ("follow", "at_start", &answers.follow_at_start)];
    for (section, key, list) in lists {
        set(&mut document, section, key, Value::Array(list.iter().map(String::as_str).collect::<Array>()));
    }
    if !answers.peers.is_empty() {
        document.insert("peers", Item::Table(peers(&answers.peers)));
    }
    document.to_string()
}

fn set(document: &mut DocumentMut, section: &str, key: &str, value: Value) {
    document[section][key] = Item::Value(value);
}

fn peers(answers: &[PeerAnswer]) -> Table {
    let mut peers = Table::new();
    peers.set_implicit(true);
    for answer in answers {
        let mut peer = Table::new();
        peer.insert("actor", Item::Value(Value::from(answer.actor.as_str())));
        if let Some(file) = &answer.secret_file {
            peer.insert("secret_file", Item::Value(Value::from(file.as_str())));
        }
        peers.insert(&answer.name, Item::Table(peer));
    }
    peers
}
