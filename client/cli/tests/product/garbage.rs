//! Bytes that are no message, and messages that have no place: a clear answer, and service goes on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use blindsmith_api::message::{Reply, Request, Seen};
use blindsmith_matrix::{Encoding, OperandShape, Section, Side};
use blindsmith_protocol::{
    Blob, FromWarden, Id, Instruction, Lane, Left, MAX_BODY, MAX_HEAD, Outcome, PROTOCOL_VERSION, Role,
    ToWarden, UploadHeader, read_body, read_head, write_frame,
};
use proptest::prelude::*;

use crate::site::Site;
use crate::tables;

fn frame(message: &impl serde::Serialize, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message, &[body]).unwrap();
    bytes
}

fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Sends bytes and nothing more; everything that comes back.
fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    // A peer that refuses the first bytes may close before it has read all.
    _ = stream.write_all(bytes);
    _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    answer
}

/// The replies in `bytes`.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (reply, body) = read_head(&mut bytes).unwrap();
        read_body(&mut bytes, body, MAX_BODY).unwrap();
        all.push(reply);
    }
    all
}

fn failed(reply: Option<&Reply>) -> &str {
    match reply {
        Some(Reply::Failed { message }) => message,
        other => panic!("{other:?} where a refusal is due"),
    }
}

fn ready() -> Site {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    site
}

/// Still there for others: rows in, a round, a prediction out.
fn assert_serves(site: &Site) {
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    assert_eq!(site.wait()["failure"], serde_json::Value::Null);
    site.on_project("predict", &["--data", "rows.csv"]).ok();
    site.assert_no_panic();
}

#[test]
fn clients_that_send_something_else_are_told_so() {
    let site = ready();
    let socket = site.services.socket();
    let ping = frame(&Request::Ping, b"");
    let huge = u32::MAX.to_le_bytes();
    for (bytes, words) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not speak this protocol"),
        (vec![0; 64], "does not speak this protocol"),
        (
            with(ping.clone(), 4, &(PROTOCOL_VERSION + 1).to_le_bytes()),
            &*format!("version {}, this program speaks {PROTOCOL_VERSION}", PROTOCOL_VERSION + 1),
        ),
        (with(ping.clone(), 6, &[1]), "reserved bytes"),
        (with(ping.clone(), 8, &huge), &*format!("above the limit of {MAX_HEAD}")),
        (with(ping.clone(), 12, &huge), &*format!("above the limit of {MAX_BODY}")),
        (with(ping.clone(), 16, &[0xff]), "malformed message"),
        (ping[..10].to_vec(), "the connection failed"),
        (ping[..18].to_vec(), "the connection failed"),
        (frame(&"Pong", b""), "malformed message"),
        (frame(&Reply::Done, b""), "malformed message"),
        (frame(&Request::Ping, &[0; 10]), "a frame of 10 bytes is above the limit of 0"),
        (frame(&Request::Release { project: site.project().id() }, &[0; 2 << 20]), "above the limit"),
    ] {
        let answer = replies(&exchange(&socket, &bytes));
        assert_eq!(answer.len(), 1);
        assert!(failed(answer.first()).contains(words), "{answer:?} lacks {words:?}");
    }
    assert_serves(&site);
}

#[test]
fn requests_out_of_order_are_refused() {
    let site = ready();
    let socket = site.services.socket();
    let project = site.project();
    let (id, block) = (project.id(), vec![0; project.spec.block_bytes(Role::Training, 1)]);
    let header = UploadHeader {
        project: id,
        contributor: Id([0; 32]),
        terms: [0; 32],
        role: Role::Training,
        nonce: [0; 32],
        era: 0,
        rows: 1,
        root: Id([0; 32]),
        tag: [0; 32],
    };
    let pushed = |project| Request::Push { project, role: Role::Training, rows: 1 };
    let push = frame(&pushed(id), b"");
    let blocks = |first, bytes: &[u8]| frame(&Request::Blocks { first }, bytes);
    let commit = |header: &UploadHeader| frame(&Request::Commit { header: header.clone() }, b"");
    let other = |change: fn(&mut UploadHeader)| {
        let mut header = header.clone();
        change(&mut header);
        commit(&header)
    };
    let mut residue = block.clone();
    residue[project.spec.sealed_label_bytes(1)..].fill(0xff);
    for (bytes, words) in [
        (blocks(0, b""), "an upload begins with push"),
        (commit(&header), "an upload begins with push"),
        (frame(&pushed(Id([7; 32])), b""), "there is no project 0707"),
        (frame(&pushed(id), b"x"), "above the limit"),
        ([push.clone(), frame(&Request::Ping, b"")].concat(), "an upload has blocks, then a header"),
        ([push.clone(), blocks(1, &block)].concat(), "out of order"),
        ([push.clone(), blocks(0, &block), blocks(0, &block)].concat(), "out of order"),
        ([push.clone(), blocks(0, b"")].concat(), "the upload has 0 bytes"),
        ([push.clone(), blocks(0, &block[1..])].concat(), "it was truncated or belongs to another plan"),
        ([push.clone(), blocks(0, &residue)].concat(), "a residue that is not below the modulus"),
        ([push.clone(), commit(&header)].concat(), "the upload has 0 bytes, its 1 rows need"),
        ([push.clone(), blocks(0, &block), commit(&header)].concat(), "does not match its content"),
        ([push.clone(), other(|h| h.rows = 0)].concat(), "an upload of 0 rows"),
        ([push.clone(), other(|h| h.project = Id([7; 32]))].concat(), "no project 0707"),
        ([push.clone(), other(|h| h.role = Role::Query)].concat(), "a query is asked, not stored"),
        ([push.clone(), frame(&Request::Ask { header: header.clone() }, b"")].concat(), "only a query"),
    ] {
        let answer = replies(&exchange(&socket, &bytes));
        assert!(failed(answer.last()).contains(words), "{answer:?} lacks {words:?}");
    }
    assert_eq!(std::fs::read_dir(site.services.store().join("incoming")).unwrap().count(), 0);
    assert_eq!(site.status()["uploads"], serde_json::json!([]));
    assert_serves(&site);
}

#[test]
fn a_refused_request_does_not_end_the_connection() {
    let site = ready();
    let unknown = Id([7; 32]);
    let mut connection = site.connect();
    for request in [
        Request::Status { project: unknown, seen: Seen::default() },
        Request::Spec { project: unknown },
        Request::Pull { project: unknown, version: None },
        Request::Pull { project: site.project().id(), version: Some(9) },
        Request::Refine { project: unknown, epochs: None },
        Request::Watch { project: unknown },
        Request::Release { project: unknown },
        Request::Attest { asker: Id([1; 32]), request: Blob(vec![1, 2, 3]) },
        Request::Create { spec: blindsmith_protocol::ProjectSpec { batch_rows: 0, ..site.project().spec } },
        Request::Push { project: unknown, role: Role::Training, rows: 1 },
    ] {
        let refused = connection.request(&request, &[]);
        assert!(matches!(&refused, Err(blindsmith_client::Failure::Refused(_))), "{request:?}: {refused:?}");
    }
    assert_eq!(connection.request(&Request::Ping, &[]).unwrap().0, Reply::Done);
}

#[test]
fn wardens_that_are_none_are_sent_away() {
    let site = ready();
    let socket = site.services.store().join("warden.sock");
    let hello = |tee: &str, shared| {
        frame(
            &FromWarden::Hello {
                tee: tee.into(),
                version: "0".into(),
                holder: Id([0; 32]),
                start: Id([0; 32]),
                lane: Lane::Rounds,
                take_over: false,
                shared,
            },
            b"",
        )
    };
    // One that says nothing must not keep the others out.
    let silent = UnixStream::connect(&socket).unwrap();
    for (bytes, words) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not speak this protocol"),
        (with(hello("x", false), 4, &[9, 0]), "protocol version 9"),
        (with(hello("x", false), 8, &u32::MAX.to_le_bytes()), "above the limit"),
        (hello("x", false)[..20].to_vec(), "the connection failed"),
        (frame(&FromWarden::Finished(Outcome::Ordered { retired: None }), b""), "a warden begins with hello"),
        (frame(&Request::Ping, b""), "malformed message"),
        (hello(&"x".repeat(200), false), "a hello that is none"),
        (hello("x", true), "two regions are due"),
    ] {
        assert_eq!(exchange(&socket, &bytes), b"", "nothing is told to a stranger");
        assert!(site.logs().contains(words), "{words:?} is not in: {}", site.logs());
    }
    assert_serves(&site);
    drop(silent);
}

/// A warden that says it restored the project, and is given the round that is due.
fn restored(site: &Site) -> UnixStream {
    let mut stream = UnixStream::connect(site.services.store().join("warden.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let hello = FromWarden::Hello {
        tee: "simulated".into(),
        version: "0".into(),
        holder: Id([0; 32]),
        start: Id([0; 32]),
        lane: Lane::Rounds,
        take_over: false,
        shared: false,
    };
    write_frame(&mut stream, &hello, &[]).unwrap();
    let (message, body) = read_head::<ToWarden>(&mut stream).unwrap();
    assert!(matches!(message, ToWarden::Restore { .. }), "{message:?}");
    read_body(&mut stream, body, MAX_BODY).unwrap();
    let ready = Outcome::Ready { holding: Blob::default(), confirmation: Blob::default(), retired: None };
    write_frame(&mut stream, &FromWarden::Finished(ready), &[]).unwrap();
    // What was pushed in the meantime is to be read first: it is waved through.
    loop {
        let (message, _) = read_head::<ToWarden>(&mut stream).unwrap();
        if let ToWarden::Stored { .. } = message {
            continue;
        }
        let ToWarden::Admit { .. } = message else {
            assert!(matches!(message, ToWarden::Round { .. }), "{message:?}");
            return stream;
        };
        let admission = blindsmith_protocol::Blob(vec![1; 80]);
        write_frame(&mut stream, &FromWarden::Finished(Outcome::Admitted { admission }), &[]).unwrap();
    }
}

/// A warden that connects in place of the real one, and misbehaves in a round.
#[test]
fn a_warden_that_instructs_nonsense_loses_its_link_and_nothing_else() {
    let mut site = ready();
    site.services.kill_warden();
    site.until(|status| status.warden.is_none());
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    let project = site.project();
    let spec = &project.spec;
    // The first layer's weights: three features, four units.
    let encoding = Encoding::fit(spec.security, spec.row_form.roots(), 4).unwrap();
    let weights = |contraction, width, side| Instruction::Begin {
        operand: 0,
        shape: OperandShape { side, encoding, contraction, width },
        masks: spec.mask,
        at: None,
    };
    let section = |columns| Section { columns, left_masks: true, right_masks: true };
    let asked = |left, right, columns| Instruction::Multiply {
        left,
        right,
        section: section(columns),
        sum: None,
        received: 0,
    };
    let multiply = |left, right| asked(left, right, (0, 4));
    let block = |upload, block| blindsmith_protocol::BlockRef { upload, block };
    let rows = |blocks| Left::Rows(blocks);
    let good = weights(3, 4, Side::Right);
    let shared = match good.clone() {
        Instruction::Begin { operand, shape, masks, .. } => {
            Instruction::Begin { operand, shape, masks, at: Some(1 << 40) }
        }
        other => other,
    };
    let refine = Request::Refine { project: project.id(), epochs: None };
    // An instruction that cannot be carried out is answered where an answer is due, else it ends the link.
    for instructions in [
        vec![weights(0, 4, Side::Right)],
        vec![weights(3, 9, Side::Right)],
        vec![weights(3, 4, Side::Left)],
        vec![weights(1 << 18, 1 << 18, Side::Right)],
        vec![weights(usize::MAX, usize::MAX, Side::Right)],
        vec![shared],
        vec![Instruction::Rows { operand: 0, first: 0 }],
        vec![good.clone(), Instruction::Rows { operand: 0, first: 99 }],
        vec![good.clone(), Instruction::Rows { operand: 0, first: 0 }],
        vec![multiply(rows(vec![block(0, 0)]), 7)],
        vec![good.clone(), multiply(rows(vec![]), 0)],
        vec![good.clone(), multiply(rows(vec![block(0, 99)]), 0)],
        vec![good.clone(), multiply(rows(vec![block(9, 0)]), 0)],
        vec![good.clone(), multiply(rows(vec![block(0, 0); 200_000]), 0)],
        vec![good.clone(), multiply(Left::Columns(vec![block(0, 0); 2]), 0)],
        vec![good.clone(), multiply(Left::Operand(9), 0)],
        vec![good.clone(), multiply(Left::Operand(0), 0)],
        vec![good.clone(), asked(rows(vec![block(0, 0)]), 0, (3, 2))],
        vec![good.clone(), asked(rows(vec![block(0, 0)]), 0, (0, u32::MAX))],
        vec![
            good.clone(),
            Instruction::Accumulate {
                slot: u32::MAX,
                left: rows(vec![block(0, 0)]),
                right: 0,
                section: section((0, 4)),
            },
        ],
        vec![Instruction::Labels { blocks: vec![block(0, 99)] }],
        vec![Instruction::Labels { blocks: vec![block(0, 0); 200_000] }],
    ] {
        // A round is given up after a few wardens were lost in it; there are enough of them for some of the time.
        match site.connect().command(&refine, &[]) {
            Err(blindsmith_client::Failure::Refused(why)) => assert!(why.contains("8 rounds"), "{why}"),
            asked => asked.unwrap(),
        }
        let mut stream = restored(&site);
        for instruction in &instructions {
            _ = write_frame(&mut stream, &FromWarden::Do(instruction.clone()), &[]);
        }
        _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        if !answer.is_empty() {
            let (message, _) = read_head::<ToWarden>(&mut answer.as_slice()).unwrap();
            let failed = matches!(message, ToWarden::Failed { .. });
            assert!(failed, "{instructions:?} was answered by {message:?}");
        }
    }
    site.services.start_warden().unwrap();
    assert_serves(&site);
}

#[test]
fn a_round_is_given_up_when_warden_after_warden_is_lost_in_it() {
    let mut site = ready();
    site.services.kill_warden();
    site.until(|status| status.warden.is_none());
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    for _ in 0..5 {
        drop(restored(&site));
    }
    site.until(|status| status.failure.is_some());
    site.services.start_warden().unwrap();
    site.on_project("refine", &["--wait-only"]).refused(5, &["the warden was lost 5 times"]);
    assert_serves(&site);
}

#[test]
fn random_bytes_end_no_process() {
    let site = ready();
    let sockets = [site.services.socket(), site.services.store().join("warden.sock")];
    let magic = frame(&Request::Ping, b"")[..8].to_vec();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let bytes = (proptest::collection::vec(any::<u8>(), 0..200), any::<bool>());
    let tried = runner.run(&bytes, |(bytes, ours)| {
        let bytes = if ours { [magic.clone(), bytes].concat() } else { bytes };
        sockets.iter().for_each(|socket| _ = exchange(socket, &bytes));
        Ok(())
    });
    tried.unwrap();
    assert_serves(&site);
}
