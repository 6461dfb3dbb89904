//! Run with settings of the stand-in's alone; elsewhere there is nothing to test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use blindsmith_protocol::{Blob, RoundRecord};
use blindsmith_refinery::{Store, StoreError};

use super::ENDPOINT;
use super::stand_in::{BUSY, REFUSING};
use crate::places::{Site, s3};
use crate::project::{record, spec};

/// Objects of a bucket that are half there, and those that were made of parts.
fn under_way(bucket: &str) -> (u32, u32) {
    let endpoint = std::env::var(ENDPOINT).unwrap();
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET /under-way/{bucket} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let (open, joined) = body.trim().split_once(' ').unwrap();
    (open.parse().unwrap(), joined.parse().unwrap())
}

fn created(bucket: &str) -> Option<(Site, Store)> {
    let site = s3(bucket)?;
    let store = Store::open_at(&site.places).unwrap();
    store.create(&spec(), b"sealed model").unwrap();
    Some((site, store))
}

/// A round whose model takes three parts, and is not all one byte.
fn large() -> RoundRecord {
    let model = (0..20_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    RoundRecord { model: Blob(model), ..record(0) }
}

#[test]
fn an_upload_of_parts_that_is_refused_leaves_none() {
    let Some((_site, store)) = created(REFUSING) else { return };
    let project = spec().id();
    let refused = store.save_round(&project, &large(), None);
    assert!(matches!(refused, Err(StoreError::Remote { .. })), "{refused:?}");
    assert_eq!(under_way(REFUSING), (0, 0), "parts without an object cost");
    assert!(store.round(&project, 0).is_err(), "nothing refers to what is not there");
    let small = RoundRecord { model: Blob(vec![3; 100]), ..record(0) };
    store.save_round(&project, &small, None).unwrap();
    assert_eq!(store.round(&project, 0).unwrap(), small);
    assert_eq!(store.gc(Duration::ZERO).unwrap().blobs, 0, "no object of the one that was refused");
    let found = store.fsck().unwrap();
    assert!(found.is_sound() && found.orphaned.is_empty(), "{found:?}");
}

#[test]
fn a_server_that_is_busy_for_a_while_is_asked_again() {
    let Some((site, store)) = created(BUSY) else { return };
    let project = spec().id();
    store.save_round(&project, &large(), None).unwrap();
    assert_eq!(under_way(BUSY), (0, 1), "it was made of parts");
    drop(store);
    let store = Store::open_at(&site.places).unwrap();
    assert_eq!(store.round(&project, 0).unwrap(), large());
    assert_eq!(store.prune_states(1).unwrap(), 0);
    let found = store.fsck().unwrap();
    assert!(found.is_sound() && found.blobs == 3, "{found:?}");
}
