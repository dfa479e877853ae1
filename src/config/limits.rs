//! Every limit of a node, with its default and its bounds: the one place that names them.

use std::time::Duration;

use super::mistake::Report;
use super::reader::{Section, show_bytes, show_span};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Makes the struct, its defaults, its reader and its list of one table, so that no limit is forgotten in one of them.
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $kind:ident($default:expr, $least:expr, $most:expr);)*) => {
        /// How much of everything a node takes. Settings of `[limits]`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            pub(super) fn read(section: &mut Section<'_>, report: &mut Report) -> Self {
                Self { $($name: section.$kind(stringify!($name), $least..=$most, report).unwrap_or($default),)* }
            }

            /// All of them: name, what it limits, and its default as a configuration would say it.
            pub fn list() -> Vec<(&'static str, String, String)> {
                vec![$((stringify!($name), concat!($($doc),*).trim().to_owned(), show::$kind($default)),)*]
            }
        }
    };
}

limits! {
    /// Bytes of a request's body.
    body: u64 = bytes(MIB, KIB, 64 * MIB);
    /// Bytes of a request's headers together.
    headers: u64 = bytes(16 * KIB, KIB, 256 * KIB);
    /// Headers of a request.
    headers_count: u64 = integer(64, 8, 1_000);
    /// For the headers of a request to arrive.
    header_timeout: Duration = span(S * 10, MS * 100, MINUTE * 5);
    /// For the body of a request to arrive.
    body_timeout: Duration = span(S * 30, MS * 100, HOUR);
    /// For a client to take the next 16 KiB of an answer.
    write_timeout: Duration = span(S * 30, MS * 100, HOUR);
    /// How deep lists and tables of JSON may stand in one another.
    json_depth: u64 = integer(64, 4, 120);
    /// Bytes of a blob that programs store.
    blob: u64 = bytes(256 * MIB, KIB, TIB);
    /// Requests that follow a stream at the same time.
    followers: u64 = integer(256, 1, 65_536);
    /// For a client to take the next 64 KiB of a backup; a snapshot of the store is held as long as it goes on.
    backup_stall: Duration = span(MINUTE, S, HOUR);
    /// Bytes of a fetched key document.
    key_fetch: u64 = bytes(64 * KIB, KIB, MIB);
    /// For a key to be fetched.
    key_fetch_timeout: Duration = span(S * 5, MS * 100, MINUTE);
    /// For a delivery to be answered.
    delivery_timeout: Duration = span(S * 30, MS * 100, MINUTE * 5);
    /// Messages that wait for one actor in memory.
    mailbox: u64 = integer(1_024, 8, 65_536);
    /// Requests of one peer that are worked on at the same time.
    peer_in_flight: u64 = integer(32, 1, 4_096);
    /// Activities that one peer may send in a second, in bursts.
    peer_rate: u64 = integer(100, 1, 1_000_000);
    /// Requests from one address in a minute that may not be believed, in bursts; eight times that from an IPv6 /48.
    address_failures: u64 = integer(120, 1, 1_000_000);
    /// Connections of one address at the same time; those of trusted proxies are not counted.
    address_connections: u64 = integer(1_024, 1, 1_000_000);
    /// Deliveries to one peer under way at the same time.
    delivery_parallel: u64 = integer(16, 1, 256);
    /// Before a failed delivery is tried for the second time; twice as long each time after.
    delivery_delay: Duration = span(S, MS * 10, HOUR);
    /// The longest time between two tries.
    delivery_delay_max: Duration = span(HOUR, S, DAY);
    /// After which a delivery that never worked is a dead letter.
    delivery_age_max: Duration = span(DAY * 7, MINUTE, DAY * 90);
    /// How long an activity that came is remembered, so that it takes effect once.
    dedupe: Duration = span(DAY * 90, DAY, DAY * 3650);
    /// How far the clock of a signer may differ from ours.
    signature_window: Duration = span(S * 300, S, HOUR);
    /// Steps, elements and tries of one flow instance.
    flow_steps: u64 = integer(10_000, 1, 1_000_000);
    /// Bytes of JSON that one flow instance keeps in results.
    flow_results: u64 = bytes(MIB, KIB, 64 * MIB);
}

/// A default as a configuration would say it, by the kind of limit.
mod show {
    use super::{Duration, show_bytes, show_span};

    pub(super) fn bytes(default: u64) -> String {
        show_bytes(default)
    }

    pub(super) fn integer(default: u64) -> String {
        default.to_string()
    }

    pub(super) fn span(default: Duration) -> String {
        show_span(default)
    }
}
