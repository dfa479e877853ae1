//! How often requests of one address may turn out not to be believed, before nobody there is listened to for a while.
//!
//! Only failures cost: what is true is limited by whom it is from ([`super::rate`]), so that a relay or proxy with many
//! honest peers behind it is never cut for being busy.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::recent::Recent;
use crate::clock::SharedClock;
use crate::domains::identity::Authority;

/// Addresses remembered, and names proved at them; the quietest is forgotten first, which only refills its bucket.
const ENTRIES_MAX: usize = 10_000;

/// Who is told apart by an address: all of an IPv6 network of 64 bits, which is what one household or machine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(IpAddr);

/// What addresses have left, and which names proved themselves where.
///
/// An honest peer may share its address with a bad one: a NAT, a host with many tenants, or a proxy that is not listed
/// as trusted. So a name that signed truly from an address has a bucket of its own there. While it has something left,
/// requests in that name are listened to although the address has used up what it had: their key is known, so that they
/// cost one check of a signature and no fetch. Whoever forges that very name from that very address empties it, and then
/// has to share what the address gets: a proved name doubles what one may get wrong, and no more.
pub struct Strangers {
    clock: SharedClock,
    /// Failures that a bucket holds, and gets back in a minute.
    burst: f64,
    state: Mutex<State>,
    failed: AtomicU64,
    refused: AtomicU64,
}

struct State {
    clients: Recent<Client, Bucket>,
    proved: Recent<(Client, Authority), Bucket>,
}

struct Bucket {
    tokens: f64,
    at: Duration,
    /// It was said that it is empty.
    told: bool,
}

/// Why a request is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub wait: Duration,
    /// The first one since the address had all that it gets.
    pub first: bool,
}

impl Client {
    pub fn at(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
            four @ IpAddr::V4(_) => four,
        })
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V6(network) => write!(out, "{network}/64"),
            IpAddr::V4(address) => address.fmt(out),
        }
    }
}

impl Bucket {
    fn full(burst: f64, now: Duration) -> Self {
        Self { tokens: burst, at: now, told: false }
    }

    /// What is in it now.
    fn fill(&mut self, burst: f64, now: Duration) -> f64 {
        let grown = now.saturating_sub(self.at).as_secs_f64() * burst / 60.0;
        (self.tokens, self.at) = ((self.tokens + grown).min(burst), now);
        self.told &= self.tokens < burst;
        self.tokens
    }

    /// Requests that came at once were all let in before the first of them failed: they leave a debt, up to a whole bucket.
    fn spend(&mut self, burst: f64) {
        self.tokens = (self.tokens - 1.0).max(-burst);
    }
}

impl Strangers {
    /// `per_minute` failures of one address, also in a burst.
    pub fn new(clock: SharedClock, per_minute: u64) -> Self {
        let burst = f64::from(u32::try_from(per_minute).unwrap_or(u32::MAX));
        let state = State { clients: Recent::new(ENTRIES_MAX), proved: Recent::new(ENTRIES_MAX) };
        Self { clock, burst, state: Mutex::new(state), failed: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Whether a request is listened to at all. `names` are the authorities that it claims to be signed by; they are read
    /// only when the address has nothing left.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&self, client: Client, names: impl FnOnce() -> Vec<Authority>) -> Result<(), Refused> {
        let now = self.clock.monotonic();
        let left = |bucket: &mut Bucket| bucket.fill(self.burst, now);
        let tokens = self.state.lock().clients.get(&client).map_or(self.burst, left);
        if tokens >= 1.0 {
            return Ok(());
        }
        let names = names();
        let mut state = self.state.lock();
        let proved = |name| state.proved.get(&(client, name)).is_some_and(|bucket| left(bucket) >= 1.0);
        if names.into_iter().any(proved) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let first = state.clients.get(&client).is_some_and(|bucket| !std::mem::replace(&mut bucket.told, true));
        Err(Refused { wait: Duration::from_secs_f64((1.0 - tokens) * 60.0 / self.burst), first })
    }

    /// A request was not believed.
    pub fn fail(&self, client: Client, names: Vec<Authority>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        for name in names {
            if let Some(bucket) = state.proved.get(&(client, name))
                && bucket.fill(self.burst, now) >= 1.0
            {
                return bucket.spend(self.burst);
            }
        }
        if state.clients.get(&client).is_none() {
            state.clients.insert(client, Bucket::full(self.burst, now));
        }
        if let Some(bucket) = state.clients.get(&client) {
            bucket.fill(self.burst, now);
            bucket.spend(self.burst);
        }
    }

    /// A request that `name` signed came from there and was true.
    pub fn prove(&self, client: Client, name: Authority) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        let place = (client, name);
        if state.proved.get(&place).is_none() {
            state.proved.insert(place, Bucket::full(self.burst, now));
        }
    }

    /// Requests that were not believed.
    pub fn failed(&self) -> &AtomicU64 {
        &self.failed
    }

    /// Requests that were not listened to.
    pub fn refused(&self) -> &AtomicU64 {
        &self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::for_tests::StepClock;

    fn client(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    fn name(text: &str) -> Authority {
        Authority::parse(text).unwrap()
    }

    fn nobody() -> Vec<Authority> {
        Vec::new()
    }

    fn refused(seconds: u64, first: bool) -> Result<(), Refused> {
        Err(Refused { wait: Duration::from_secs(seconds), first })
    }

    #[test]
    fn an_address_that_fails_too_often_waits_and_no_other_does() {
        let clock = StepClock::start();
        let strangers = Strangers::new(clock.clone(), 6);
        let (bad, good) = (client("192.0.2.1"), client("192.0.2.2"));
        for _ in 0..6 {
            assert_eq!(strangers.admit(bad, nobody), Ok(()));
            strangers.fail(bad, nobody());
        }
        assert_eq!(strangers.admit(bad, nobody), refused(10, true));
        assert_eq!(strangers.admit(bad, nobody), refused(10, false));
        assert_eq!(strangers.admit(good, nobody), Ok(()));
        clock.step(Duration::from_secs(10));
        assert_eq!(strangers.admit(bad, nobody), Ok(()));
        strangers.fail(bad, nobody());
        assert!(strangers.admit(bad, nobody).is_err());
        assert_eq!((strangers.failed().load(Ordering::Relaxed), strangers.refused().load(Ordering::Relaxed)), (7, 3));
        clock.step(Duration::from_secs(60));
        (0..6).for_each(|_| strangers.fail(bad, nobody()));
        assert_eq!(strangers.admit(bad, nobody), refused(10, true), "what begins anew is said anew");
    }

    #[test]
    fn what_is_true_costs_nothing() {
        let strangers = Strangers::new(StepClock::start(), 1);
        for _ in 0..1_000 {
            assert_eq!(strangers.admit(client("192.0.2.1"), nobody), Ok(()));
            strangers.prove(client("192.0.2.1"), name("a.example"));
        }
    }

    #[test]
    fn many_at_once_leave_a_debt_that_has_an_end() {
        let clock = StepClock::start();
        let strangers = Strangers::new(clock.clone(), 60);
        (0..10_000).for_each(|_| strangers.fail(client("192.0.2.1"), nobody()));
        assert_eq!(strangers.admit(client("192.0.2.1"), nobody), refused(61, true));
        clock.step(Duration::from_secs(61));
        assert_eq!(strangers.admit(client("192.0.2.1"), nobody), Ok(()));
    }

    #[test]
    fn who_proved_its_name_is_heard_beside_a_bad_neighbour_until_it_is_forged() {
        let strangers = Strangers::new(StepClock::start(), 3);
        let here = client("192.0.2.1");
        let honest = || vec![name("honest.example")];
        strangers.prove(here, name("honest.example"));
        (0..3).for_each(|_| strangers.fail(here, vec![name("evil.example")]));
        assert!(strangers.admit(here, nobody).is_err());
        assert!(strangers.admit(here, || vec![name("evil.example")]).is_err());
        assert_eq!(strangers.admit(here, honest), Ok(()));
        // Proved here, which says nothing of anywhere else.
        let there = client("192.0.2.2");
        (0..3).for_each(|_| strangers.fail(there, honest()));
        assert!(strangers.admit(there, honest).is_err());
        (0..3).for_each(|_| strangers.fail(here, honest()));
        assert!(strangers.admit(here, honest).is_err(), "a name that was proved lets somebody go on for ever");
    }

    #[test]
    fn failures_in_a_proved_name_are_paid_by_the_address_once_the_name_has_nothing_left() {
        let strangers = Strangers::new(StepClock::start(), 3);
        let here = client("192.0.2.1");
        strangers.prove(here, name("evil.example"));
        let mut let_in = 0;
        while strangers.admit(here, || vec![name("evil.example")]).is_ok() {
            strangers.fail(here, vec![name("evil.example")]);
            let_in += 1;
        }
        assert_eq!(let_in, 6);
        strangers.prove(here, name("evil.example"));
        assert!(strangers.admit(here, || vec![name("evil.example")]).is_err(), "proving oneself again fills nothing");
    }

    #[test]
    fn a_network_of_64_bits_is_one_client_and_a_mapped_address_is_what_it_maps() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:1:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let strangers = Strangers::new(StepClock::start(), 1);
        for number in 0..u32::try_from(ENTRIES_MAX).unwrap() + 5_000 {
            strangers.fail(Client::at(IpAddr::V4(number.into())), nobody());
        }
        assert_eq!(strangers.state.lock().clients.len(), ENTRIES_MAX);
    }
}
