//! Rooms: how many connections there may be, and whose.
//!
//! Strangers must not take the descriptors, memory and time that agents and files need. Only
//! who shows a certificate of the authority is no stranger here; people are, until they log in.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use custody::digest::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::crowd::{Crowd, Place};

/// Handshakes under way, and how many of them from one address.
const HANDSHAKES: (usize, usize) = (512, 128);
/// Connections without a certificate, and how many of them from one address.
const STRANGERS: (usize, usize) = (2048, 256);
/// Connections with one certificate.
const EACH_CERTIFICATE: usize = 16;

/// How much room there is.
pub(super) struct Rooms {
    handshakes: Shared,
    strangers: Shared,
    known: Crowd<Digest>,
}

/// What is taken up; free again when this goes.
pub(super) enum Room {
    Stranger(#[allow(dead_code)] Taken),
    Known(#[allow(dead_code)] Place<Digest>),
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            handshakes: Shared::new(HANDSHAKES),
            strangers: Shared::new(STRANGERS),
            known: Crowd::default(),
        }
    }
}

impl Rooms {
    /// Room for a handshake.
    pub(super) fn handshake(&self, from: IpAddr) -> Option<Taken> {
        self.handshakes.take(from)
    }

    /// Room for a connection whose handshake is done.
    pub(super) fn connection(&self, from: IpAddr, certificate: Option<Digest>) -> Option<Room> {
        match certificate {
            Some(digest) => self.known.enter(digest, EACH_CERTIFICATE).map(Room::Known),
            None => self.strangers.take(from).map(Room::Stranger),
        }
    }
}

/// Room that all addresses share, of which no one may take all.
struct Shared {
    all: Arc<Semaphore>,
    crowd: Crowd<IpAddr>,
    each: usize,
}

/// A part of [`Shared`] room.
pub(super) struct Taken {
    _place: Place<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Shared {
    fn new((all, each): (usize, usize)) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            crowd: Crowd::default(),
            each,
        }
    }

    fn take(&self, from: IpAddr) -> Option<Taken> {
        Some(Taken {
            _place: self.crowd.enter(holder(from), self.each)?,
            _permit: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }
}

/// Who counts as one: an address, and of IPv6 its network, in which its holder has them all.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strangers_of_one_network_share_and_leave_room_for_others_and_for_agents() {
        let rooms = Rooms::default();
        let one = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        let taken: Vec<_> = (0..STRANGERS.1)
            .map(|host| rooms.connection(one(host as u16), None).unwrap())
            .collect();
        assert!(rooms.connection(one(9999), None).is_none());
        assert!(rooms.connection([192, 0, 2, 1].into(), None).is_some());
        assert!(rooms.handshake(one(1)).is_some(), "an agent beside them");
        let agent = Some(Digest::of(b"certificate"));
        assert!(rooms.connection(one(1), agent).is_some());
        drop(taken);
        assert!(rooms.connection(one(9999), None).is_some());
    }
}
