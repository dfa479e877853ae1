//! `[http]` and `[secrets]`: which services the steps of flows may call, and with which secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::federation::Fetch;
use super::mistake::Report;
use super::reader::Section;
use super::secret::{Secret, Secrets};

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

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const NODE: &str = "[node]\nname = \"here\"\nbase = \"https://here.example\"\n";

    fn read(text: &str) -> (Config, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "  from a file\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let file = folder.path().join("quickbeam.toml");
        std::fs::write(&file, format!("{text}\n{NODE}")).unwrap();
        let environment = [("QB_TEST_SECRET".to_owned(), "from the environment".to_owned())];
        let (config, mistakes) = Config::draft(&file, environment.into_iter());
        (config, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn services_and_secrets_are_read_and_no_secret_is_printed() {
        let text = "[http]\nallow = [\"127.0.0.1:9\", \"api.example\"]\n[secrets.one]\nfile = \"key\"\n\
                    [secrets.two]\nenv = \"QB_TEST_SECRET\"";
        let (config, mistakes) = read(text);
        assert_eq!(mistakes, [""; 0]);
        let services = config.services;
        assert_eq!(services.allow, ["127.0.0.1:9", "api.example"]);
        let exposed = |name: &str| std::str::from_utf8(services.secrets[name].expose()).unwrap();
        assert_eq!((exposed("one"), exposed("two")), ("from a file", "from the environment"));
        assert!(!format!("{services:?}").contains("from"), "{services:?}");
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_a_mistake_and_still_known_by_name() {
        for (secret, expected) in [
            ("file = \"none\"", "cannot be read"),
            ("file = \"empty\"", "the secret is empty"),
            ("env = \"QB_TEST_NONE\"", "has no variable `QB_TEST_NONE`"),
            ("file = \"key\"\nenv = \"QB_TEST_SECRET\"", "has `file` and `env`"),
            ("", "has neither `file` nor `env`"),
            ("file = \"key\"\nlength = 3", "length"),
        ] {
            let (config, mistakes) = read(&format!("[secrets.one]\n{secret}"));
            assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{secret}: {mistakes:?}");
            assert!(config.services.named.contains("one"), "{secret}");
        }
    }

    #[test]
    fn a_service_that_is_no_authority_is_a_mistake() {
        let (_, mistakes) = read("[http]\nallow = [\"https://api.example/\"]");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
}
