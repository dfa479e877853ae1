//! Which domains a node has nothing to do with, and lists of them as Mastodon exports them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::identity::Authority;
use crate::clock::Time;

/// Characters of a reason that are kept.
pub const REASON_MAX: usize = 1_000;
/// Domains in one list: more is no list but a flood.
pub const DOMAINS_MAX: usize = 100_000;

/// A host with all that is below it: `bad.example` is also `pictures.bad.example`. An address is only itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Domain(String);

/// Why a text is no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no domain: write a host without scheme, port and path, like bad.example")]
pub struct NoDomain {
    given: String,
}

/// Since when and why a domain is blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why a node has nothing to do with an authority. The reason of a block is for its operator only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    #[error("{authority} is blocked here")]
    Listed { authority: Authority, domain: Domain },
    #[error("{authority} is not among those that this node has to do with")]
    NotAllowed { authority: Authority },
}

/// The domains that are blocked, and the only ones that are not, if there are such.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    pub listed: BTreeMap<Domain, Block>,
    pub allow_only: Option<BTreeSet<Domain>>,
}

impl Domain {
    /// Reads a host as a person writes it. `*.bad.example` means the same as `bad.example`.
    pub fn parse(text: &str) -> Result<Self, NoDomain> {
        let refused = || NoDomain { given: text.chars().take(120).collect() };
        let host = text.trim().strip_prefix("*.").unwrap_or(text.trim()).trim_end_matches('.');
        let authority = Authority::parse(host).map_err(|_| refused())?;
        match authority.port() {
            // Also not one that was written as `%2a`.
            None if !authority.host().contains('*') => Ok(Self(authority.host().to_owned())),
            _ => Err(refused()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an authority is this domain or below it, at whatever port.
    pub fn covers(&self, authority: &Authority) -> bool {
        found(authority, |domain| domain == self).is_some()
    }
}

impl Blocks {
    /// Whether this node has to do with an authority.
    ///
    /// # Errors
    /// That it has not, and by which rule.
    pub fn judge(&self, authority: &Authority) -> Result<(), Blocked> {
        if let Some(domain) = found(authority, |domain| self.listed.contains_key(domain)) {
            return Err(Blocked::Listed { authority: authority.clone(), domain });
        }
        match &self.allow_only {
            Some(allowed) if found(authority, |domain| allowed.contains(domain)).is_none() => {
                Err(Blocked::NotAllowed { authority: authority.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The first of a host and the domains above it that fits.
fn found(authority: &Authority, fits: impl Fn(&Domain) -> bool) -> Option<Domain> {
    let above = |host: &Domain| match authority.address() {
        Some(_) => None,
        None => host.0.split_once('.').map(|(_, above)| Domain(above.to_owned())),
    };
    std::iter::successors(Some(Domain(authority.host().to_owned())), above).find(|domain| fits(domain))
}

/// What a list of blocks says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub blocks: Vec<(Domain, Option<String>)>,
    pub skipped: Vec<Skipped>,
}

/// A line that blocks nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub line: u64,
    pub domain: String,
    pub why: String,
}

/// Why a file is no list of blocks.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    #[error("line {line} cannot be read as CSV: {source}")]
    Csv {
        line: u64,
        #[source]
        source: csv::Error,
    },
    #[error("the list has more than {DOMAINS_MAX} lines: import it in parts")]
    TooLong,
}

impl Listing {
    /// Reads a list of domain blocks: one domain a line, or the CSV that Mastodon exports, whose first line names the
    /// columns `#domain`, `#severity` and `#public_comment` among others. Only `suspend` cuts a server off, so that
    /// lines of another severity are left out, and said.
    ///
    /// # Errors
    /// Which line is not CSV.
    pub fn parse(text: &str) -> Result<Self, ListingError> {
        let mut lines = csv::ReaderBuilder::new();
        let mut reader = lines.has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let (mut listing, mut columns) = (Self::default(), Columns::default());
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|source| {
                let line = source.position().map_or(0, csv::Position::line);
                ListingError::Csv { line, source }
            })?;
            if index >= DOMAINS_MAX {
                return Err(ListingError::TooLong);
            }
            let line = record.position().map_or(0, csv::Position::line);
            match Columns::named(&record).filter(|_| index == 0) {
                Some(named) => columns = named,
                None => listing.take(line, &record, &columns),
            }
        }
        Ok(listing)
    }

    fn take(&mut self, line: u64, record: &csv::StringRecord, columns: &Columns) {
        let field =
            |column: Option<usize>| column.and_then(|column| record.get(column)).filter(|text| !text.is_empty());
        let Some(text) = field(Some(columns.domain)).filter(|text| !text.starts_with('#')) else { return };
        let severity = field(columns.severity).unwrap_or("suspend");
        let taken = match Domain::parse(text) {
            _ if !severity.eq_ignore_ascii_case("suspend") => Err(format!("its severity is {severity}")),
            parsed => parsed.map_err(|error| error.to_string()),
        };
        match taken {
            Ok(domain) => {
                let reason = field(columns.reason).map(|reason| reason.chars().take(REASON_MAX).collect());
                self.blocks.push((domain, reason));
            }
            Err(why) => self.skipped.push(Skipped { line, domain: text.to_owned(), why }),
        }
    }
}

/// Where a list has what.
#[derive(Debug, Default)]
struct Columns {
    domain: usize,
    severity: Option<usize>,
    reason: Option<usize>,
}

impl Columns {
    /// Of a line that names them.
    fn named(record: &csv::StringRecord) -> Option<Self> {
        let column = |name: &str| record.iter().position(|given| given.trim_start_matches('#') == name);
        let reason = column("public_comment").or_else(|| column("comment"));
        Some(Self { domain: column("domain")?, severity: column("severity"), reason })
    }
}

/// The blocks as Mastodon reads them.
pub fn export<'a>(blocks: impl IntoIterator<Item = (&'a Domain, &'a Block)>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heads = ["#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment", "#obfuscate"];
    let lines = blocks.into_iter().map(|(domain, block)| {
        [domain.as_str(), "suspend", "false", "false", block.reason.as_deref().unwrap_or_default(), "false"]
    });
    for line in std::iter::once(heads).chain(lines) {
        writer.write_record(line).expect("lines of one length, written to memory");
    }
    String::from_utf8(writer.into_inner().expect("memory takes everything")).expect("text was written")
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(texts: &[&str]) -> BTreeSet<Domain> {
        texts.iter().map(|text| Domain::parse(text).unwrap()).collect()
    }

    fn blocking(texts: &[&str]) -> Blocks {
        let block = Block { at: Time(7), reason: None };
        Blocks { listed: domains(texts).into_iter().map(|domain| (domain, block.clone())).collect(), allow_only: None }
    }

    fn is_blocked(blocks: &Blocks, authority: &str) -> bool {
        blocks.judge(&Authority::parse(authority).unwrap()).is_err()
    }

    #[test]
    fn a_block_covers_what_is_below_a_domain_at_any_port_and_nothing_beside_it() {
        let blocks = blocking(&["bad.example", "192.0.2.7", "[2001:db8::7]", "bücher.example", "*.Wild.example."]);
        for blocked in [
            "bad.example",
            "bad.example:8443",
            "a.bad.example",
            "a.b.bad.example:1",
            "192.0.2.7:80",
            "[2001:db8::7]:1",
            "xn--bcher-kva.example",
            "wild.example",
            "x.wild.example",
        ] {
            assert!(is_blocked(&blocks, blocked), "{blocked}");
        }
        for other in
            ["notbad.example", "bad.example.org", "example", "2.7", "192.0.2.70", "[2001:db8::8]", "example.bad"]
        {
            assert!(!is_blocked(&blocks, other), "{other}");
        }
    }

    #[test]
    fn with_a_list_of_the_only_ones_all_others_are_blocked_and_a_block_weighs_more() {
        let allow_only = Some(domains(&["friends.example", "bad.friends.example"]));
        let blocks = Blocks { allow_only, ..blocking(&["bad.friends.example"]) };
        assert!(!is_blocked(&blocks, "friends.example:81"));
        assert!(!is_blocked(&blocks, "a.friends.example"));
        assert!(is_blocked(&blocks, "bad.friends.example"));
        assert!(is_blocked(&blocks, "other.example"));
        assert!(is_blocked(&Blocks { allow_only: Some(BTreeSet::new()), ..Blocks::default() }, "friends.example"));
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for text in [
            "",
            ".",
            "*",
            "a b",
            "https://bad.example",
            "bad.example/x",
            "b*d.example",
            "bad.example:80",
            "@",
            "%2a.bad.example",
        ] {
            let refused = Domain::parse(text).unwrap_err().to_string();
            assert!(refused.contains("write a host"), "{text}: {refused}");
        }
    }

    #[test]
    fn the_export_of_mastodon_is_read_and_what_blocks_nothing_is_said() {
        let text = "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n\
                    bad.example,suspend,false,false,\"spam, much\",false\n\
                    loud.example,silence,true,false,,false\n\
                    b*d.example,suspend,false,false,,true\n\
                    worse.example,suspend,true,true,,false\n";
        let listing = Listing::parse(text).unwrap();
        let found: Vec<_> = listing.blocks.iter().map(|(domain, why)| (domain.as_str(), why.as_deref())).collect();
        assert_eq!(found, [("bad.example", Some("spam, much")), ("worse.example", None)]);
        let skipped: Vec<_> = listing.skipped.iter().map(|skipped| (skipped.line, skipped.domain.as_str())).collect();
        assert_eq!(skipped, [(3, "loud.example"), (4, "b*d.example")]);
        assert!(listing.skipped[0].why.contains("silence"));
    }

    #[test]
    fn a_list_of_bare_domains_is_read_too_and_an_export_comes_back_as_it_was() {
        let listing = Listing::parse("# my list\nbad.example\n\nWorse.Example\n").unwrap();
        assert_eq!(listing.blocks.len(), 2);
        assert_eq!(listing.skipped, []);
        let blocks = blocking(&["bad.example", "worse.example"]);
        let again = Listing::parse(&export(&blocks.listed)).unwrap();
        let found: BTreeSet<Domain> = again.blocks.into_iter().map(|(domain, _)| domain).collect();
        assert_eq!(found, blocks.listed.keys().cloned().collect());
    }

    #[test]
    fn a_list_that_is_no_csv_or_has_no_end_is_refused() {
        assert!(matches!(Listing::parse(&"a.example\n".repeat(DOMAINS_MAX + 1)).unwrap_err(), ListingError::TooLong));
    }
}
