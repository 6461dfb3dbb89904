//! A refinery that says what it likes to a warden: commands, and answers to its instructions. Secrets that it holds are
//! sealed to the warden, and orders are signed, so that what is behind that is reached.

#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use blindsmith_evidence::Simulated;
use blindsmith_formats::{Release, model_context, session_info};
use blindsmith_fuzz::{claims, owner, release, request, signed};
use blindsmith_identity::{AttestRequest, Kind, SignedRelease, SigningKey, sign_release, sign_request};
use blindsmith_keys::{Key, Suite};
use blindsmith_protocol::{Blob, Id, Lane, ToWarden, from_cbor, write_frame};
use blindsmith_warden::{Identity, MemoryCounters, Projects, serve};
use libfuzzer_sys::fuzz_target;

const ORDER: Kind = Kind { content: "application/vnd.blindsmith.order+cbor", aad: b"blindsmith order v1" };

/// Most bytes to the warden: they wait in the socket's buffer before it reads.
const MOST: usize = 100 << 10;

/// What the owner would have done to this command, which says what it is about in the clear.
fn sealed(command: ToWarden, body: &[u8], warden: &Identity) -> (ToWarden, Vec<u8>) {
    match command {
        ToWarden::Release { spec, release: clear } => {
            let session = claims(&AttestRequest { project: spec.id(), ..request() }, warden).session();
            let recipient = warden.key.recipient(Suite::X25519);
            let key = Release::decode(&clear.0).map_or_else(|_| release().model, |r| r.model);
            let body = key.seal(&model_context("model", &spec.id(), 0), body).0;
            let info = session_info("release", &session);
            let (envelope, _) = recipient.seal(&info, &clear.0).expect("a fresh key");
            let release = SignedRelease { project: spec.id(), session, envelope: Blob(envelope) };
            (ToWarden::Release { spec, release: Blob(sign_release(&release, &owner())) }, body)
        }
        ToWarden::Order { project, order } => {
            let order = signed(&order.0, &ORDER).map_or(order, Blob);
            (ToWarden::Order { project, order }, body.to_vec())
        }
        ToWarden::Restore { spec, .. } => {
            let (vault, id) = (Key::from_bytes([14; 32]), spec.id());
            let holding = Blob(warden.sealing.seal(&format!("holding {id}"), vault.expose()).0);
            (ToWarden::Restore { spec, holding }, vault.seal(&format!("state {id}"), body).0)
        }
        ToWarden::TakeOver { spec, order, .. } => {
            // As another warden would have sealed it, in a session that the owner's key began.
            let (id, mut rest) = (spec.id(), body);
            let session = claims(&AttestRequest { project: id, ..request() }, warden).session();
            let clear = part(&mut rest).unwrap_or_default();
            let recipient = warden.key.recipient(Suite::X25519);
            let (handed, _) =
                recipient.seal(&session_info("hand-over", &session), clear).expect("a fresh key");
            let state = Key::from_bytes([14; 32]).seal(&format!("state {id}"), rest).0;
            let body = [&(handed.len() as u32).to_le_bytes(), handed.as_slice(), &state].concat();
            let order = signed(&order.0, &ORDER).map_or(order, Blob);
            (ToWarden::TakeOver { spec, from: owner().verifying().into(), session: Id(session), order }, body)
        }
        ToWarden::Rollback { project, round, version } => {
            let body = release().owner.seal(&model_context("model", &project, version), body).0;
            (ToWarden::Rollback { project, round, version }, body)
        }
        other => (other, body.to_vec()),
    }
}

/// A part of so many bytes as its first two say, or as there are.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<2>()?;
    let (part, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)).min(tail.len()));
    *rest = tail;
    Some(part)
}

fuzz_target!(|data: &[u8]| {
    let Some((lane, mut rest)) = data.split_first() else { return };
    let lane = if lane % 4 == 0 { Lane::Queries } else { Lane::Rounds };
    let attester = Box::new(Simulated::new(SigningKey::from_seed(&[3; 32]), [4; 32]));
    let counters = Box::<MemoryCounters>::default();
    let warden = Identity::new(attester, Key::from_bytes([9; 32]), counters).expect("a simulated warden");
    let mut bytes = Vec::new();
    while let (Some(head), body) = (part(&mut rest), part(&mut rest).unwrap_or_default()) {
        match from_cbor::<ToWarden>(head) {
            Ok(command) => {
                if let ToWarden::Release { spec, .. } | ToWarden::TakeOver { spec, .. } = &command {
                    // A session for it.
                    let request = AttestRequest { project: spec.id(), ..request() };
                    let request = Blob(sign_request(&request, &owner()));
                    let attest = ToWarden::Attest { asker: owner().verifying().into(), request };
                    write_frame(&mut bytes, &attest, &[]).expect("memory");
                }
                let (command, body) = sealed(command, body, &warden);
                write_frame(&mut bytes, &command, &[&body]).expect("memory");
            }
            Err(_) => bytes.extend(head),
        }
    }
    if bytes.len() > MOST {
        return;
    }
    let (mut refinery, stream) = UnixStream::pair().expect("a pair of sockets");
    refinery.write_all(&bytes).expect("room in the socket's buffer");
    refinery.shutdown(Shutdown::Write).expect("it is open");
    std::thread::scope(|scope| {
        // What the warden says is taken from it, so that it never waits for that.
        let taking = scope.spawn(|| {
            let mut buffer = [0; 1 << 16];
            while refinery.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        _ = serve(&warden, &Projects::default(), lane, stream, false);
        // A thread that is joined has ended altogether: of one that is about to, the leak detector finds remains.
        taking.join().expect("it only reads");
    });
});
