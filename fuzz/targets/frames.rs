//! Frames, one after the other, of every kind of message: what a socket brings.

#![no_main]

use blindsmith_api::message::{Reply, Request};
use blindsmith_protocol::{FromWarden, MAX_BODY, ToWarden, read_body, read_head, to_cbor, write_frame};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn frames<T: Serialize + DeserializeOwned>(mut bytes: &[u8]) {
    while let Ok((head, length)) = read_head::<T>(&mut bytes) {
        let Ok(body) = read_body(&mut bytes, length, MAX_BODY) else { return };
        let mut written = Vec::new();
        write_frame(&mut written, &head, &[&body]).expect("what was read can be written");
        let mut rest = written.as_slice();
        let (again, length) = read_head::<T>(&mut rest).expect("what was written can be read");
        assert_eq!(to_cbor(&again), to_cbor(&head));
        assert_eq!(read_body(&mut rest, length, MAX_BODY).expect("its body, too"), body);
        assert!(rest.is_empty());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 4 {
        0 => frames::<Request>(bytes),
        1 => frames::<Reply>(bytes),
        2 => frames::<ToWarden>(bytes),
        _ => frames::<FromWarden>(bytes),
    }
});
