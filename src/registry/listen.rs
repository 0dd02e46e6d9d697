//! Clear errors for addresses that cannot be listened on.

use std::{io, net::SocketAddr, net::TcpListener};

use libp2p::TransportError;
use multiaddr::{Multiaddr, Protocol};

use crate::{Error, ErrorKind};

/// Refuses an address that somebody listens on. The transport shares its ports, so that two nodes
/// of one user would both seem to have it, and each get some of the connections.
pub(super) fn check_free(address: &Multiaddr) -> Result<(), Error> {
    let mut protocols = address.iter();
    let ip = match protocols.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match protocols.next() {
        Some(Protocol::Tcp(port)) if port != 0 => {
            let listener = TcpListener::bind(SocketAddr::new(ip, port));
            listener.map(drop).map_err(|error| cannot(address, error))
        }
        _ => Ok(()),
    }
}

/// True if the node's transport may dial the address.
pub(super) fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|protocol| matches!(protocol, Protocol::Tcp(_)))
}

/// The error of the transport, told so that somebody can act on it.
pub(super) fn refused(address: &Multiaddr, error: TransportError<io::Error>) -> Error {
    match error {
        TransportError::MultiaddrNotSupported(_) => {
            Error::invalid(format!("cannot listen on {address}: not an address of this transport"))
                .next("give one such as /ip4/0.0.0.0/tcp/4001")
        }
        TransportError::Other(error) => cannot(address, error),
    }
}

pub(super) fn cannot(address: &Multiaddr, error: io::Error) -> Error {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => "stop the program that uses it, or give another port",
        io::ErrorKind::AddrNotAvailable => "give an address of this machine",
        io::ErrorKind::PermissionDenied => "give a port above 1023",
        _ => "check the address",
    };
    Error::new(ErrorKind::Io, format!("cannot listen on {address}")).because(error).next(next)
}
