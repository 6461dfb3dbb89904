//! The program, as a warden starts it: what it answers, what it has, and when it ends.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use blindsmith_evidence::{Attester, Finding, Given, Question, Simulated, hear, tell};
use blindsmith_identity::SigningKey;
use blindsmith_protocol::Blob;
use rustix::io::{FdFlags, fcntl_setfd};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindsmith-appraiser"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A process that is ready, and the warden's end.
fn start(arguments: &[&str]) -> (Child, UnixStream) {
    let (mut own, other) = UnixStream::pair().unwrap();
    let child = command().args(arguments).stdin(OwnedFd::from(other)).spawn().unwrap();
    assert!(matches!(hear(&mut own).unwrap(), Finding::Ready));
    (child, own)
}

/// How it ended, and its words.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    (child.wait().unwrap().code(), words)
}

fn ask(stream: &mut UnixStream, question: &Question) -> Finding {
    tell(stream, question).unwrap();
    hear(stream).unwrap()
}

#[test]
fn questions_are_answered_until_the_warden_is_gone() {
    let (child, mut warden) = start(&[]);
    let policy = "accept_simulated = true";
    assert!(matches!(ask(&mut warden, &Question::Policy(policy.into())), Finding::Ready));
    let Finding::Unusable { what: Given::Policy, why } = ask(&mut warden, &Question::Policy("=".into()))
    else {
        panic!("no policy");
    };
    assert!(why.contains("not usable as a policy"), "{why}");
    let simulated = Simulated::new(SigningKey::from_seed(&[4; 32]), [5; 32]);
    let report = Blob(simulated.report(&[6; 64]).unwrap().report);
    let question = |policy: &str, report: &Blob, part: &[u8]| Question::Report {
        policy: policy.into(),
        report: report.clone(),
        collateral: if part.is_empty() { vec![] } else { vec![Blob(part.to_vec())] },
        at: 1_790_000_000,
    };
    for (policy, accepted) in [(policy, true), ("", false), (policy, true)] {
        let Finding::Appraisal(found) = ask(&mut warden, &question(policy, &report, b"")) else {
            panic!("an appraisal");
        };
        assert_eq!((found.accepted, found.tee), (accepted, "simulated"));
        assert_eq!(found.report_data, Some("06".repeat(64)));
    }
    for (question, unusable) in [
        (question("=", &report, b""), Given::Policy),
        (question(policy, &Blob(vec![1; 90]), b""), Given::Report),
        (question(policy, &report, b"abc"), Given::Collateral),
    ] {
        let found = ask(&mut warden, &question);
        assert!(matches!(found, Finding::Unusable { what, .. } if what == unusable), "{found:?}");
    }
    drop(warden);
    assert_eq!(ended(child), (Some(0), String::new()));
}

#[test]
fn it_is_confined_and_has_nothing_but_its_pair_and_standard_error() {
    // Open in the warden, and not closed when programs are started.
    let (mut read, write) = std::io::pipe().unwrap();
    fcntl_setfd(&write, FdFlags::empty()).unwrap();
    let (child, warden) = start(&[]);
    drop(write);
    // Another test of this process may have started one meanwhile, which closes it as well: nothing waits for long.
    assert_eq!(read.read(&mut [0]).unwrap(), 0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in: {status}");
    }
    drop(warden);
    assert_eq!(ended(child), (Some(0), String::new()));
    let (child, warden) = start(&["--sandbox=off"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(status.contains("Seccomp:\t0"), "{status}");
    drop(warden);
    assert_eq!(ended(child), (Some(0), String::new()));
}

#[test]
fn what_is_no_question_ends_it() {
    for (bytes, words) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], "does not speak this protocol"), (b"BLSM", "the connection failed")]
    {
        let (child, mut warden) = start(&[]);
        warden.write_all(bytes).unwrap();
        warden.shutdown(std::net::Shutdown::Write).unwrap();
        let (code, said) = ended(child);
        assert_eq!(code, Some(1));
        assert!(said.contains(words) && !said.contains("panicked"), "{words}: {said}");
    }
}

#[test]
fn nobody_but_a_warden_starts_it() {
    let (code, said) = ended(command().spawn().unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("a warden starts this program"), "{said}");
    let (_own, other) = UnixStream::pair().unwrap();
    let other = command().arg("--help").stdin(OwnedFd::from(other)).spawn().unwrap();
    let (code, said) = ended(other);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no option"), "{said}");
}
