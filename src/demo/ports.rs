//! The four ports of a demo: two nodes, each with its administration.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::clock::SharedClock;

const BASE: u16 = 8_001;
/// The administration of a node is so much higher than the node.
const ADMIN: u16 = 1_000;
/// Where free ports are looked for: below those that systems give to outgoing connections, one of which could take the
/// port of a node while it is down.
const FREE: std::ops::Range<u16> = 15_000..31_000;
const TRIES: usize = 200;

/// The ports from a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) base: u16,
}

/// Why there are no ports.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    #[error("port {port} is taken: stop what listens on 127.0.0.1:{port}, or choose others with --port-base")]
    Taken { port: u16 },
    #[error("no four free ports were found: choose some with --port-base")]
    NoneFree,
    #[error("the kept demo has its ports from {kept} on, for ever: leave --port-base {given} out, or leave --keep out")]
    Other { kept: u16, given: u16 },
}

impl Ports {
    /// Those that were asked for, the usual ones, or with `free` some that are free.
    pub(super) fn choose(asked: Option<u16>, free: bool, clock: &SharedClock) -> Result<Self, PortsError> {
        if asked.is_some() || !free {
            return Self { base: asked.unwrap_or(BASE) }.check();
        }
        let somewhere = || {
            let [a, b, ..] = clock.random();
            FREE.start + u16::from_be_bytes([a, b]) % (FREE.end - FREE.start)
        };
        let mut tries = (0..TRIES).map(|_| Self { base: somewhere() });
        tries.find(|ports| ports.check().is_ok()).ok_or(PortsError::NoneFree)
    }

    /// Those that a kept demo has always had: they are part of every id.
    pub(super) fn again(kept: u16, asked: Option<u16>) -> Result<Self, PortsError> {
        match asked {
            Some(given) if given != kept => Err(PortsError::Other { kept, given }),
            _ => Self { base: kept }.check(),
        }
    }

    pub(super) fn public(self, nth: u16) -> u16 {
        self.base + nth
    }

    pub(super) fn admin(self, nth: u16) -> u16 {
        self.base + ADMIN + nth
    }

    fn check(self) -> Result<Self, PortsError> {
        let all = [self.public(0), self.public(1), self.admin(0), self.admin(1)];
        let taken = |port: &u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).is_err();
        match all.into_iter().find(taken) {
            Some(port) => Err(PortsError::Taken { port }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_helps() {
        let clock = SystemClock::shared();
        let free = Ports::choose(None, true, &clock).unwrap();
        for taken in [free.public(0), free.public(1), free.admin(0), free.admin(1)] {
            let _held = TcpListener::bind(("127.0.0.1", taken)).unwrap();
            let error = Ports::choose(Some(free.base), false, &clock).unwrap_err().to_string();
            assert!(error.contains(&taken.to_string()) && error.contains("--port-base"), "{error}");
        }
    }

    #[test]
    fn a_kept_demo_keeps_its_ports() {
        let free = Ports::choose(None, true, &SystemClock::shared()).unwrap();
        assert_eq!(Ports::again(free.base, None).unwrap(), free);
        assert_eq!(Ports::again(free.base, Some(free.base)).unwrap(), free);
        assert!(matches!(Ports::again(free.base, Some(1_024)), Err(PortsError::Other { .. })));
    }
}
