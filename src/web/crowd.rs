//! How many connections one address has: beyond a bound it gets no more, so that the files that a process may open last
//! for everybody else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Network;
use crate::wire::strangers::Client;

/// Connections by address; there are no more entries than connections.
#[derive(Debug, Clone)]
pub struct Crowd {
    most: u64,
    /// All clients come from these.
    trusted: Arc<[Network]>,
    open: Arc<Mutex<BTreeMap<Client, u64>>>,
}

/// One connection, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Crowd,
    client: Option<Client>,
}

impl Crowd {
    /// So many of each address but those of trusted proxies.
    pub fn new(most: u64, trusted: &[Network]) -> Self {
        Self { most, trusted: trusted.into(), open: Arc::default() }
    }

    /// A place for one more connection; none when its address has too many.
    pub fn enter(&self, address: Option<IpAddr>) -> Option<Seat> {
        let stranger = address.filter(|address| !self.trusted.iter().any(|network| network.contains(*address)));
        let client = stranger.map(Client::at);
        if let Some(client) = client {
            let mut open = self.open.lock();
            let count = open.entry(client).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Seat { crowd: self.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut open = self.crowd.open.lock();
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let crowd = Crowd::new(2, &[]);
        let enter = |text: &str| crowd.enter(Some(text.parse().unwrap()));
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none() && enter("::ffff:192.0.2.1").is_none());
        let _other = enter("192.0.2.2").unwrap();
        drop(first);
        assert!(enter("192.0.2.1").is_some());
    }

    #[test]
    fn a_trusted_proxy_has_as_many_as_come() {
        let crowd = Crowd::new(1, &[Network::parse("10.0.0.0/8").unwrap()]);
        let seats: Vec<Option<Seat>> = (0..100).map(|_| crowd.enter(Some("10.0.0.1".parse().unwrap()))).collect();
        assert!(seats.iter().all(Option::is_some));
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone() {
        let crowd = Crowd::new(1, &[]);
        drop(crowd.enter(Some("192.0.2.1".parse().unwrap())));
        assert!(crowd.open.lock().is_empty());
    }
}
