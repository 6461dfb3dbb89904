//! A refinery, a warden and project directories for one test, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use blindsmith_api::message::{ProjectStatus, Reply, Request};
use blindsmith_client::{ClientProject, Connection};
use blindsmith_lab::Services;
use blindsmith_protocol::Id;
use blindsmith_refinery::{Places, Store};
use serde_json::Value;
use tempfile::TempDir;

/// Services and files of one test; processes end and files go when it is dropped.
pub struct Site {
    pub services: Services,
    pub dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The programs beside this package's own.
const PROGRAMS: [&str; 3] = ["blindsmith-refinery", "blindsmith-warden", "blindsmith-appraiser"];

/// Builds the others where cargo did not: `cargo test -p blindsmith` builds this package's own
/// program only.
pub fn programs() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let own = std::env::current_exe().unwrap();
        let dir = own.ancestors().nth(2).unwrap();
        if PROGRAMS.iter().all(|name| dir.join(name).is_file()) {
            return;
        }
        let profile = match dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--profile", profile])
            .args(PROGRAMS.iter().flat_map(|name| ["-p", name]))
            .arg("--target-dir")
            .arg(dir.parent().unwrap())
            .status();
        assert!(built.unwrap().success(), "the other programs could not be built");
    });
}

impl Site {
    /// A directory with a running refinery and a running simulated warden, one thread each: tests run side by
    /// side.
    pub fn new() -> Self {
        programs();
        let dir = TempDir::with_prefix("blindsmith-test-").unwrap();
        let services = Services::start(dir.path(), Some(1)).unwrap();
        Site { services, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file; returns its path as an argument.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        argument(&path)
    }

    pub fn socket(&self) -> String {
        argument(&self.services.socket())
    }

    /// Runs `blindsmith` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let done = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let outcome = Outcome {
            code: done.status.code(),
            stdout: String::from_utf8(done.stdout).unwrap(),
            stderr: String::from_utf8(done.stderr).unwrap(),
        };
        assert!(!outcome.stderr.contains("panicked"), "{arguments:?}: {}", outcome.stderr);
        outcome
    }

    /// Runs a command on project `p`, with its result as JSON.
    pub fn on_project(&self, command: &str, more: &[&str]) -> Outcome {
        self.run(&[&[command, "--project", "p", "--json"], more].concat())
    }

    /// Creates project `p` from the rows in file `data`.
    pub fn init(&self, data: &str, more: &[&str]) -> Outcome {
        self.init_as("p", data, more)
    }

    pub fn init_as(&self, project: &str, data: &str, more: &[&str]) -> Outcome {
        let socket = self.socket();
        let common = ["--refinery", &socket, "--data", data, "--accept-simulated", "--json"];
        self.run(&[&["init", "--project", project], common.as_slice(), more].concat())
    }

    /// Pushes rows in the order of their file, whether they were pushed before or not.
    pub fn push(&self, data: &str, more: &[&str]) -> Outcome {
        self.on_project("push", &[&["--data", data, "--keep-order", "--again"], more].concat())
    }

    /// Waits until no round is running or due; the status then.
    pub fn wait(&self) -> Value {
        self.on_project("refine", &["--wait-only"]).ok().json()
    }

    pub fn status(&self) -> Value {
        self.on_project("status", &[]).ok().json()
    }

    /// The version written to `file`.
    pub fn pull(&self, file: &str, more: &[&str]) -> u64 {
        let outcome = self.on_project("pull", &[&["--out", file], more].concat()).ok();
        outcome.json()["version"].as_u64().unwrap()
    }

    /// Asks until the status is as it will be once the refinery has noticed what happened.
    pub fn until(&self, done: impl Fn(&ProjectStatus) -> bool) {
        let (project, deadline) = (self.project().id(), Duration::from_secs(60));
        let (mut connection, start) = (self.connect(), Instant::now());
        loop {
            let status = connection.status(project).unwrap();
            if done(&status) {
                return;
            }
            assert!(start.elapsed() < deadline, "{status:?}");
            std::thread::yield_now();
        }
    }

    pub fn project(&self) -> ClientProject {
        ClientProject::load(&self.path("p")).unwrap()
    }

    /// The refinery's store, beside the refinery if it runs.
    pub fn stored(&self) -> Store {
        Store::beside(&Places::directory(&self.services.store())).unwrap()
    }

    /// Where the refinery keeps a content.
    pub fn blob(&self, name: &Id) -> PathBuf {
        let name = name.to_string();
        self.services.store().join("blobs").join(&name[..2]).join(name)
    }

    /// The rows of an upload at the refinery.
    pub fn stored_rows(&self, upload: &Id) -> PathBuf {
        self.blob(&self.stored().upload(&self.project().id(), upload).unwrap().rows)
    }

    /// Nothing can be written any more at the refinery, until what this returns is dropped.
    pub fn in_the_way(&self) -> InTheWay {
        let incoming = self.services.store().join("incoming");
        std::fs::remove_dir(&incoming).unwrap();
        std::fs::write(&incoming, "").unwrap();
        InTheWay(incoming)
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.services.socket()).unwrap()
    }

    /// Waits until a round of `p` has made `steps` steps, then has `act` done while it goes on. If the round
    /// ends first, the test has proved nothing, and fails.
    pub fn during_a_round(&mut self, steps: u64, act: impl FnOnce(&mut Services)) {
        let (project, mut connection) = (self.project().id(), self.connect());
        connection.send(&Request::Watch { project }, &[]).unwrap();
        loop {
            match connection.receive().unwrap().0 {
                Reply::Progress(progress) if progress.step >= steps => {
                    assert!(progress.step < progress.steps, "the round was over before it was disturbed");
                    return act(&mut self.services);
                }
                Reply::Progress(_) => {}
                _ => panic!("the round was over before it was disturbed"),
            }
        }
    }

    /// What a program wrote to its standard error.
    pub fn log(&self, program: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{program}.log"))).unwrap()
    }

    /// What refinery and warden wrote to their standard error.
    pub fn logs(&self) -> String {
        self.log("blindsmith-refinery") + &self.log("blindsmith-warden")
    }

    /// No process panicked: not one that was killed, nor one that refused.
    pub fn assert_no_panic(&self) {
        assert!(!self.logs().contains("panicked"), "{}", self.logs());
    }
}

/// A file where a directory is needed.
pub struct InTheWay(PathBuf);

impl Drop for InTheWay {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
        std::fs::create_dir(&self.0).unwrap();
    }
}

pub fn argument(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

impl Outcome {
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON object on standard output.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Ended with this exit code, saying all of these words.
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }
}
