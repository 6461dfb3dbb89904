//! Bytes that are no command end the link with a clear word; the next refinery is served.

use blindsmith_protocol::{FrameError, MAX_BODY, MAX_HEAD, PROTOCOL_VERSION, ToWarden, write_frame};

use super::refinery::{Refinery, attest, identity};

fn frame(message: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message, &[]).unwrap();
    bytes
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame(&ToWarden::Labels);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn what_is_no_command_ends_the_link() {
    let warden = identity();
    let huge = u32::MAX.to_le_bytes();
    for (bytes, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "does not speak this protocol"),
        (
            with(4, &(PROTOCOL_VERSION + 1).to_le_bytes()),
            &*format!("protocol version {}, this program speaks {PROTOCOL_VERSION}", PROTOCOL_VERSION + 1),
        ),
        (with(6, &[1]), "reserved bytes"),
        (with(8, &huge), &*format!("above the limit of {MAX_HEAD}")),
        (with(12, &huge), &*format!("above the limit of {MAX_BODY}")),
        (with(16, &[0xff]), "malformed message"),
        (frame(&"Ping"), "malformed message"),
        (frame(&"Round"), "malformed message"),
        (frame(&ToWarden::Labels), "an answer to nothing"),
        (frame(&ToWarden::Product { residues: 1, place: None }), "an answer to nothing"),
        (frame(&ToWarden::Residues { count: 0 }), "an answer to nothing"),
        (frame(&ToWarden::Bytes { place: None, len: 0 }), "an answer to nothing"),
        (frame(&ToWarden::Failed { message: "no".into() }), "an answer to nothing"),
    ] {
        let mut refinery = Refinery::of(warden);
        refinery.send_bytes(&bytes);
        refinery.assert_ended(words);
        // The same warden, another link.
        Refinery::of(warden).assert_serves();
    }
}

#[test]
fn a_frame_cut_off_anywhere_is_an_error_and_a_link_closed_between_frames_is_none() {
    let warden = identity();
    let whole = frame(&attest([1; 32]));
    for len in [1, 15, 16, 17, whole.len() - 1] {
        let mut refinery = Refinery::of(warden);
        refinery.send_bytes(&whole[..len]);
        let ended = refinery.close();
        assert!(matches!(ended, Err(FrameError::Io(_))), "cut to {len}: {ended:?}");
    }
    assert!(Refinery::of(warden).close().is_ok());
}
