//! Refinery and warden as child processes, for demonstrations, benchmarks and tests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blindsmith_api::message::{Reply, Request};

use blindsmith_client::trust::answers;
use blindsmith_client::{Connection, Failure};

/// A running refinery and a running simulated warden; both end when this is dropped.
pub struct Services {
    dir: PathBuf,
    refinery: Option<Child>,
    warden: Option<Child>,
    threads: Option<usize>,
    environment: Vec<(&'static str, String)>,
}

/// The program of this name beside the running one.
fn beside(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::Other(e.to_string()))?;
    // Tests run from a directory below the one where programs are built.
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::Other(format!(
            "{name} is not beside {}: build it with cargo build --release --workspace",
            own.display()
        ))
    })
}

impl Services {
    /// Starts both with their files under `dir`, the refinery as `dir`/refinery.toml says, if that is there.
    pub fn start(dir: &Path, threads: Option<usize>) -> Result<Self, Failure> {
        let mut services =
            Services { dir: dir.to_owned(), refinery: None, warden: None, threads, environment: Vec::new() };
        services.start_refinery()?;
        services.start_warden()?;
        Ok(services)
    }

    /// The refinery's socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("refinery").join("refinery.sock")
    }

    /// The refinery's directory.
    pub fn store(&self) -> PathBuf {
        self.dir.join("refinery")
    }

    fn spawn(&self, name: &str, arguments: &[&std::ffi::OsStr]) -> Result<Child, Failure> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{name}.log")))
            .map_err(|e| Failure::Other(e.to_string()))?;
        let mut command = Command::new(beside(name)?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(threads) = self.threads {
            command.arg("--threads").arg(threads.to_string());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.spawn().map_err(|e| Failure::Other(format!("{name} could not be started: {e}")))
    }

    /// Starts the refinery and waits until it answers.
    pub fn start_refinery(&mut self) -> Result<(), Failure> {
        let config = self.dir.join("refinery.toml");
        let path = config.to_str().filter(|_| config.is_file());
        self.start_refinery_with(path.map(|path| ["--config", path]).as_ref().map_or(&[], |both| both))
    }

    /// The same with more arguments.
    pub fn start_refinery_with(&mut self, more: &[&str]) -> Result<(), Failure> {
        let store = self.store();
        let mut arguments = vec!["--store".as_ref(), store.as_os_str()];
        arguments.extend(more.iter().map(|argument| argument.as_ref() as &std::ffi::OsStr));
        end(&mut self.refinery);
        self.refinery = Some(self.spawn("blindsmith-refinery", &arguments)?);
        let socket = self.socket();
        self.wait("the refinery", || {
            Connection::open(&socket)
                .is_ok_and(|mut c| matches!(c.request(&Request::Ping, &[]), Ok((Reply::Done, _))))
        })
    }

    /// Starts the warden and waits until the refinery can reach it.
    pub fn start_warden(&mut self) -> Result<(), Failure> {
        let link = self.store().join("warden.sock");
        self.start_warden_at(&link, &[])
    }

    /// The same at another socket, behind which the refinery may be, with more arguments.
    pub fn start_warden_at(&mut self, link: &Path, more: &[&str]) -> Result<(), Failure> {
        self.spawn_warden(link, more)?;
        self.await_warden()
    }

    fn spawn_warden(&mut self, link: &Path, more: &[&str]) -> Result<(), Failure> {
        let state = self.dir.join("warden");
        let mut arguments = vec![
            "--refinery".as_ref(),
            link.as_os_str(),
            "--tee".as_ref(),
            "simulated".as_ref(),
            "--state".as_ref(),
            state.as_os_str(),
        ];
        arguments.extend(more.iter().map(|argument| argument.as_ref() as &std::ffi::OsStr));
        end(&mut self.warden);
        self.warden = Some(self.spawn("blindsmith-warden", &arguments)?);
        Ok(())
    }

    /// Waits until the refinery can reach the warden, which connects again by itself when the refinery was
    /// away.
    pub fn await_warden(&mut self) -> Result<(), Failure> {
        let socket = self.socket();
        self.wait("the warden", || {
            Connection::open(&socket).is_ok_and(|mut connection| answers(&mut connection).is_ok())
        })
    }

    /// Polls until `ready`: starting takes milliseconds, and there is nothing to be told by.
    fn wait(&mut self, what: &str, ready: impl Fn() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            if self.ended().contains(&true) || Instant::now() > deadline {
                return Err(Failure::Other(format!(
                    "{what} did not start: see the logs in {}",
                    self.dir.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts the refinery if it is not running.
    pub fn start_refinery_if_away(&mut self) -> Result<(), Failure> {
        if self.refinery.is_some() { Ok(()) } else { self.start_refinery() }
    }

    /// Starts the warden if it is not running; else waits until the refinery can reach it.
    pub fn start_warden_if_away(&mut self) -> Result<(), Failure> {
        if self.warden.is_some() { Ok(()) } else { self.spawn_warden(&self.store().join("warden.sock"), &[]) }
    }

    /// Processes that are started from now on have these environment variables beside their parent's.
    pub fn set_environment(&mut self, variables: &[(&'static str, &str)]) {
        self.environment = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    }

    /// Whether refinery and warden ended by themselves.
    pub fn ended(&mut self) -> [bool; 2] {
        [&mut self.refinery, &mut self.warden]
            .map(|child| child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))))
    }

    /// The processes' identifiers: refinery and warden.
    pub fn processes(&self) -> [Option<u32>; 2] {
        [&self.refinery, &self.warden].map(|child| child.as_ref().map(Child::id))
    }

    /// Kills the refinery (SIGKILL).
    pub fn kill_refinery(&mut self) {
        end(&mut self.refinery);
    }

    /// Kills the warden (SIGKILL).
    pub fn kill_warden(&mut self) {
        end(&mut self.warden);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        _ = child.kill();
        _ = child.wait();
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.kill_warden();
        self.kill_refinery();
    }
}
