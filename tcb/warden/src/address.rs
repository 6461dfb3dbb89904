//! Where the refinery is.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{AddrParseError, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// What an address that is no path begins with.
const TCP: &str = "tcp:";

/// Where a refinery waits for wardens. Nothing secret and nothing that is believed goes over the link unsealed, so that
/// whoever else may use it can be in the way and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket's path.
    Socket(PathBuf),
    /// A port; from an enclave, whose sockets by path end inside of it.
    Tcp(SocketAddr),
}

impl Address {
    /// `tcp:ADDRESS:PORT`, or a path.
    ///
    /// # Errors
    /// No number of an address: no name is looked up.
    pub fn parse(text: &OsStr) -> Result<Self, AddrParseError> {
        match text.to_str().and_then(|text| text.strip_prefix(TCP)) {
            None => Ok(Address::Socket(text.into())),
            Some(at) => at.parse().map(Address::Tcp),
        }
    }

    /// A connection. As a stream of one kind, as nothing that is done with a connected stream depends on its kind; but
    /// memory is shared only where [`Address::shares_memory`].
    pub fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Address::Socket(path) => UnixStream::connect(path),
            Address::Tcp(at) => {
                let stream = TcpStream::connect(at)?;
                stream.set_nodelay(true)?;
                Ok(OwnedFd::from(stream).into())
            }
        }
    }

    /// Whether memory can be shared with who is there.
    pub fn shares_memory(&self) -> bool {
        matches!(self, Address::Socket(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => path.display().fmt(f),
            Address::Tcp(at) => write!(f, "{TCP}{at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ports() {
        let parse = |text: &str| Address::parse(text.as_ref());
        for path in ["link.sock", "/run/tcp:1/link.sock", "127.0.0.1:80", ""] {
            assert_eq!(parse(path), Ok(Address::Socket(path.into())));
        }
        for at in ["127.0.0.1:7411", "[::1]:7411", "10.1.2.3:1"] {
            assert_eq!(parse(&format!("tcp:{at}")), Ok(Address::Tcp(at.parse().unwrap())));
            assert_eq!(parse(&format!("tcp:{at}")).unwrap().to_string(), format!("tcp:{at}"));
        }
        for wrong in
            ["tcp:", "tcp:localhost:7411", "tcp:127.0.0.1", "tcp://127.0.0.1:7411", "tcp:127.0.0.1:99999"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
