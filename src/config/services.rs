//! `[http]` and `[secrets]`: which services the steps of flows may call, and with which secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::mistake::Report;
use super::reader::Section;
use super::secret::{Secret, Secrets};
use super::sections::Fetch;

/// What `http` steps call services with.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// Authorities, exactly, that may have any address and speak http.
    pub allow: Vec<String>,
    /// By the name that steps say.
    pub secrets: BTreeMap<String, Secret>,
    /// The names of all that are declared, also of one that cannot be read: that is a mistake of its own.
    pub named: BTreeSet<String>,
}

impl Services {
    pub(super) fn read(http: Section<'_>, mut named: Section<'_>, secrets: &Secrets<'_>, report: &mut Report) -> Self {
        let allow = Fetch::read(http, report).allow;
        let (mut found, mut names) = (BTreeMap::new(), BTreeSet::new());
        for (name, entry) in named.entries() {
            names.insert(name.to_owned());
            let mut one = Section::of(&entry.value, &format!("secrets.{name}"), report);
            let secret = secrets.named(&mut one, report);
            one.finish(report);
            found.extend(secret.map(|secret| (name.to_owned(), secret)));
        }
        Self { allow, secrets: found, named: names }
    }
}
