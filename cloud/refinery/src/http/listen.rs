//! Connections: accepted up to a number, with TLS or without, HTTP/1.1, ended in time.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info, warn};

use super::routes::router;
use super::service::Service;
use super::shares::{Shares, origin};
#[cfg(feature = "tls")]
use super::tls::{Acceptor, TlsError};
#[cfg(not(feature = "tls"))]
use super::without_tls::{Acceptor, TlsError};
use crate::config::Config;
use crate::state::Shared;

/// Largest head of a request that is read, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// How often sessions that were left are looked for.
const SWEEP: Duration = Duration::from_secs(600);
/// What is said to an address that has all the connections that it may.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Why the service cannot start.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address.
    #[error("http.listen = \"{0}\": {1}. Choose another address, or end what uses it")]
    Address(SocketAddr, std::io::Error),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A service that listens.
pub struct HttpServer {
    service: Arc<Service>,
    listener: TcpListener,
    tls: Option<Acceptor>,
}

fn acceptor(config: &Config) -> Result<Option<Acceptor>, ListenError> {
    match (&config.http.certificate, &config.http.key) {
        (Some(certificate), Some(key)) => Ok(Some(Acceptor::read(certificate, key)?)),
        _ => Ok(None),
    }
}

impl HttpServer {
    /// Reads certificate and key, if there are any, and makes sure that they go together.
    ///
    /// # Errors
    /// [`ListenError`] names the file that is none.
    pub fn try_tls(config: &Config) -> Result<(), ListenError> {
        acceptor(config).map(drop)
    }

    /// Listens where the configuration says.
    ///
    /// # Errors
    /// [`ListenError`] if the address is taken, or certificate and key are none.
    pub async fn bind(
        shared: Arc<Shared>,
        config: &Config,
        address: SocketAddr,
    ) -> Result<Self, ListenError> {
        let tls = acceptor(config)?;
        let failed = |e| ListenError::Address(address, e);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        info!(http = %bound, tls = tls.is_some(), "listening");
        if let Some(warning) = config.http.warning() {
            warn!("{warning}");
        }
        Ok(HttpServer { service: Arc::new(Service::new(shared, config)), listener, tls })
    }

    /// Serves until `stop` is done, and what was begun by then to its end, as far as there is time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let HttpServer { service, listener, tls } = self;
        let router = router(service.clone());
        let places = Arc::new(Semaphore::new(service.limits.connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Shares::new(service.limits.connections_per_address);
        let graceful = GracefulShutdown::new();
        let sweeping = tokio::spawn(sweep(service.clone()));
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = async {
                // Whoever finds no place waits in the kernel's queue.
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    warn!("a connection could not be accepted: {e}");
                    // Without descriptors the next one fails as fast.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(share) = addresses.take(origin(peer.ip())) else {
                service.metrics.refused_connections.fetch_add(1, Ordering::Relaxed);
                // As far as it goes without waiting, which what is asynchronous does not tell at once.
                if let (None, Ok(mut stream)) = (&tls, stream.into_std()) {
                    _ = stream.write(TOO_MANY);
                }
                continue;
            };
            let (service, router, tls) = (service.clone(), router.clone(), tls.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let (_place, _share) = (place, share);
                service.connections.fetch_add(1, Ordering::Relaxed);
                connection(&service, stream, tls, router, watcher).await;
                service.connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
        drop(listener);
        sweeping.abort();
        service.ending.send_replace(true);
        info!("ending: requests that run are finished");
        let limit = Duration::from_secs(service.http.shutdown_timeout);
        if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
            warn!("some requests were not finished in time");
        }
    }
}

/// Forgets uploads that nobody went on with, and goes on with withdrawals that the disk was in the way of.
async fn sweep(service: Arc<Service>) {
    let idle = Duration::from_secs(service.limits.session_hours * 3600);
    loop {
        let shared = service.shared.clone();
        match tokio::task::spawn_blocking(move || shared.store.expire_partials(SystemTime::now() - idle))
            .await
        {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => info!(count, "uploads that nobody went on with were forgotten"),
            Ok(Err(e)) => warn!("{e}"),
            Err(e) => warn!("{e}"),
        }
        let shared = service.shared.clone();
        match tokio::task::spawn_blocking(move || shared.store.finish_withdrawals()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => warn!("withdrawn rows could not be removed yet: {e}"),
            Err(e) => warn!("{e}"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

async fn connection(
    service: &Service,
    stream: TcpStream,
    tls: Option<Acceptor>,
    router: Router,
    watcher: Watcher,
) {
    _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    // Reading has limits of its own: of a head, of a body.
    stream.set_write_timeout(Some(Duration::from_secs(service.http.write_timeout)));
    let stream = Box::pin(stream);
    let limit = Duration::from_secs(service.http.header_timeout);
    match tls {
        None => requests(service, stream, router, watcher).await,
        Some(tls) => match tokio::time::timeout(limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => requests(service, stream, router, watcher).await,
            Ok(Err(e)) => debug!("a TLS handshake failed: {e}"),
            Err(_) => debug!("a TLS handshake took too long"),
        },
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    service: &Service,
    stream: S,
    router: Router,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(service.http.header_timeout))
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(e) = watcher.watch(connection).await {
        debug!("a connection ended: {e}");
    }
}
