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
/// A customer of a provider is often given so many bits of IPv6, which are 65,536 networks of 64.
const WIDE_BITS: u32 = 48;
/// How much more such a network may get wrong than one address: providers put many customers into one as well.
const WIDE_TIMES: f64 = 8.0;

/// Who is told apart by an address: all of an IPv6 network of 64 bits, which is what one household or machine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    network: IpAddr,
    bits: u32,
}

/// What addresses have left, and which names proved themselves where.
///
/// An honest peer may share its address with a bad one: a NAT, a host with many tenants, or a proxy that is not listed
/// as trusted. So a name that signed truly from an address has a bucket of its own there. While it has something left,
/// requests in that name are listened to although the address has used up what it had: their key is known, so that they
/// cost one check of a signature and no fetch. Whoever forges that very name from that very address empties it, and then
/// has to share what the address gets: a proved name doubles what one may get wrong, and no more.
///
/// The same holds once more for the wider network of an IPv6 address, with larger buckets: a request has to pass both.
pub struct Strangers {
    clock: SharedClock,
    levels: Mutex<[Level; 2]>,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// The buckets of all networks of one width.
struct Level {
    /// Failures that a bucket holds, and gets back in a minute.
    burst: f64,
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
    /// Of the two networks of its address that which has nothing left.
    pub client: Client,
    pub wait: Duration,
    /// The first one since that had all that it gets.
    pub first: bool,
}

impl Client {
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(six) => Self::around(six, 64),
            four @ IpAddr::V4(_) => Self { network: four, bits: 32 },
        }
    }

    fn around(six: Ipv6Addr, bits: u32) -> Self {
        Self { network: IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << (128 - bits)))), bits }
    }

    /// The network around it. None of IPv4: there, many who have nothing to do with each other stand behind one NAT.
    fn wide(self) -> Option<Self> {
        match self.network {
            IpAddr::V6(six) => Some(Self::around(six, WIDE_BITS)),
            IpAddr::V4(_) => None,
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.network {
            IpAddr::V6(network) => write!(out, "{network}/{}", self.bits),
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

impl Level {
    fn new(burst: f64) -> Self {
        Self { burst, clients: Recent::new(ENTRIES_MAX), proved: Recent::new(ENTRIES_MAX) }
    }

    fn left(&mut self, client: Client, now: Duration) -> f64 {
        self.clients.get(&client).map_or(self.burst, |bucket| bucket.fill(self.burst, now))
    }

    /// The bucket of the first name that was proved there and has something left.
    fn proved(&mut self, client: Client, names: &[Authority], now: Duration) -> Option<&mut Bucket> {
        let has_some = |name: &&Authority| {
            let bucket = self.proved.get(&(client, (*name).clone()));
            bucket.is_some_and(|bucket| bucket.fill(self.burst, now) >= 1.0)
        };
        let name = names.iter().find(has_some)?;
        self.proved.get(&(client, name.clone()))
    }

    fn fail(&mut self, client: Client, names: &[Authority], now: Duration) {
        let burst = self.burst;
        if let Some(bucket) = self.proved(client, names, now) {
            return bucket.spend(burst);
        }
        if self.clients.get(&client).is_none() {
            self.clients.insert(client, Bucket::full(burst, now));
        }
        if let Some(bucket) = self.clients.get(&client) {
            bucket.fill(burst, now);
            bucket.spend(burst);
        }
    }

    fn prove(&mut self, client: Client, name: Authority, now: Duration) {
        let place = (client, name);
        if self.proved.get(&place).is_none() {
            self.proved.insert(place, Bucket::full(self.burst, now));
        }
    }

    /// Notes that it was said that a client has nothing left; false when it had been.
    fn tell(&mut self, client: Client) -> bool {
        self.clients.get(&client).is_some_and(|bucket| !std::mem::replace(&mut bucket.told, true))
    }
}

/// The networks of a client, each with the buckets of its width.
fn each(levels: &mut [Level; 2], client: Client) -> impl Iterator<Item = (&mut Level, Client)> {
    let places = [Some(client), client.wide()];
    levels.iter_mut().zip(places).filter_map(|(level, place)| Some((level, place?)))
}

impl Strangers {
    /// `per_minute` failures of one address, also in a burst.
    pub fn new(clock: SharedClock, per_minute: u64) -> Self {
        let burst = f64::from(u32::try_from(per_minute).unwrap_or(u32::MAX));
        let levels = Mutex::new([Level::new(burst), Level::new(burst * WIDE_TIMES)]);
        Self { clock, levels, failed: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Whether a request is listened to at all. `names` are the authorities that it claims to be signed by; they are read
    /// only when the address has nothing left.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&self, client: Client, names: impl FnOnce() -> Vec<Authority>) -> Result<(), Refused> {
        let now = self.clock.monotonic();
        if each(&mut self.levels.lock(), client).all(|(level, place)| level.left(place, now) >= 1.0) {
            return Ok(());
        }
        let names = names();
        for (level, client) in each(&mut self.levels.lock(), client) {
            let tokens = level.left(client, now);
            if tokens >= 1.0 || level.proved(client, &names, now).is_some() {
                continue;
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            let wait = Duration::from_secs_f64((1.0 - tokens) * 60.0 / level.burst);
            return Err(Refused { client, wait, first: level.tell(client) });
        }
        Ok(())
    }

    /// A request was not believed.
    pub fn fail(&self, client: Client, names: &[Authority]) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.monotonic();
        each(&mut self.levels.lock(), client).for_each(|(level, client)| level.fail(client, names, now));
    }

    /// A request that `name` signed came from there and was true.
    pub fn prove(&self, client: Client, name: &Authority) {
        let now = self.clock.monotonic();
        each(&mut self.levels.lock(), client).for_each(|(level, client)| level.prove(client, name.clone(), now));
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
        refused_as(client("192.0.2.1"), seconds * 1_000, first)
    }

    fn refused_as(client: Client, millis: u64, first: bool) -> Result<(), Refused> {
        Err(Refused { client, wait: Duration::from_millis(millis), first })
    }

    #[test]
    fn an_address_that_fails_too_often_waits_and_no_other_does() {
        let clock = StepClock::start();
        let strangers = Strangers::new(clock.clone(), 6);
        let (bad, good) = (client("192.0.2.1"), client("192.0.2.2"));
        for _ in 0..6 {
            assert_eq!(strangers.admit(bad, nobody), Ok(()));
            strangers.fail(bad, &nobody());
        }
        assert_eq!(strangers.admit(bad, nobody), refused(10, true));
        assert_eq!(strangers.admit(bad, nobody), refused(10, false));
        assert_eq!(strangers.admit(good, nobody), Ok(()));
        clock.step(Duration::from_secs(10));
        assert_eq!(strangers.admit(bad, nobody), Ok(()));
        strangers.fail(bad, &nobody());
        assert!(strangers.admit(bad, nobody).is_err());
        assert_eq!((strangers.failed().load(Ordering::Relaxed), strangers.refused().load(Ordering::Relaxed)), (7, 3));
        clock.step(Duration::from_secs(60));
        (0..6).for_each(|_| strangers.fail(bad, &nobody()));
        assert_eq!(strangers.admit(bad, nobody), refused(10, true), "what begins anew is said anew");
    }

    #[test]
    fn what_is_true_costs_nothing() {
        let strangers = Strangers::new(StepClock::start(), 1);
        for _ in 0..1_000 {
            assert_eq!(strangers.admit(client("192.0.2.1"), nobody), Ok(()));
            strangers.prove(client("192.0.2.1"), &name("a.example"));
        }
    }

    #[test]
    fn many_at_once_leave_a_debt_that_has_an_end() {
        let clock = StepClock::start();
        let strangers = Strangers::new(clock.clone(), 60);
        (0..10_000).for_each(|_| strangers.fail(client("192.0.2.1"), &nobody()));
        assert_eq!(strangers.admit(client("192.0.2.1"), nobody), refused(61, true));
        clock.step(Duration::from_secs(61));
        assert_eq!(strangers.admit(client("192.0.2.1"), nobody), Ok(()));
    }

    #[test]
    fn who_proved_its_name_is_heard_beside_a_bad_neighbour_until_it_is_forged() {
        let strangers = Strangers::new(StepClock::start(), 3);
        let here = client("192.0.2.1");
        let honest = || vec![name("honest.example")];
        strangers.prove(here, &name("honest.example"));
        (0..3).for_each(|_| strangers.fail(here, &[name("evil.example")]));
        assert!(strangers.admit(here, nobody).is_err());
        assert!(strangers.admit(here, || vec![name("evil.example")]).is_err());
        assert_eq!(strangers.admit(here, honest), Ok(()));
        // Proved here, which says nothing of anywhere else.
        let there = client("192.0.2.2");
        (0..3).for_each(|_| strangers.fail(there, &honest()));
        assert!(strangers.admit(there, honest).is_err());
        (0..3).for_each(|_| strangers.fail(here, &honest()));
        assert!(strangers.admit(here, honest).is_err(), "a name that was proved lets somebody go on for ever");
    }

    #[test]
    fn failures_in_a_proved_name_are_paid_by_the_address_once_the_name_has_nothing_left() {
        let strangers = Strangers::new(StepClock::start(), 3);
        let here = client("192.0.2.1");
        strangers.prove(here, &name("evil.example"));
        let mut let_in = 0;
        while strangers.admit(here, || vec![name("evil.example")]).is_ok() {
            strangers.fail(here, &[name("evil.example")]);
            let_in += 1;
        }
        assert_eq!(let_in, 6);
        strangers.prove(here, &name("evil.example"));
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

    fn in_network(network: u32, household: u32) -> Client {
        client(&format!("2001:db8:{network:x}:{household:x}::1"))
    }

    #[test]
    fn whoever_has_65536_networks_gets_eight_times_as_much_wrong_and_not_65536_times() {
        let clock = StepClock::start();
        let strangers = Strangers::new(clock.clone(), 6);
        let let_in = |from: u32| {
            let tries = (from..from + 1_000).map(|household| in_network(1, household));
            tries.filter(|it| strangers.admit(*it, nobody).map(|()| strangers.fail(*it, &nobody())).is_ok()).count()
        };
        assert_eq!(let_in(0), 48);
        let wide = Client { network: "2001:db8:1::".parse().unwrap(), bits: 48 };
        assert_eq!(strangers.admit(in_network(1, 5_000), nobody), refused_as(wide, 1_250, false));
        assert_eq!(wide.to_string(), "2001:db8:1::/48");
        assert_eq!(strangers.admit(in_network(2, 0), nobody), Ok(()), "the next network has nothing to do with it");
        clock.step(Duration::from_secs(60));
        assert_eq!(let_in(1_000), 48);
    }

    #[test]
    fn a_household_that_fails_too_often_waits_alone() {
        let strangers = Strangers::new(StepClock::start(), 6);
        (0..6).for_each(|_| strangers.fail(in_network(1, 1), &nobody()));
        assert_eq!(strangers.admit(in_network(1, 1), nobody), refused_as(in_network(1, 1), 10_000, true));
        assert_eq!(strangers.admit(in_network(1, 2), nobody), Ok(()));
    }

    #[test]
    fn who_proved_its_name_is_heard_in_a_bad_network_and_one_name_in_all_of_it_counts_once() {
        let strangers = Strangers::new(StepClock::start(), 3);
        let named = |it: &'static str| move || vec![name(it)];
        let honest = in_network(1, 9_999);
        strangers.prove(honest, &name("honest.example"));
        (0..24).for_each(|household| strangers.fail(in_network(1, household), &nobody()));
        assert!(strangers.admit(honest, nobody).is_err());
        assert_eq!(strangers.admit(honest, named("honest.example")), Ok(()));
        // One who signs truly in each of its networks, and then falsely.
        let evil = |household: u32| {
            let here = in_network(1, household);
            strangers.prove(here, &name("evil.example"));
            let heard = strangers.admit(here, named("evil.example"));
            heard.map(|()| strangers.fail(here, &[name("evil.example")])).is_ok()
        };
        assert_eq!((100..1_000).filter(|household| evil(*household)).count(), 24);
        assert_eq!(strangers.admit(honest, named("honest.example")), Ok(()));
    }

    #[test]
    fn addresses_of_ipv4_have_nothing_around_them() {
        let strangers = Strangers::new(StepClock::start(), 1);
        for number in 0..5_000_u32 {
            let four = IpAddr::V4((0xc000_0200 + number).into());
            assert_eq!(strangers.admit(Client::at(four), nobody), Ok(()));
            strangers.fail(Client::at(four), &nobody());
            assert!(strangers.admit(Client::at(four), nobody).is_err());
        }
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let strangers = Strangers::new(StepClock::start(), 1);
        for number in 0..u32::try_from(ENTRIES_MAX).unwrap() + 5_000 {
            let (here, name) = (in_network(number, 1), name(&format!("n{number}.example")));
            strangers.fail(here, &nobody());
            strangers.prove(here, &name);
        }
        for level in &*strangers.levels.lock() {
            assert_eq!((level.clients.len(), level.proved.len()), (ENTRIES_MAX, ENTRIES_MAX));
        }
    }
}
