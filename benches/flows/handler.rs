//! The service that the `http` steps call, in a process of its own: it takes a number and gives the next.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use actix_web::web::{self, Json};
use actix_web::{App, HttpResponse, HttpServer};
use serde_json::{Value, json};

use crate::rig::node::free_port;
use crate::rig::process::Process;

const WORD: &str = "handler";

/// Serves as long as the benchmark lives.
pub(crate) fn start() -> (Process, SocketAddr) {
    let address = free_port();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let process = Process::start(command.arg(WORD).arg(address.to_string()));
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (process, address)
}

/// The service itself, when this is the process for it.
pub(crate) fn serve() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(WORD) {
        return false;
    }
    let address = arguments.next().unwrap();
    actix_rt::System::new()
        .block_on(async {
            let app = || App::new().route("/step", web::post().to(step));
            HttpServer::new(app).workers(1).disable_signals().bind(address)?.run().await
        })
        .unwrap();
    true
}

async fn step(body: Json<Value>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "n": body["n"].as_u64().unwrap_or_default() + 1 }))
}
