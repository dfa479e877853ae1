//! `quickbeam store streams`: numbered JSON records.

use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json as object};

use super::super::client::{Ask, Client, ClientError, Door};
use super::super::context::Context;
use super::super::list::{self, items, more, text};
use super::super::table::named;
use super::{Listing, expected_number, expecting, json, name, stdin};
use crate::programs::Name;

/// Between two tries to follow a node that is being started again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Args {
    /// Append values, all or none
    Append {
        #[arg(value_parser = name)]
        name: Name,
        /// JSON, one or several; without any standard input: one value, or one on each line
        #[arg(allow_negative_numbers = true)]
        values: Vec<String>,
        /// Only if this is the number of the last record, or `none` if there never was one
        #[arg(long, value_name = "LAST", value_parser = expected_number)]
        expect: Option<String>,
    },
    /// Print records, each on a line
    Read(Reading),
    /// Print records, and then those that come, until interrupted
    Follow {
        #[arg(value_parser = name)]
        name: Name,
        /// The number of the first record [default: the first that is kept]
        #[arg(long)]
        from: Option<u64>,
    },
    /// The numbers of the first record kept and of the last one ever appended
    Last {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Forget all records before a number; the numbers go on
    Truncate {
        #[arg(value_parser = name)]
        name: Name,
        #[arg(long, value_name = "NUMBER")]
        before: u64,
    },
    /// Streams, with where they begin and end
    List(Listing),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reading {
    #[arg(value_parser = name)]
    name: Name,
    /// The number of the first record
    #[arg(long)]
    from: Option<u64>,
    /// The number of the last record
    #[arg(long)]
    to: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    backward: bool,
    /// How many, at most 200; all that there are without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: Option<u16>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Record>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    sequence: u64,
    /// Never read: a number of it may be larger than any that could be.
    value: Box<RawValue>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let client = context.client()?;
    match args {
        Args::Append { name, values, expect } => append(&client, context, name, values, expect.as_deref())?,
        Args::Read(reading) => read(&client, context, reading)?,
        Args::Follow { name, from } => follow(&client, context, name, *from)?,
        Args::Last { name } => {
            let ask = Ask { method: "HEAD", ..Ask::get(Door::Public, address(name)) };
            let (head, _) = client.whole(&ask)?;
            let number = |name| head.header(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
            let answer = object!({ "first": number("stream-first"), "last": number("stream-last") });
            context.print(&answer, |answer| text(answer, "last"));
        }
        Args::Truncate { name, before } => {
            let ask = Ask::change(Door::Public, "DELETE", address(name), context.key());
            let answer = client.ask(&ask.query("before", before.to_string()))?;
            let told = |answer: &Value| {
                format!("{name} begins with {} now; its last is {}", text(answer, "first"), text(answer, "last"))
            };
            context.print(&answer, told);
        }
        Args::List(listing) => {
            let ask = listing.of(Ask::get(Door::Public, "/store/streams"));
            let answer = list::fetch(&client, &ask, &listing.paging)?;
            context.print(&answer, shown);
        }
    }
    Ok(())
}

fn append(
    client: &Client,
    context: &Context,
    name: &Name,
    words: &[String],
    expect: Option<&str>,
) -> anyhow::Result<()> {
    let mut ask = expecting(Ask::change(Door::Public, "POST", address(name), context.key()), expect);
    let media = if words.is_empty() {
        ask.body = stdin()?;
        let one = json(&ask.body, "standard input").is_ok();
        if one { "application/json" } else { "application/x-ndjson" }
    } else {
        for word in words {
            ask.body.extend_from_slice(json(word.as_bytes(), word)?.as_bytes());
            ask.body.push(b'\n');
        }
        "application/x-ndjson"
    };
    let answer = client.ask(&ask.header("content-type", media))?;
    context.print(&answer, |answer| match (text(answer, "first"), text(answer, "last")) {
        (first, last) if first == last => format!("{name}: {last}"),
        (first, last) => format!("{name}: {first} to {last}"),
    });
    Ok(())
}

fn read(client: &Client, context: &Context, reading: &Reading) -> anyhow::Result<()> {
    let mut ask = Ask::get(Door::Public, address(&reading.name));
    ask = ask.query("limit", reading.limit.unwrap_or(200).to_string());
    ask = reading.from.iter().fold(ask, |ask, from| ask.query("from", from.to_string()));
    ask = reading.to.iter().fold(ask, |ask, to| ask.query("to", to.to_string()));
    if reading.backward {
        ask = ask.query("direction", "backward");
    }
    let mut left = reading.limit.map_or(usize::MAX, usize::from);
    let mut after: Option<String> = None;
    loop {
        let page = after.iter().fold(ask.clone(), |ask, after| ask.query("after", after));
        let (_, body) = client.whole(&page)?;
        let page: Page = serde_json::from_slice(&body)?;
        for record in page.items.iter().take(left) {
            print(context, record.sequence, record.value.get())?;
        }
        left = left.saturating_sub(page.items.len());
        after = page.next;
        if after.is_none() || left == 0 {
            return Ok(());
        }
    }
}

/// Goes on where it was when the node was started again meanwhile.
fn follow(client: &Client, context: &Context, name: &Name, from: Option<u64>) -> anyhow::Result<()> {
    let mut events = Events::default();
    loop {
        let mut ask = Ask::get(Door::Public, address(name)).header("accept", "text/event-stream");
        ask = from.iter().fold(ask, |ask, from| ask.query("from", from.to_string()));
        ask = events.last.iter().fold(ask, |ask, last| ask.header("last-event-id", last.to_string()));
        events.rest.clear();
        let ended = client
            .flow(&ask, None, &mut |_, piece| events.take(piece, |sequence, value| print(context, sequence, value)));
        if let Err(error) = ended {
            let away =
                matches!(error.downcast_ref(), Some(ClientError::NotRunning { .. } | ClientError::Broken { .. }));
            // Before the first record that is no interruption but the answer.
            if !away || events.last.is_none() {
                return Err(error);
            }
        }
        client.pause(AGAIN);
    }
}

/// Server-sent events, as far as this node makes them.
#[derive(Default)]
struct Events {
    last: Option<u64>,
    rest: Vec<u8>,
}

/// Where a stream ends that is shorter than it was.
#[derive(Deserialize)]
struct Ends {
    last: u64,
}

impl Events {
    fn take(&mut self, piece: &[u8], mut event: impl FnMut(u64, &str) -> std::io::Result<()>) -> std::io::Result<()> {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(id), Some(data)) = (field("id: ").and_then(|id| id.parse().ok()), field("data: ")) {
                event(id, data)?;
                self.last = Some(id);
                continue;
            }
            let data = field("data: ").unwrap_or_default();
            match field("event: ") {
                Some("truncated") => eprintln!("records were forgotten meanwhile: {data}"),
                Some("rewound") => {
                    eprintln!(
                        "the stream is shorter than it was, as after the restore of a backup: {data}; read it anew"
                    );
                    let ends: Option<Ends> = serde_json::from_str(data).ok();
                    self.last = ends.map(|ends| ends.last).or(self.last);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn print(context: &Context, sequence: u64, value: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match context.json {
        true => writeln!(out, "{{\"sequence\":{sequence},\"value\":{value}}}"),
        false => writeln!(out, "{sequence}\t{value}"),
    }?;
    out.flush()
}

fn shown(answer: &Value) -> String {
    let row = |item: &Value| vec![text(item, "name"), text(item, "first"), text(item, "last")];
    let rows: Vec<_> = items(answer).iter().map(row).collect();
    named(&["name", "first", "last"], &rows, "no streams") + &more(answer)
}

fn address(name: &Name) -> String {
    format!("/store/streams/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_are_cut() {
        let sent = b"retry: 1000\n\nid: 3\ndata: {\"a\":1}\n\n: still here\n\nid: 4\ndata: \"x\"\n\nid: 5\nda";
        for size in 1..sent.len() {
            let (mut events, mut seen) = (Events::default(), Vec::new());
            for piece in sent.chunks(size) {
                let event = |id, value: &str| {
                    seen.push((id, value.to_owned()));
                    Ok(())
                };
                events.take(piece, event).unwrap();
            }
            assert_eq!(seen, [(3, "{\"a\":1}".to_owned()), (4, "\"x\"".to_owned())]);
            assert_eq!(events.last, Some(4));
        }
    }

    #[test]
    fn a_stream_that_is_shorter_than_it_was_is_followed_from_its_new_end() {
        let mut events = Events { last: Some(99), ..Events::default() };
        let nothing = |_, _: &str| panic!("no record came");
        events.take(b"event: rewound\ndata: {\"last\":3}\n\n", nothing).unwrap();
        assert_eq!(events.last, Some(3));
    }
}
