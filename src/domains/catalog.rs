//! Everything that a configuration declares, checked and ready: types, behaviours, flows, schedules and seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::behaviours::{Behaviour, Behaviours, Verb};
use super::declare::{self, Seed};
use super::effects::Effects;
use super::flow::check::{Bounds, Compiled, Fault, compile};
use super::flow::definition::{Definition, DefinitionHash, Header, Kind, Undo};
use super::flow::parse::{self, Places};
use super::flow::samples;
use super::schedule::{Schedule, declare::schedules};
use super::types::Type;
use crate::config::mistake::{Mistake, Report};
use crate::config::nearest::nearest;
use crate::config::reader::suggest;
use crate::config::{Config, Declarations};

/// What is declared. Definitions of older instances are added as they are met.
#[derive(Debug)]
pub struct Catalog {
    types: BTreeMap<String, Type>,
    behaviours: BTreeMap<String, Behaviours>,
    flows: BTreeMap<String, Arc<Compiled>>,
    by_hash: RwLock<BTreeMap<DefinitionHash, Arc<Compiled>>>,
    seeds: Vec<Seed>,
    schedules: BTreeMap<String, Schedule>,
    bounds: Bounds,
}

/// Why a stored definition cannot run in this binary.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("the stored definition is not readable: it came from a newer binary, or is damaged")]
    Unreadable(#[source] serde_json::Error),
    #[error("the stored definition of `{name}` cannot run in this binary: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unusable { name: String, faults: Vec<Fault> },
}

/// Reads a configuration and all that it declares, and names the mistakes of both in one go.
pub fn load(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
    effects: &Effects,
) -> Result<(Config, Catalog), Vec<Mistake>> {
    let (config, mut mistakes) = Config::draft(path, environment);
    match Catalog::build(&config, effects) {
        Ok(catalog) if mistakes.is_empty() => return Ok((config, catalog)),
        Ok(_) => {}
        Err(more) => mistakes.extend(more),
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    Err(mistakes)
}

impl Catalog {
    pub fn build(config: &Config, effects: &Effects) -> Result<Self, Vec<Mistake>> {
        let bounds = Bounds { steps: config.limits.flow_steps, results: config.limits.flow_results };
        Self::of(&config.declarations, bounds, effects)
    }

    /// The declared type of this name.
    pub fn object_type(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    pub fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.values()
    }

    /// The first declared type that others see as this ActivityStreams type.
    pub fn type_seen_as(&self, activity_streams: &str) -> Option<&Type> {
        self.types.values().find(|it| it.activity_streams == activity_streams)
    }

    /// What our own write sets off.
    pub fn on(&self, object_type: &str, verb: Verb) -> Option<&Behaviour> {
        self.behaviours.get(object_type)?.on.get(&verb)
    }

    /// What an activity of others sets off.
    pub fn remote(&self, object_type: &str, verb: Verb) -> Option<&Behaviour> {
        self.behaviours.get(object_type)?.remote.get(&verb)
    }

    /// The newest definition of a flow, for new instances.
    pub fn current(&self, name: &str) -> Option<Arc<Compiled>> {
        self.flows.get(name).cloned()
    }

    /// The declared flows.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.flows.values()
    }

    /// All definitions that were declared, or added from the store.
    pub fn known(&self) -> Vec<Arc<Compiled>> {
        self.by_hash.read().values().cloned().collect()
    }

    /// How much one instance may do and keep here.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A definition that was declared, or added from the store.
    pub fn definition(&self, hash: &str) -> Option<Arc<Compiled>> {
        self.by_hash.read().get(hash).cloned()
    }

    /// Adds a definition from its stored bytes, for instances that began with it.
    pub fn add_stored(&self, bytes: &[u8]) -> Result<Arc<Compiled>, StoredError> {
        let hash = DefinitionHash::of(bytes);
        if let Some(known) = self.definition(&hash.0) {
            return Ok(known);
        }
        let definition = Definition::from_bytes(bytes).map_err(StoredError::Unreadable)?;
        let name = definition.name.clone();
        let mut compiled = compile(definition, self.bounds).map_err(|faults| StoredError::Unusable { name, faults })?;
        // The bytes are what it is known by, also when this binary would write them differently.
        compiled.hash = hash.clone();
        let compiled = Arc::new(compiled);
        self.by_hash.write().insert(hash, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// The declared schedule of this name.
    pub fn schedule(&self, name: &str) -> Option<&Schedule> {
        self.schedules.get(name)
    }

    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.schedules.values()
    }

    /// What is made at the first start.
    pub fn seeds(&self) -> &[Seed] {
        &self.seeds
    }

    fn of(declarations: &Declarations, bounds: Bounds, effects: &Effects) -> Result<Self, Vec<Mistake>> {
        let mut report = Report::new(declarations.file.as_str());
        let declared = declare::types(declarations.types.as_ref(), &mut report);
        let (mut types, mut behaviours) = (BTreeMap::new(), BTreeMap::new());
        for (name, (declared, its_behaviours)) in declared {
            types.insert(name.clone(), declared);
            behaviours.insert(name, its_behaviours);
        }
        let secrets = &declarations.secrets;
        let (types_of, behaviours_of, report_of) = (&types, &behaviours, &mut report);
        let mut reader =
            FlowReader { effects, bounds, types: types_of, behaviours: behaviours_of, secrets, report: report_of };
        let mut flows = BTreeMap::new();
        for (name, entry) in declare::tables(declarations.flows.as_ref(), "flow", reader.report) {
            let compiled = reader.read(name, entry);
            flows.insert(name.to_owned(), compiled);
        }
        called_flows_exist(declarations, &flows, &mut report);
        flows_exist(&behaviours, &flows, &mut report);
        let named = flows.keys().map(String::as_str).collect();
        let schedules = schedules(declarations.schedules.as_ref(), &named, &mut report);
        let seeds = declare::seeds(declarations.seeds.as_ref(), &types, &mut report);
        if !report.is_empty() {
            return Err(report.into_mistakes());
        }
        let flows: BTreeMap<_, _> = flows.into_iter().filter_map(|(name, flow)| Some((name, flow?))).collect();
        let by_hash = RwLock::new(flows.values().map(|it| (it.hash.clone(), Arc::clone(it))).collect());
        Ok(Self { types, behaviours, flows, by_hash, seeds, schedules, bounds })
    }
}

struct FlowReader<'a> {
    effects: &'a Effects,
    bounds: Bounds,
    types: &'a BTreeMap<String, Type>,
    behaviours: &'a BTreeMap<String, Behaviours>,
    secrets: &'a BTreeSet<String>,
    report: &'a mut Report,
}

impl FlowReader<'_> {
    /// `None` when it has a mistake, which is in the report.
    fn read(&mut self, name: &str, entry: &crate::config::tree::Entry) -> Option<Arc<Compiled>> {
        let before = self.report.count();
        let (definition, places) = parse::read(name, entry, self.report);
        let mut faults = self.effects.check(&definition);
        faults.extend(self.unknown_types(&definition));
        faults.extend(self.unknown_secrets(&definition));
        let compiled = match compile(definition, self.bounds) {
            Ok(compiled) => Some(compiled),
            Err(more) => {
                faults.extend(more);
                None
            }
        };
        if let Some(compiled) = &compiled {
            faults.extend(samples::check(compiled, &self.fired_by(name)));
        }
        faults.iter().for_each(|fault| self.add(name, fault, &places));
        compiled.filter(|_| self.report.count() == before).map(Arc::new)
    }

    /// The types whose objects this flow is about. What others send has a shape that nobody here declared.
    fn fired_by(&self, flow: &str) -> Vec<&Type> {
        let remotely = |behaviours: &Behaviours| behaviours.remote.values().any(|it| it.run == flow);
        if self.behaviours.values().any(remotely) {
            return Vec::new();
        }
        let fires = |behaviours: &Behaviours| behaviours.on.values().any(|it| it.run == flow);
        let names = self.behaviours.iter().filter(|(_, behaviours)| fires(behaviours)).map(|(name, _)| name);
        names.filter_map(|name| self.types.get(name)).collect()
    }

    /// `with.type` of an effect, where it is a plain text in quotes.
    fn unknown_types(&self, definition: &Definition) -> Vec<Fault> {
        let named = definition.steps.iter().filter_map(|(step, it)| {
            let call = it.kind.call().filter(|call| call.effect.starts_with("object."))?;
            match call.with.get("type")? {
                super::flow::definition::Argument::Cel(source) => Some((step, quoted_text(source)?)),
                _ => None,
            }
        });
        let unknown = named.filter(|(_, name)| !self.types.contains_key(*name));
        let fault = |(step, name): (&String, &str)| {
            let remedy = suggest(name, self.types.keys().map(String::as_str));
            Fault::new(format!("steps.{step}.with.type"), format!("unknown type `{name}`"), remedy)
        };
        unknown.map(fault).collect()
    }

    /// Secrets that requests of steps and of undos name, and nobody declares: a step could only find out when it runs.
    fn unknown_secrets(&self, definition: &Definition) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (step, it) in &definition.steps {
            let own = if let Kind::Http(http) = &it.kind { Some((http, "")) } else { None };
            let undo = if let Some(Undo::Http(http)) = &it.undo { Some((http, "undo.")) } else { None };
            for (http, before) in own.into_iter().chain(undo) {
                let secrets = http.headers.iter().filter_map(|(header, value)| match value {
                    Header::Secret { secret, .. } => Some((header, secret)),
                    Header::Cel(_) => None,
                });
                let unknown = secrets.filter(|(_, secret)| !self.secrets.contains(*secret) && !secret.is_empty());
                faults.extend(unknown.map(|(header, secret)| {
                    let near = nearest(secret, self.secrets.iter().map(String::as_str));
                    let add = || format!("add [secrets.{secret}] with `file` or `env`");
                    let remedy = near.map_or_else(add, |near| format!("did you mean `{near}`?"));
                    let path = format!("steps.{step}.{before}headers.{header}.secret");
                    Fault::new(path, format!("there is no secret `{secret}`"), remedy)
                }));
            }
        }
        faults
    }

    fn add(&mut self, flow: &str, fault: &Fault, places: &Places<'_>) {
        let place = match fault.offset {
            Some(offset) => parse::letter_of(places, &fault.path, offset),
            None => parse::place_of(places, &fault.path).clone(),
        };
        let remedy = fault.remedy.as_str();
        self.report.add(
            &place,
            &format!("flow.{flow}.{}", fault.path),
            format!("{} (in flow `{flow}`)", fault.what),
            remedy,
        );
    }
}

fn flows_exist(
    behaviours: &BTreeMap<String, Behaviours>,
    flows: &BTreeMap<String, Option<Arc<Compiled>>>,
    report: &mut Report,
) {
    for (name, its) in behaviours {
        let all = its.on.iter().map(|it| ("on", it)).chain(its.remote.iter().map(|it| ("remote", it)));
        for (side, (verb, behaviour)) in all.filter(|(_, (_, behaviour))| !flows.contains_key(&behaviour.run)) {
            let path = format!("type.{name}.{side}.{}", verb.word());
            let remedy = suggest(&behaviour.run, flows.keys().map(String::as_str));
            report.add(&behaviour.place, &path, format!("unknown flow `{}`", behaviour.run), remedy);
        }
    }
}

/// `call = "NAME"` of every step. Whether calls end is seen when they run: their depth is bounded.
fn called_flows_exist(
    declarations: &Declarations,
    flows: &BTreeMap<String, Option<Arc<Compiled>>>,
    report: &mut Report,
) {
    let tables: Vec<_> = declare::tables(declarations.flows.as_ref(), "flow", &mut Report::default()).collect();
    for (name, entry) in tables {
        let Some(Some(compiled)) = flows.get(name) else { continue };
        let (_, places) = parse::read(name, entry, &mut Report::default());
        for (step, it) in &compiled.definition.steps {
            let super::flow::definition::Kind::Call { flow, .. } = &it.kind else { continue };
            if !flows.contains_key(flow) {
                let path = format!("steps.{step}.call");
                let remedy = suggest(flow, flows.keys().map(String::as_str));
                let what = format!("unknown flow `{flow}`");
                report.add(parse::place_of(&places, &path), &format!("flow.{name}.{path}"), what, remedy);
            }
        }
    }
}

/// What stands between the quotes, when the expression is a text and nothing else.
fn quoted_text(source: &str) -> Option<&str> {
    let text = source.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    (!text.contains(['\'', '\\'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_shared_by_all_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Catalog>();
        shared::<Arc<Compiled>>();
    }
}
