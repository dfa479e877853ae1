//! The two HTTP servers of a node, and what ends it.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_rt::net::TcpStream;
use actix_server::{Server, ServerBuilder, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, Extensions};
use actix_web::web::Data;
use futures_util::future::ready;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use crate::actors::root;
use crate::actors::runtime::Runtime;
use crate::config::Config;
use crate::web::crowd::Crowd;
use crate::web::http::{KEEP_ALIVE, Listener, around};
use crate::web::routes::{admin_routes, public_routes};
use crate::web::site::Site;
use crate::web::stream::{Deadlines, Timed};

/// One worker is enough for the few requests of administration.
const ADMIN_WORKERS: usize = 1;
/// How long a client that was refused half way may go on sending before its connection is closed.
const DISCONNECT: Duration = Duration::from_secs(1);
/// How long open requests get when the node stops.
const STOP_SECONDS: u64 = 5;

/// Bound sockets, before anything is served on them.
pub struct Listeners {
    pub public: TcpListener,
    pub admin: TcpListener,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
}

/// The running servers.
pub struct Servers {
    public: ServerHandle,
    admin: ServerHandle,
}

/// Why a node stops.
pub struct Ended {
    pub why: String,
    pub failed: bool,
}

/// Serves on both listeners.
///
/// # Errors
/// What the operating system says of the sockets.
pub fn start(site: &Arc<Site>, listeners: Listeners, config: &Config) -> std::io::Result<Servers> {
    let limits = &config.limits;
    let backlog = u32::try_from(listeners.backlog).unwrap_or(u32::MAX);
    let public = Server::build().workers(workers(config.runtime.workers)).backlog(backlog);
    let deadlines = Deadlines { head: limits.header_timeout, write: limits.write_timeout };
    let public = serve(site, public, (listeners.public, Listener::Public), deadlines, limits.address_connections)?;
    // Backups go out here, which have a limit of their own for whoever takes them slowly.
    let deadlines = Deadlines { write: limits.write_timeout.max(limits.backup_stall * 2), ..deadlines };
    let admin = serve(
        site,
        Server::build().workers(ADMIN_WORKERS),
        (listeners.admin, Listener::Admin),
        deadlines,
        limits.address_connections,
    )?;
    let servers = Servers { public: public.handle(), admin: admin.handle() };
    for server in [public, admin] {
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                error!(%error, "an HTTP server ended");
            }
        });
    }
    Ok(servers)
}

/// As `actix_web::HttpServer` puts a server together, but for the connections, which have deadlines here.
fn serve(
    site: &Arc<Site>,
    server: ServerBuilder,
    (socket, listener): (TcpListener, Listener),
    deadlines: Deadlines,
    connections_max: u64,
) -> std::io::Result<Server> {
    let (data, clock, local) = (Data::from(site.clone()), site.clock.clone(), socket.local_addr()?);
    let server = server.disable_signals().shutdown_timeout(STOP_SECONDS);
    let stopping = server.graceful_shutdown_signal();
    // Shared by all workers.
    let crowd = Crowd::new(connections_max, &site.trusted_proxies);
    let connections = move || {
        let routes = match listener {
            Listener::Public => public_routes,
            Listener::Admin => admin_routes,
        };
        let app = App::new().app_data(data.clone()).configure(routes);
        let app = app.wrap_fn(move |request, service| around(request, service, listener));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        let (stopping, clock) = (stopping.clone(), clock.clone());
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(deadlines.head)
            .client_disconnect_timeout(DISCONNECT)
            .local_addr(local)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Timed<TcpStream>, data: &mut Extensions| {
                data.insert(connection.work());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let crowd = crowd.clone();
        let timed = move |stream: TcpStream| {
            let client = stream.peer_addr().ok();
            let seat = crowd.enter(client.map(|client| client.ip()));
            let too_many = || DispatchError::Io(std::io::Error::other("its address has too many connections"));
            let seat = seat.ok_or_else(too_many);
            ready(seat.map(|seat| (Timed::new(stream, clock.clone(), deadlines, Some(seat)), client)))
        };
        fn_service(timed).and_then(http)
    };
    Ok(server.listen(local.to_string(), socket, connections)?.run())
}

fn workers(wanted: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if wanted == 0 { cores } else { wanted }
}

impl Servers {
    /// Takes no new connections, and lets open requests finish.
    pub async fn stop(&self) {
        futures_util::future::join(self.public.stop(true), self.admin.stop(true)).await;
    }
}

/// Resolves when the node has to stop: a signal, the end of standard input, or a failure.
pub async fn wait(runtime: &Arc<Runtime>, exit_with_stdin: bool) -> Ended {
    let told = |why: &str| Ended { why: why.to_owned(), failed: false };
    tokio::select! {
        () = terminated() => told("terminated"),
        _ = tokio::signal::ctrl_c() => told("interrupted"),
        () = stdin_closed(), if exit_with_stdin => told("standard input closed"),
        why = root::must_end(runtime) => Ended { why, failed: true },
    }
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(error) => {
            error!(%error, "SIGTERM cannot be heard");
            std::future::pending::<()>().await;
        }
    }
}

/// A thread of its own: one of the runtime's would keep the process from ending while nobody writes.
async fn stdin_closed() {
    let (closed, ended) = tokio::sync::oneshot::channel::<()>();
    let watch = move || {
        let mut buffer = [0; 256];
        while std::io::stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
        drop(closed);
    };
    match std::thread::Builder::new().name("stdin".to_owned()).spawn(watch) {
        // The sender says nothing; that it is gone is the news.
        Ok(_) => drop(ended.await),
        Err(error) => {
            error!(%error, "the end of standard input cannot be noticed");
            std::future::pending::<()>().await;
        }
    }
}
