//! A flow of three steps, started and awaited over HTTP: effects on local streams, and calls of a local service.

use crate::contest::{Bench, Contest};
use crate::peer::Peer;
use crate::rig::node::free_port;
use crate::rig::{self, argument};
use crate::{handler, settings};

pub(crate) fn local(bench: &mut Bench) {
    let folder = rig::folder();
    let effect: String = argument("--effect", "notify".to_owned());
    let node = settings::recipe(folder.path(), &effect, free_port()).start();
    let ours = settings::start_and_wait(&node, "three");
    let theirs = bench.peer.as_ref().map(Peer::steps);
    bench.compare(&Contest { title: &format!("three steps of {effect}"), node: &node, ours, theirs });
}

pub(crate) fn http(bench: &mut Bench) {
    let folder = rig::folder();
    let (_handler, address) = handler::start();
    let node = settings::recipe(folder.path(), "notify", address).start();
    let ours = settings::start_and_wait(&node, "calls");
    let theirs = bench.peer.as_ref().map(Peer::steps);
    bench.compare(&Contest { title: "three http steps", node: &node, ours, theirs });
}
