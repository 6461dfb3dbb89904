//! The refinery's sockets: for local clients, for wardens, and a port for a warden in an enclave.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blindsmith_protocol::FrameError;
use tracing::{info, warn};

use crate::link::serve::serve_warden;
use crate::local::serve_client;
use crate::state::Shared;

/// Where a refinery listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Socket for clients.
    pub clients: PathBuf,
    /// Socket for the warden.
    pub warden: PathBuf,
    /// Port for a warden in an enclave.
    pub enclave: Option<SocketAddr>,
}

/// Listens until the process ends.
pub fn serve(shared: Arc<Shared>, addresses: &Addresses) -> std::io::Result<()> {
    let wardens = listen(&addresses.warden)?;
    let enclaves = addresses.enclave.map(TcpListener::bind).transpose()?;
    let clients = listen(&addresses.clients)?;
    let for_wardens = shared.clone();
    std::thread::spawn(move || wardens.incoming().for_each(|stream| accept(&for_wardens, stream)));
    if let Some(enclaves) = enclaves {
        info!(enclaves = ?addresses.enclave, "listening");
        let shared = shared.clone();
        let connected = |stream: TcpStream| {
            stream.set_nodelay(true)?;
            // What is done with a connected stream does not depend on its kind; memory is not shared on this one.
            Ok(UnixStream::from(OwnedFd::from(stream)))
        };
        std::thread::spawn(move || {
            enclaves.incoming().for_each(|stream| accept(&shared, stream.and_then(connected)));
        });
    }
    info!(clients = %addresses.clients.display(), warden = %addresses.warden.display(), "listening");
    for stream in clients.incoming() {
        let shared = shared.clone();
        match stream {
            Ok(stream) => _ = std::thread::spawn(move || serve_client(&shared, stream)),
            Err(e) => warn!("a client could not be accepted: {e}"),
        }
    }
    Ok(())
}

/// Serves a warden, in a thread of its own.
fn accept(shared: &Arc<Shared>, stream: io::Result<UnixStream>) {
    let shared = shared.clone();
    // The stream is closed after what became of it was said.
    let serve = move |stream: UnixStream| match serve_warden(&shared, &stream) {
        Ok(()) | Err(FrameError::Closed) => info!("the warden left"),
        Err(e) => warn!("the link to the warden ended: {e}"),
    };
    match stream {
        Ok(stream) => _ = std::thread::spawn(move || serve(stream)),
        Err(e) => warn!("a warden could not be accepted: {e}"),
    }
}

/// Binds a socket, replacing one that nobody serves any more.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            let message = format!("{} is served by another process", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, message));
        }
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            let message = format!("{} is not a socket: choose another path", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, message));
        }
        std::fs::remove_file(path)?;
    }
    // Whoever can open the socket may ask for everything: its user alone, from its first moment on.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}
