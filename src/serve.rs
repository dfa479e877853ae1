//! The two HTTP servers of a node, and what ends it.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use crate::actors::root;
use crate::actors::runtime::Runtime;
use crate::config::Config;
use crate::web::http::{KEEP_ALIVE, Listener, around};
use crate::web::routes::{admin_routes, public_routes};
use crate::web::site::Site;

/// One worker is enough for the few requests of administration.
const ADMIN_WORKERS: usize = 1;
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
    let data = Data::from(site.clone());
    let public = {
        let data = data.clone();
        let app = move || {
            let app = App::new().app_data(data.clone()).configure(public_routes);
            app.wrap_fn(|request, service| around(request, service, Listener::Public))
        };
        let server = HttpServer::new(app).workers(workers(config.runtime.workers));
        server
            .backlog(u32::try_from(listeners.backlog).unwrap_or(u32::MAX))
            .client_request_timeout(config.limits.header_timeout)
            .keep_alive(KEEP_ALIVE)
            .disable_signals()
            .shutdown_timeout(STOP_SECONDS)
            .listen(listeners.public)?
            .run()
    };
    let admin = {
        let app = move || {
            let app = App::new().app_data(data.clone()).configure(admin_routes);
            app.wrap_fn(|request, service| around(request, service, Listener::Admin))
        };
        let server = HttpServer::new(app).workers(ADMIN_WORKERS);
        server
            .client_request_timeout(config.limits.header_timeout)
            .keep_alive(KEEP_ALIVE)
            .disable_signals()
            .shutdown_timeout(STOP_SECONDS)
            .listen(listeners.admin)?
            .run()
    };
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
