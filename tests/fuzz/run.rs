//! Runs a target: first its seeds and whatever broke it before, then what mutation makes of them, until the time is over.
//!
//! A target says of each input in a word what it met, such as the name of a refusal. An input that meets something new
//! becomes a seed for the rest of the run, which stands in for the coverage that other fuzzers measure.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};

use super::mutate::{BYTES_MAX, Mutator};
use crate::dice::{Dice, is_long, number, seed};

/// Each target has so long in the short form, after its seeds.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(1);
/// What one input may take of a processor in a debug build; and in all, where other threads work for it.
const SPAN_MAX: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// What an input may add to the memory in use. What takes no time takes no memory.
const GROWTH_MAX: u64 = 512 << 20;
const NOTICED: Duration = Duration::from_millis(50);
const SLOW: &str = "it takes";
/// How long a failing input is made smaller.
const SHRINK: Duration = Duration::from_secs(5);
/// Seeds that a run may come to.
const POOL_MAX: usize = 4_000;

/// A parser, with what its inputs are made of. `law` panics where something does not hold.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    /// Folders and files below `tests/` whose inputs are seeds too.
    pub(crate) also: &'a [&'a str],
    /// Seeds that only a program can make.
    pub(crate) made: &'a [Vec<u8>],
    pub(crate) tokens: &'a [&'a str],
}

impl Target<'_> {
    pub(crate) fn run(&self, law: impl Fn(&[u8]) -> String) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let folder = tests.join("fuzz/corpus").join(self.name);
        let mut pool = inputs(&folder);
        pool.extend(self.also.iter().flat_map(|also| inputs(&tests.join(also))));
        pool.extend_from_slice(self.made);
        assert!(!pool.is_empty(), "{} has no seeds", self.name);
        let run =
            Run { name: self.name, folder, law: &law, clock: SystemClock::default(), peak: Cell::new(memory_peak()) };
        let mut met: BTreeMap<String, u64> = BTreeMap::new();
        let stretched = pool.iter().map(Vec::as_slice).chain(self.tokens.iter().map(|token| token.as_bytes()));
        let stretched: Vec<_> = stretched.filter(|piece| !piece.is_empty()).map(stretch).collect();
        for input in pool.iter().chain(&stretched) {
            *met.entry(run.check(input)).or_default() += 1;
        }
        let mut mutator = Mutator { dice: Dice::of(seed(self.name)), tokens: self.tokens };
        let end = run.clock.monotonic() + span();
        let mut tries = 0_u64;
        while run.clock.monotonic() < end {
            let input = mutator.mutated(&pool);
            let count = met.entry(run.check(&input)).or_default();
            *count += 1;
            tries += 1;
            if *count == 1 && pool.len() < POOL_MAX {
                pool.push(input);
            }
        }
        println!("{}: {tries} inputs, {met:?}", self.name);
    }
}

/// One target under way.
struct Run<'a> {
    name: &'a str,
    folder: PathBuf,
    law: &'a dyn Fn(&[u8]) -> String,
    clock: SystemClock,
    /// The memory in use when it was looked at last.
    peak: Cell<u64>,
}

impl Run<'_> {
    /// What an input met. One that breaks a law is made smaller and kept.
    fn check(&self, input: &[u8]) -> String {
        let (small, why) = match self.tried(input) {
            Ok(met) => return met,
            // What is slow would be slow again and again.
            Err(why) if why.starts_with(SLOW) => (input.to_vec(), why),
            Err(why) => self.smaller(input.to_vec(), why),
        };
        let path = self.folder.join(format!("found-{:08x}", crc32fast::hash(&small)));
        let kept = fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, &small));
        let kept =
            kept.map_or_else(|error| format!("could not be kept: {error}"), |()| format!("is {}", path.display()));
        let (name, shown) = (self.name, small[..small.len().min(400)].escape_ascii());
        panic!(
            "{name}: {why}\nThe input {kept}: \"{shown}\"\nRepeat it with `cargo test --profile ci --test fuzz {name}`, and keep it when it is mended."
        );
    }

    /// What was met, or why that must not be.
    fn tried(&self, input: &[u8]) -> Result<String, String> {
        let mut least = Duration::MAX;
        // Others work on this machine too: only what is slow again and again is slow.
        for _ in 0..3 {
            let (begin, worked) = (self.clock.monotonic(), worked());
            let met = catch_unwind(AssertUnwindSafe(|| (self.law)(input))).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
            })?;
            let took = self.clock.monotonic().saturating_sub(begin);
            if took > NOTICED {
                let (before, peak) = (self.peak.get(), memory_peak());
                self.peak.set(peak);
                if peak.saturating_sub(before) > GROWTH_MAX
                    && let Some(grown) = self.grown(input)
                {
                    return Err(format!("{SLOW} {grown} bytes of memory for {}", input.len()));
                }
            }
            let work = self::worked().map_or(took, |now| now.saturating_sub(worked.unwrap_or_default()));
            if work <= SPAN_MAX && took <= WAIT_MAX {
                return Ok(met);
            }
            least = least.min(took);
        }
        Err(format!("{SLOW} {least:?} for {} bytes", input.len()))
    }

    /// How much more memory the process takes for an input whenever it is tried, if that is too much: other targets work
    /// in it too.
    fn grown(&self, input: &[u8]) -> Option<u64> {
        let grown = || {
            forget_peak();
            let before = memory_peak();
            drop(catch_unwind(AssertUnwindSafe(|| (self.law)(input))));
            Some(memory_peak().saturating_sub(before)).filter(|grown| *grown > GROWTH_MAX)
        };
        (0..5).map(|_| grown()).try_fold(u64::MAX, |least, grown| Some(least.min(grown?)))
    }

    /// The same failure with less around it: pieces are taken away as long as something fails.
    fn smaller(&self, mut input: Vec<u8>, mut why: String) -> (Vec<u8>, String) {
        let end = self.clock.monotonic() + SHRINK;
        let mut piece = input.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < input.len() && self.clock.monotonic() < end {
                let mut less = input.clone();
                drop(less.drain(at..input.len().min(at + piece)));
                match self.tried(&less) {
                    Err(still) => (input, why) = (less, still),
                    Ok(_) => at += piece,
                }
            }
            piece /= 2;
        }
        (input, why)
    }
}

/// The inputs in a folder, or the one in a file.
fn inputs(path: &Path) -> Vec<Vec<u8>> {
    if path.is_file() {
        return vec![fs::read(path).unwrap()];
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect()
}

/// A piece again and again, as long as an input may be.
fn stretch(piece: &[u8]) -> Vec<u8> {
    piece.repeat(BYTES_MAX / piece.len().clamp(1, BYTES_MAX))
}

fn span() -> Duration {
    number("QUICKBEAM_TESTS_FUZZ").map_or(if is_long() { LONG } else { SHORT }, Duration::from_secs)
}

/// What this thread has had of a processor, where the system says so: others work on this machine too.
fn worked() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The most memory that this process has had, in bytes; nothing where the system does not say.
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}

/// Lets the peak begin anew at what is in use now, where the system can.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// An input as text, whatever bytes are in it.
pub(crate) fn text(input: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(input)
}

/// The name of a variant: `BadId { … }` is `BadId`.
pub(crate) fn named(met: &impl Debug) -> String {
    format!("{met:?}").chars().take_while(|letter| letter.is_alphabetic() || *letter == '(').take(60).collect()
}

/// What is asked without waiting for anything.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
