//! A process that dies at any write, or whose disk is full at any, leaves the old state or the new one.
//!
//! The test runs itself as a child that goes through a script and says what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use blindsmith_protocol::{Blob, Id, UploadHeader};
use blindsmith_refinery::store::{JobName, UploadState};
use blindsmith_refinery::{Places, Store, StoreError, Verdict};
use tempfile::TempDir;

use super::project::{blocks, header, record, spec};

const ROOT: &str = "BLINDSMITH_TEST_CRASH_STORE";

fn upload(count: u32) -> (Vec<u8>, UploadHeader) {
    let bytes = blocks(&spec(), count);
    let header = header(&spec(), &bytes);
    (bytes, header)
}

fn places(root: &Path) -> Places {
    let mut places = Places::directory(&root.join("store"));
    if root.join("objects").is_dir() {
        places.blobs = Some(format!("file://{}", root.join("objects").display()));
    }
    places
}

fn job() -> JobName {
    JobName { project: spec().id(), kind: "round".into(), key: b"a".to_vec() }
}

/// Takes the job and ends it with a round.
fn carry_out(store: &Store) -> Result<(), StoreError> {
    let lease = store.take_job(&job(), SystemTime::UNIX_EPOCH, Duration::ZERO)?;
    store.save_round(&spec().id(), &record(1), lease.as_ref())
}

/// A step of the script, what does it, and whether it was done.
type Step = (&'static str, fn(&Store) -> Result<(), StoreError>, fn(&Store) -> bool);

fn stored(store: &Store, count: u32) -> Option<UploadState> {
    let id = upload(count).1.id();
    let found = store.upload(&spec().id(), &id).ok()?;
    if found.state == UploadState::Stored {
        // All of it, compared with its digest.
        assert_eq!(
            store.rows(&spec().id(), &id).unwrap().metadata().unwrap().len(),
            upload(count).0.len() as u64
        );
    }
    Some(found.state)
}

/// Whether the rows of an upload are there, whatever the records say.
fn has_rows(store: &Store, count: u32) -> bool {
    let name = blake3::hash(&upload(count).0).to_hex().to_string();
    store.fsck().unwrap().orphaned.iter().any(|path| path.ends_with(&name))
}

const SCRIPT: [Step; 11] = [
    (
        "create",
        |s| s.create(&spec(), b"model"),
        |s| s.initial_model(&spec().id()).is_ok_and(|m| m == b"model"),
    ),
    (
        "upload",
        |s| {
            let (bytes, header) = upload(1);
            let mut incoming = s.receive(&spec(), (&header).into())?;
            incoming.blocks_arrived(&bytes)?;
            incoming.commit(&header)
        },
        |s| stored(s, 1).is_some(),
    ),
    (
        "judge",
        |s| {
            let mut file = s.projections()?;
            std::io::Write::write_all(&mut file, b"projections").unwrap();
            s.judge(&spec().id(), &upload(1).1.id(), file, &Verdict::Admitted(Blob(vec![1])))
        },
        |s| s.upload(&spec().id(), &upload(1).1.id()).is_ok_and(|u| u.verdict.is_some()),
    ),
    (
        "partial",
        |s| {
            let (bytes, header) = upload(2);
            let id = match s.partials()?.first() {
                Some(found) => found.id,
                None => s.begin_partial(&spec().id(), &Id([8; 32]))?,
            };
            // From where it is, as a client does that comes back.
            let at = s.partial(&id)?.bytes;
            for (offset, end) in [(0, 1000), (1000, bytes.len())] {
                if at <= offset as u64 {
                    s.append_partial(&id, offset as u64, &bytes[offset..end])?;
                }
            }
            s.open_partial(&id, &spec(), (&header).into())?.commit(&header)
        },
        |s| stored(s, 2).is_some(),
    ),
    (
        "round",
        |s| s.save_round(&spec().id(), &record(0), None),
        |s| s.round(&spec().id(), 0).is_ok_and(|r| r == record(0)),
    ),
    (
        "fault",
        |s| s.save_fault(&spec().id(), b"fault"),
        |s| !s.faults(&spec().id()).unwrap_or_default().is_empty(),
    ),
    (
        "order",
        |s| s.save_order(&spec().id(), 1, b"one"),
        |s| s.orders(&spec().id()).is_ok_and(|o| o.len() == 1),
    ),
    (
        "enqueue",
        |s| s.enqueue(&job(), b"", SystemTime::UNIX_EPOCH).map(|_| ()),
        |s| s.jobs().is_ok_and(|jobs| jobs.len() == 1 || s.round(&spec().id(), 1).is_ok()),
    ),
    ("carry out", carry_out, |s| {
        s.jobs().is_ok_and(|jobs| jobs.is_empty()) && s.round(&spec().id(), 1).is_ok()
    }),
    (
        "withdraw",
        |s| s.withdraw(&spec().id(), &upload(1).1.id()),
        |s| stored(s, 1) == Some(UploadState::Withdrawn) && !has_rows(s, 1),
    ),
    ("gc", |s| s.gc(Duration::ZERO).map(|_| ()), |_| true),
];

/// The child: goes through the script, each refused step once more.
#[test]
fn script() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let open = || Store::open_at(&places(Path::new(&root)));
    let store = open().or_else(|_| open()).unwrap();
    for (name, act, _) in SCRIPT {
        if act(&store).is_err() {
            println!("\nrefused {name}");
            act(&store).unwrap();
        }
        println!("\ndone {name}");
    }
}

fn run(root: &Path, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::script", "--nocapture"]).env(ROOT, root);
    child.env_remove("RUST_BACKTRACE").envs(variables.iter().copied());
    child.output().unwrap()
}

/// Everything that the child said was done is; what it did not finish is done or not; and it goes on.
fn check(root: &Path, output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    let done = SCRIPT.iter().filter(|(name, ..)| said.contains(&format!("\ndone {name}\n"))).count();
    let store = Store::open_at(&places(root)).unwrap();
    for (i, (name, act, was_done)) in SCRIPT.into_iter().enumerate() {
        if i < done {
            assert!(was_done(&store), "{what}: {name} was acknowledged and is gone");
        } else if i > done && name != "gc" {
            assert!(!was_done(&store), "{what}: {name} did not happen yet");
        }
        if i >= done && !was_done(&store) {
            let found = store.fsck().unwrap();
            assert!(found.is_sound(), "{what}, before {name}: {found:?}");
            act(&store).unwrap_or_else(|e| panic!("{what}: {name} does not go on: {e}"));
            assert!(was_done(&store), "{what}: {name}");
        }
    }
    store.gc(Duration::ZERO).unwrap();
    let found = store.fsck().unwrap();
    assert!(found.is_sound() && found.orphaned.is_empty(), "{what}: {found:?}");
    assert_eq!(store.projects().unwrap()[0].uploads.len(), 2, "{what}");
    assert!(store.partials().unwrap().is_empty(), "{what}");
}

/// Fails at every passage of every write of the script.
fn everywhere(objects: bool) {
    let fresh = || {
        let root = TempDir::new().unwrap();
        if objects {
            std::fs::create_dir(root.path().join("objects")).unwrap();
        }
        root
    };
    let root = fresh();
    let log = root.path().join("log");
    let whole = run(root.path(), &[("BLINDSMITH_FAILPOINT_LOG", log.to_str().unwrap())]);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let mut passages: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let (name, kind) = line.split_once(' ').unwrap();
        *passages.entry((name.to_owned(), kind == "refusable")).or_default() += 1;
    }
    assert!(passages.len() >= 10, "{passages:?}");
    for ((name, refusable), count) in passages {
        for n in 1..=count {
            let writes = name.ends_with(".write");
            for action in [Some("abort"), refusable.then_some("error"), writes.then_some("torn")] {
                let Some(action) = action else { continue };
                let what = format!("{name}:{n}:{action}");
                let root = fresh();
                let output = run(root.path(), &[("BLINDSMITH_FAILPOINT", &what)]);
                // An error is survived: the step is refused, and done when it is asked for again.
                let text = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.success(), action == "error", "{what}: {text}");
                check(root.path(), &output, &what);
            }
        }
    }
}

#[test]
fn any_write_may_fail_in_a_directory() {
    everywhere(false);
}

#[test]
fn any_write_may_fail_with_an_object_store() {
    everywhere(true);
}
