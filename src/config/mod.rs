//! The configuration of a node: one TOML file, the environment over it, and every mistake named in one go.
//!
//! What `[type.…]`, `[flow.…]`, `[schedule.…]` and `[seed.…]` mean is the business of `domains`, which reads them from the tree kept
//! here ([`Declarations`]); [`crate::domains::catalog::load`] does both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub mod federation;
mod letters;
pub mod limits;
pub mod mistake;
pub mod nearest;
pub mod reader;
pub mod runners;
pub mod secret;
pub mod sections;
pub mod services;
pub mod template;
pub mod tree;

pub use federation::{Accept, Delivery, Federation, Fetch, Follow};
pub use limits::Limits;
pub use mistake::{Mistake, Place, Report};
pub use secret::Secret;
pub use sections::{Admin, Log, LogFormat, Network, Node, Peer, Public, Retention, Runtime, Store, Tick};

use reader::Section;
use secret::Secrets;
use tree::Shape;

/// All settings of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    pub node: Node,
    pub public: Public,
    pub admin: Admin,
    pub fetch: Fetch,
    pub services: services::Services,
    pub kernel: runners::Kernel,
    pub runners: Vec<runners::Runner>,
    pub follow: Follow,
    pub federation: Federation,
    pub delivery: Delivery,
    /// Other servers by the name that this file gives them.
    pub peers: BTreeMap<String, Peer>,
    pub tick: Tick,
    pub retention: Retention,
    pub limits: Limits,
    pub log: Log,
    pub runtime: Runtime,
    pub store: Store,
    pub declarations: Declarations,
}

/// What the domains read.
#[derive(Debug, Clone, Default)]
pub struct Declarations {
    /// The file as mistakes name it.
    pub file: String,
    pub types: Option<tree::Node>,
    pub flows: Option<tree::Node>,
    pub schedules: Option<tree::Node>,
    pub seeds: Option<tree::Node>,
    /// What `http` steps may name.
    pub secrets: BTreeSet<String>,
}

impl Config {
    /// Reads the file and the environment. Every mistake is in the answer, the declarations' own excepted.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Mistake>> {
        let (config, mistakes) = Self::draft(path, environment);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// The same, with defaults where something is wrong, so that what comes after can be checked too.
    pub fn draft(path: &Path, environment: impl Iterator<Item = (String, String)>) -> (Self, Vec<Mistake>) {
        let mut report = Report::new(path.display().to_string());
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            let place = Place::File { line: 0, column: 0 };
            report.add(
                &place,
                "",
                format!("cannot be read: {error}"),
                "make one with `quickbeam init NAME --base URL`",
            );
            String::new()
        });
        if !report.is_empty() {
            return (
                Self::read(path, &tree::Node::parse("", &mut Report::default()), &[], &mut Report::default()),
                report.into_mistakes(),
            );
        }
        let environment: Vec<_> = environment.collect();
        let mut root = tree::Node::parse(&text, &mut report);
        if !report.is_empty() {
            // Behind a slip of syntax everything would seem to be missing.
            return (Self::read(path, &root, &environment, &mut Report::default()), report.into_mistakes());
        }
        root.override_with(environment.iter().cloned(), &mut report);
        let config = Self::read(path, &root, &environment, &mut report);
        (config, report.into_mistakes())
    }

    fn read(path: &Path, root: &tree::Node, environment: &[(String, String)], report: &mut Report) -> Self {
        let mut top = Section::of(root, "", report);
        let folder = path.parent().unwrap_or(Path::new(""));
        let secrets = Secrets { folder, environment };
        let node = Node::read(&mut top, folder, report);
        let public = Public::read(top.section("public", report), report);
        let admin = Admin::read(top.section("admin", report), report);
        if public.listen == admin.listen && public.listen.port() != 0 {
            let what = format!("[public] and [admin] both listen on {}", public.listen);
            let place = top.section("admin", report).place_of("listen").clone();
            report.add(&place, "admin.listen", what, "give one of them another port");
        }
        let fetch = Fetch::read(top.section("fetch", report), report);
        let (http, named) = (top.section("http", report), top.section("secrets", report));
        let services = services::Services::read(http, named, &secrets, report);
        let kernel = runners::Kernel::read(top.section("kernel", report), report);
        let runners = runners::Runner::read_all(top.node("runner"), report);
        let peers = Peer::read_all(top.section("peers", report), &secrets, report);
        let follow = Follow::read(top.section("follow", report), &peers, report);
        let federation = Federation::read(top.section("federation", report), report);
        let delivery = Delivery::read(top.section("delivery", report), report);
        let tick = Tick::read(top.section("tick", report), report);
        let retention = Retention::read(top.section("retention", report), report);
        let mut limits_section = top.section("limits", report);
        let limits = Limits::read(&mut limits_section, report);
        limits_section.finish(report);
        let log = Log::read(top.section("log", report), report);
        let runtime = Runtime::read(top.section("runtime", report), report);
        let store = Store::read(top.section("store", report), report);
        let declarations = Declarations {
            file: report.file.clone(),
            types: top.node("type").cloned(),
            flows: top.node("flow").cloned(),
            schedules: top.node("schedule").cloned(),
            seeds: top.node("seed").cloned(),
            secrets: services.named.clone(),
        };
        unfold_seeds(&declarations, report);
        top.finish(report);
        let file = path.to_owned();
        Self {
            file,
            node,
            public,
            admin,
            fetch,
            services,
            kernel,
            runners,
            follow,
            federation,
            delivery,
            peers,
            tick,
            retention,
            limits,
            log,
            runtime,
            store,
            declarations,
        }
    }
}

/// A seed is a table of a table: what is neither is named here, before a domain looks at its fields.
fn unfold_seeds(declarations: &Declarations, report: &mut Report) {
    let Some(seeds) = &declarations.seeds else { return };
    let mut section = Section::of(seeds, "seed", report);
    for (kind, entry) in section.entries() {
        let path = format!("seed.{kind}");
        for (slug, seed) in Section::of(&entry.value, &path, report).entries() {
            if !matches!(seed.value.shape, Shape::Table(_)) {
                let what = format!("`{slug}` is {}, a seed has to be a table", seed.value.described());
                report.add(&seed.key, &format!("{path}.{slug}"), what, format!("write [seed.{kind}.SLUG]"));
            }
        }
    }
}
