//! Too much, or too slowly: whoever does so is cut off or told to wait, and everybody else is served meanwhile.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use tokio::net::TcpSocket;

use super::{ANSWER_MAX, MEMORY_MAX, Stage};
use crate::harness::{Plan, eventually};
use crate::http::{Answer, Call};
use crate::peer::{Peer, Reply};

/// How many of these there are.
pub(super) const FLOODS: usize = 14;

/// Connections of one flood.
const CLIENTS: usize = 100;
/// A drop falls so often: sooner than any time-out ends.
const DROP: Duration = Duration::from_millis(200);
/// What an address may get wrong in these tests; in a minute, so that hardly any of it comes back while one runs.
const FAILURES: usize = 20;
const FLOOD: usize = 1_000;

fn few_failures(plan: Plan) -> Plan {
    plan.limit("address_failures = 20")
}

fn connect(stage: &Stage) -> TcpStream {
    let stream = TcpStream::connect_timeout(&stage.node.plan.spot.public, ANSWER_MAX).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream
}

/// Sends from another address of this machine.
fn send_from(stage: &Stage, address: Ipv4Addr, call: &Call) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let to = stage.node.plan.spot.public;
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    let mut stream = stream;
    stream.write_all(call.head(&stage.node.authority()).as_bytes()).unwrap();
    stream.write_all(&call.body).unwrap();
    Answer::read(stream).unwrap()
}

/// Whether the node has ended the connection, of which whatever it says is read.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4_096];
    let ended = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(_) => break true,
        }
    };
    stream.set_nonblocking(false).unwrap();
    ended
}

/// Lets a byte fall on each connection now and then, until the node has ended them all; others are served meanwhile.
#[track_caller]
fn drips(stage: &Stage, mut streams: Vec<TcpStream>) {
    let memory = stage.memory();
    let clock = SystemClock::default();
    eventually("all slow connections are cut", || {
        streams.retain_mut(|stream| stream.write_all(b"x").is_ok() && !has_ended(stream));
        let asked = clock.monotonic();
        stage.node.send(&Call::get("/actor")).expect(200);
        let took = clock.monotonic().saturating_sub(asked);
        assert!(took <= ANSWER_MAX, "an honest reader waited for {took:?}");
        std::thread::sleep(DROP);
        streams.is_empty().then_some(())
    });
    stage.serves_others();
    let grown = stage.memory().saturating_sub(memory);
    assert!(grown <= MEMORY_MAX, "{grown} bytes are left behind");
}

#[test]
fn heads_that_drip_are_cut() {
    let stage = Stage::new(|plan| plan.limit("header_timeout = \"1s\""));
    let drip = |_| {
        let mut stream = connect(&stage);
        stream.write_all(format!("GET /actor HTTP/1.1\r\nhost: {}\r\nx: ", stage.node.authority()).as_bytes()).unwrap();
        stream
    };
    let streams = (0..CLIENTS).map(drip).collect();
    drips(&stage, streams);
}

#[test]
fn heads_that_drip_behind_a_whole_request_are_cut() {
    let stage = Stage::new(|plan| plan.limit("header_timeout = \"1s\""));
    let head = format!("GET /actor HTTP/1.1\r\nhost: {}\r\n", stage.node.authority());
    let drip = |_| {
        let mut stream = connect(&stage);
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        stream.write_all(format!("{head}x: ").as_bytes()).unwrap();
        stream
    };
    let streams = (0..CLIENTS).map(drip).collect();
    drips(&stage, streams);
}

#[test]
fn a_connection_that_waits_between_two_requests_is_not_cut_for_that() {
    let stage = Stage::new(|plan| plan.limit("header_timeout = \"500ms\""));
    let mut stream = connect(&stage);
    for _ in 0..3 {
        let call = format!("GET /actor HTTP/1.1\r\nhost: {}\r\n\r\n", stage.node.authority());
        stream.write_all(call.as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(1_200));
    }
}

#[test]
fn bodies_that_drip_are_cut() {
    let stage = Stage::new(|plan| plan.limit("body_timeout = \"1s\""));
    let call = stage.signed().call().header("content-length", "100000");
    let head = call.head(&stage.node.authority());
    let drip = |_| {
        let mut stream = connect(&stage);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let streams = (0..CLIENTS).map(drip).collect();
    drips(&stage, streams);
}

#[test]
fn bodies_that_nobody_reads_are_not_waited_for() {
    let stage = Stage::new(|plan| plan.limit("header_timeout = \"1s\""));
    let drip = |_| {
        let mut stream = connect(&stage);
        let head =
            format!("POST /nothing HTTP/1.1\r\nhost: {}\r\ncontent-length: 100000\r\n\r\n", stage.node.authority());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let streams = (0..CLIENTS).map(drip).collect();
    drips(&stage, streams);
}

fn open_files(stage: &Stage) -> usize {
    fs::read_dir(format!("/proc/{}/fd", stage.node.process_id())).unwrap().count()
}

#[test]
fn readers_that_do_not_read_are_cut() {
    let stage = Stage::new(|plan| plan.limit("write_timeout = \"1s\""));
    let token = stage.node.new_token("blobs", &["store:read", "store:write"]);
    let blob = Call::new("PUT", "/store/blobs/large").token(&token).key("large").body(vec![7; 16 << 20]);
    let put = stage.node.send(&blob);
    assert!([200, 201].contains(&put.status), "{put}");
    let before = open_files(&stage);
    let head = Call::get("/store/blobs/large").token(&token).head(&stage.node.authority());
    let mut streams: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = connect(&stage);
            stream.write_all(head.as_bytes()).unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200");
            stream
        })
        .collect();
    // Half of them take a byte now and then.
    eventually("all of them are cut", || {
        for stream in &mut streams[CLIENTS / 2..] {
            drop(stream.read(&mut [0; 1]));
        }
        stage.node.send(&Call::get("/actor")).expect(200);
        (open_files(&stage) < before + 10).then_some(())
    });
    let got: u64 = streams.iter_mut().map(|stream| std::io::copy(stream, &mut std::io::sink()).unwrap_or(0)).sum();
    assert!(got < CLIENTS as u64 * (16 << 20), "all was taken after all");
    stage.serves_others();
}

/// How many were believed to be worth a look, of a thousand requests.
fn looked_at(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        answer.refused_with(429, "could not be believed");
        let wait = answer.header("retry-after").and_then(|after| after.parse().ok());
        assert!(wait.is_some_and(|wait: u64| (1..=120).contains(&wait)), "{answer}");
    }
    answers.iter().filter(|answer| answer.status != 429).count()
}

/// Waits until the address has one failure back, and uses it up: for the next seconds there is none.
#[track_caller]
fn exhausts(fail: impl Fn() -> Answer) {
    eventually("there is nothing left", || (fail().status == 429).then_some(()));
    eventually("one failure has come back", || (fail().status != 429).then_some(()));
}

fn metric(stage: &Stage, name: &str) -> u64 {
    let text = stage.node.admin("GET", "/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("quickbeam_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not counted in {text}")).parse().unwrap()
}

#[test]
fn an_address_that_sends_false_signatures_is_told_to_wait_and_no_other_is() {
    let stage = Stage::new(few_failures);
    stage.node.settle();
    let (memory, asked) = (stage.memory(), stage.connections());
    let forged = |peer: &Peer| {
        let signed = peer.sign(&stage.node, &peer.activity("Follow", stage.node.actor().into()));
        signed.change(|it| it.forged = true).call()
    };
    let answers: Vec<Answer> = (0..FLOOD).map(|_| stage.node.send(&forged(&stage.peer))).collect();
    // What its name has, what the address has, and what comes back meanwhile.
    let looked = looked_at(&answers);
    assert!((FAILURES..=FAILURES * 4).contains(&looked), "{looked} of {FLOOD} were looked at");
    assert_eq!(stage.connections(), asked, "keys were fetched");
    assert!(metric(&stage, "turned_away_total") >= (FLOOD - looked) as u64);
    assert!(metric(&stage, "unproved_total") >= looked as u64);
    // A name that is new here would cost a fetch, and is not even read.
    let unsigned = Call::post("/inbox").json(&stage.follow());
    exhausts(|| stage.node.send(&unsigned));
    stage.neighbour.send(&stage.node, &stage.neighbour.create("one")).refused(429);
    assert_eq!(stage.connections(), asked, "a key was fetched for an address that has to wait");
    // Pages ask to be believed by nobody, and other addresses have done nothing.
    stage.node.send(&Call::get("/actor")).expect(200);
    let honest = stage.neighbour.sign(&stage.node, &stage.neighbour.create("one")).call();
    let answer = send_from(&stage, Ipv4Addr::new(127, 0, 0, 77), &honest);
    assert_eq!(answer.status, 202, "{answer}");
    let grown = stage.memory().saturating_sub(memory);
    assert!(grown <= MEMORY_MAX, "{grown} bytes are left behind");
}

#[test]
fn who_was_believed_at_an_address_is_heard_beside_a_bad_neighbour() {
    let stage = Stage::new(few_failures);
    let unsigned = Call::post("/inbox").json(&stage.follow());
    let answers: Vec<Answer> = (0..FAILURES * 5).map(|_| stage.node.send(&unsigned)).collect();
    assert!(looked_at(&answers) < FAILURES * 3);
    exhausts(|| stage.node.send(&unsigned));
    stage.neighbour.send(&stage.node, &stage.neighbour.create("one")).refused(429);
    stage.serves_others();
}

#[test]
fn keys_that_are_not_there_are_asked_for_seldom() {
    let stage = Stage::new(few_failures);
    stage.peer.documents(|_| Reply::status(404));
    let before = stage.peer.connections();
    let ghost = |number: usize| {
        let mut follow = stage.follow();
        let actor = format!("{}/ghosts/{number}", stage.peer.base());
        follow["actor"] = actor.as_str().into();
        let signed = stage.peer.sign(&stage.node, &follow);
        stage.node.send(&signed.change(|it| it.key_id = format!("{actor}#key")).call())
    };
    let answers: Vec<Answer> = (0..FAILURES / 2).map(|_| ghost(0)).collect();
    assert!(answers.iter().all(|answer| answer.status == 401), "{answers:?}");
    // Once as a stranger, and once signed.
    assert!(stage.peer.connections() - before <= 2, "a key that is not there was asked for again at once");
    let answers: Vec<Answer> = (1..FLOOD / 2).map(ghost).collect();
    let looked = looked_at(&answers);
    assert!(looked <= FAILURES * 3, "{looked} were looked at");
    assert!(stage.peer.connections() - before <= (looked + 1) * 2);
}

fn forwarded(stage: &Stage, address: &str) -> Answer {
    stage.node.send(&Call::post("/inbox").json(&stage.follow()).header("x-forwarded-for", address))
}

#[test]
fn behind_a_trusted_proxy_each_address_counts_for_itself() {
    let trusted = |plan: Plan| few_failures(plan).edit("trusted_proxies = []", "trusted_proxies = [\"127.0.0.0/8\"]");
    let stage = Stage::new(trusted);
    let answers: Vec<Answer> = (0..FAILURES * 5).map(|_| forwarded(&stage, "198.51.100.1")).collect();
    assert!((FAILURES..FAILURES * 3).contains(&looked_at(&answers)));
    forwarded(&stage, "198.51.100.2").refused(401);
    exhausts(|| forwarded(&stage, "198.51.100.1"));
    // What a client says of itself stands before what the proxy says of it.
    forwarded(&stage, "198.51.100.2, 198.51.100.1").refused(429);
    let network: Vec<Answer> =
        (0..FAILURES * 5).map(|number| forwarded(&stage, &format!("2001:db8::{number:x}"))).collect();
    assert!(looked_at(&network) < FAILURES * 3, "each address of a network counts for itself");
    forwarded(&stage, "2001:db8:0:1::1").refused(401);
    stage.serves_others();
}

#[test]
fn behind_anybody_else_no_word_hides_an_address() {
    let stage = Stage::new(few_failures);
    let answers: Vec<Answer> =
        (0..FAILURES * 5).map(|number| forwarded(&stage, &format!("198.51.100.{number}"))).collect();
    assert!((FAILURES..FAILURES * 3).contains(&looked_at(&answers)));
}

#[test]
fn one_busy_peer_is_told_to_wait_and_others_are_not() {
    let stage = Stage::new(|plan| plan.limit("peer_rate = 3"));
    let answers: Vec<Answer> =
        (0..FAILURES * 2).map(|_| stage.neighbour.send(&stage.node, &stage.neighbour.create("fast"))).collect();
    let slowed = answers.iter().filter(|answer| answer.status == 429);
    assert!(slowed.clone().count() > 0);
    for answer in slowed {
        answer.refused_with(429, "slow down");
        assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()), "{answer}");
    }
    stage.serves_others();
}

#[test]
fn one_address_does_not_get_all_connections() {
    let stage = Stage::new(|plan| plan.limit("address_connections = 100").limit("header_timeout = \"5s\""));
    let mut streams: Vec<TcpStream> = (0..CLIENTS * 4).map(|_| connect(&stage)).collect();
    eventually("all but so many are closed", || {
        streams.retain_mut(|stream| !has_ended(stream));
        (streams.len() <= CLIENTS).then_some(())
    });
    assert!(streams.len() > CLIENTS / 2, "only {} are open", streams.len());
    let answer = send_from(&stage, Ipv4Addr::new(127, 0, 0, 78), &Call::get("/actor"));
    assert_eq!(answer.status, 200, "{answer}");
    drop(streams);
    eventually("its connections are gone", || stage.node.try_send(&Call::get("/actor")));
    stage.serves_others();
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let stage = Stage::new(|plan| plan.limit("header_timeout = \"2s\""));
    let before = open_files(&stage);
    let mut streams: Vec<TcpStream> = (0..CLIENTS * 4).map(|_| connect(&stage)).collect();
    stage.serves_others();
    eventually("they are closed", || {
        streams.retain_mut(|stream| !has_ended(stream));
        (streams.is_empty() && open_files(&stage) < before + 10).then_some(())
    });
}
