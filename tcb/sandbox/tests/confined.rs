//! What a confined process can and cannot do. This program runs itself anew for each attempt, confined, and looks at how
//! that process ends; it has no test harness, whose threads would be there before the sandbox.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use blindsmith_sandbox::{
    Environment, Memory, MemoryLock, Report, Restricted, Rules, SandboxError, restrict, seclude,
};
use rustix::net::{AddressFamily, SocketAddrAny, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Says what a process is to attempt, by its number, and where.
const ATTEMPT: &str = "BLINDSMITH_SANDBOX_ATTEMPT";
const ROOT: &str = "BLINDSMITH_SANDBOX_ROOT";
/// Exit status of an attempt that was refused with an error; of one that this kernel cannot refuse.
const DENIED: i32 = 10;
const SKIPPED: i32 = 11;

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// It works.
    Works,
    /// It gets an error, and the process goes on.
    Denied,
    /// The same where landlock's rules have this version.
    DeniedSince(i32),
    /// The process is killed by the filter.
    Dies,
    /// The process ends itself.
    Aborts,
}
use End::{Aborts, Denied, DeniedSince, Dies, Works};

/// What an attempt has.
struct Place {
    root: PathBuf,
    /// A TCP socket that was there before.
    tcp: OwnedFd,
    report: Restricted,
}

impl Place {
    fn state(&self, name: &str) -> PathBuf {
        self.root.join("state").join(name)
    }
}

/// The socket of a stranger in the abstract namespace.
fn abstract_name(root: &Path) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(root.as_os_str().as_encoded_bytes())
}

/// A system call without pointers, or with null ones.
fn raw(call: libc::c_long, arguments: &[u64]) -> io::Result<()> {
    let argument = |i: usize| arguments.get(i).copied().unwrap_or(0);
    // SAFETY: no argument is an address of anything that this program has; a process that is made by mistake ends at once.
    let result = unsafe {
        libc::syscall(call, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5))
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 if call == libc::SYS_clone => std::process::exit(0),
        _ => Ok(()),
    }
}

fn status(name: &str) -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    Ok(line.unwrap_or_default().trim().to_owned())
}

type Attempt = (&'static str, End, fn(&Place) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("nothing is left of its rights", Works, |place| {
        assert_eq!((status("NoNewPrivs")?.as_str(), status("Seccomp")?.as_str()), ("1", "2"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set)?, "0000000000000000", "{set}");
        }
        if place.report.root {
            assert_eq!(status("CapBnd")?, "0000000000000000");
        }
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        assert_eq!(status("VmLck")? == "0 kB", place.report.memory != Memory::Locked);
        Ok(())
    }),
    ("files of the state are made, written, replaced, listed and removed", Works, |place| {
        let (file, beside) = (place.state("counters/a"), place.state("counters/a.new"));
        fs::create_dir(place.state("counters"))?;
        for content in ["one", "two"] {
            let mut options = fs::OpenOptions::new();
            let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            new.write_all(content.as_bytes())?;
            new.sync_all()?;
            fs::rename(&beside, &file)?;
            fs::File::open(place.state("counters"))?.sync_all()?;
        }
        assert_eq!(fs::read(&file)?, b"two");
        assert_eq!(fs::read_dir(place.state("counters"))?.count(), 1);
        fs::remove_file(&file)?;
        fs::File::create(place.state("lock"))?.try_lock().map_err(io::Error::from)
    }),
    ("its own status and limits are read", Works, |_| {
        assert!(status("VmHWM")?.ends_with("kB"));
        std::thread::available_parallelism().map(drop)
    }),
    ("threads come, allocate, panic and go", Works, |_| {
        std::panic::set_hook(Box::new(|_| {}));
        let lengths = |n: usize| (0..100 * n).map(|i| vec![i as u8; 1 << 12].len()).sum::<usize>();
        let threads: Vec<_> = (1..=8).map(|n| std::thread::spawn(move || lengths(n))).collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), ((n + 1) * 100) << 12);
        }
        let large = vec![1_u8; 64 << 20];
        assert!(std::thread::spawn(move || large[large.len()]).join().is_err());
        std::thread::Builder::new().name("named".into()).spawn(std::thread::yield_now)?.join().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
        Ok(())
    }),
    ("sealed memory is shared", Works, |_| {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, 1 << 36)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        assert!(fcntl_get_seals(&file)?.contains(SealFlags::SHRINK));
        rustix::io::pwrite(&file, b"operand", 1 << 20)?;
        let mut read = [0; 7];
        rustix::io::pread(&file, &mut read, 1 << 20)?;
        assert_eq!(&read, b"operand");
        Ok(())
    }),
    ("the refinery's socket is connected to, again and again", Works, |place| {
        for _ in 0..3 {
            let mut stream = UnixStream::connect(place.root.join("refinery/link.sock"))?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting)?;
            assert_eq!(&greeting, b"hello");
            stream.try_clone()?.shutdown(std::net::Shutdown::Both)?;
        }
        Ok(())
    }),
    ("it may end itself", Aborts, |_| std::process::abort()),
    ("a file outside is read", Denied, |place| fs::read(place.root.join("secret")).map(drop)),
    ("the list of users is read", Denied, |_| fs::read("/etc/passwd").map(drop)),
    ("another process is looked at", Denied, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid());
        fs::read(format!("/proc/{parent}/status")).map(drop)
    }),
    ("a folder outside is listed", Denied, |_| fs::read_dir("/etc").map(drop)),
    ("a file outside is written", Denied, |place| fs::write(place.root.join("new"), "x")),
    ("a file outside is truncated", Denied, |place| {
        fs::OpenOptions::new().write(true).truncate(true).open(place.root.join("secret")).map(drop)
    }),
    ("a file outside is removed", Denied, |place| fs::remove_file(place.root.join("secret"))),
    ("a file of the state leaves it", Denied, |place| {
        fs::write(place.state("key"), "x")?;
        fs::rename(place.state("key"), place.root.join("key"))
    }),
    ("its memory is written by its file", Denied, |_| {
        fs::OpenOptions::new().write(true).open("/proc/self/mem").map(drop)
    }),
    ("a device is opened", Denied, |_| fs::File::open("/dev/zero").map(drop)),
    ("a TCP socket from before connects", DeniedSince(4), |place| {
        let local: std::net::SocketAddr = ([127, 0, 0, 1], 9).into();
        match connect(&place.tcp, &SocketAddrAny::from(local)) {
            Err(rustix::io::Errno::CONNREFUSED) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }),
    ("a stranger's abstract socket is connected to", DeniedSince(6), |place| {
        UnixStream::connect_addr(&abstract_name(&place.root)?).map(drop)
    }),
    ("a stranger's socket by path is connected to", DeniedSince(9), |place| {
        UnixStream::connect(place.root.join("stranger.sock")).map(drop)
    }),
    ("threads are made by clone3", Denied, |_| raw(libc::SYS_clone3, &[])),
    ("a program is executed", Dies, |_| Err(Command::new("/bin/true").exec())),
    ("a child runs a program", Dies, |_| Command::new("/bin/true").status().map(drop)),
    ("a child is forked", Dies, |_| raw(libc::SYS_clone, &[libc::SIGCHLD as u64])),
    ("a thread is made in a namespace of its own", Dies, |_| {
        raw(
            libc::SYS_clone,
            &[(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_NEWNS) as u64],
        )
    }),
    ("its parent is traced", Dies, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid());
        raw(libc::SYS_ptrace, &[libc::PTRACE_ATTACH as u64, parent as u64])
    }),
    ("it lets itself be traced", Dies, |_| raw(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as u64])),
    ("a TCP connection is made", Dies, |_| TcpStream::connect("127.0.0.1:9").map(drop)),
    ("a TCP port is listened on", Dies, |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("a datagram socket is made", Dies, |_| UnixDatagram::unbound().map(drop)),
    ("a socket is listened on", Dies, |place| UnixListener::bind(place.state("own.sock")).map(drop)),
    ("a kernel socket is made", Dies, |_| {
        raw(libc::SYS_socket, &[libc::AF_NETLINK as u64, libc::SOCK_RAW as u64])
    }),
    ("its parent is killed", Dies, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid());
        raw(libc::SYS_kill, &[parent as u64, 0])
    }),
    ("a thread of another process is aborted", Dies, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid()) as u64;
        raw(libc::SYS_tgkill, &[parent, parent, libc::SIGABRT as u64])
    }),
    ("memory becomes executable", Dies, |_| {
        raw(libc::SYS_mprotect, &[0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64])
    }),
    ("executable memory is mapped", Dies, |_| {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        raw(libc::SYS_mmap, &[0, 4096, protection as u64, flags as u64, u64::MAX])
    }),
    ("a key is pressed in its terminal", Dies, |_| raw(libc::SYS_ioctl, &[2, (libc::TIOCSTI as u32).into()])),
    ("it becomes dumpable again", Dies, |_| raw(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1])),
    ("core files are allowed again", Dies, |_| {
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        Ok(())
    }),
    ("memory is unlocked", Dies, |_| raw(libc::SYS_munlockall, &[])),
    ("another process's memory is read", Dies, |_| raw(libc::SYS_process_vm_readv, &[1])),
    ("another process's memory is written", Dies, |_| raw(libc::SYS_process_vm_writev, &[1])),
    ("a program for the kernel is loaded", Dies, |_| raw(libc::SYS_bpf, &[])),
    ("requests are queued with the kernel", Dies, |_| raw(libc::SYS_io_uring_setup, &[])),
    ("a file is opened by its handle", Dies, |_| raw(libc::SYS_open_by_handle_at, &[])),
    ("a file system is mounted", Dies, |_| raw(libc::SYS_mount, &[])),
    ("namespaces are left", Dies, |_| raw(libc::SYS_unshare, &[])),
    ("another process's file is taken", Dies, |_| raw(libc::SYS_pidfd_getfd, &[])),
    ("page faults are handled by itself", Dies, |_| raw(libc::SYS_userfaultfd, &[])),
    ("performance counters are read", Dies, |_| raw(libc::SYS_perf_event_open, &[])),
    ("keys of the kernel are used", Dies, |_| raw(libc::SYS_keyctl, &[])),
    ("its user changes", Dies, |_| raw(libc::SYS_setuid, &[])),
    ("another filter is put on top", Dies, |_| raw(libc::SYS_seccomp, &[])),
    ("its personality changes", Dies, |_| raw(libc::SYS_personality, &[])),
    ("a mode is changed", Dies, |place| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(place.state("."), mode)
    }),
    #[cfg(target_arch = "x86_64")]
    ("a call by the numbers of x32", Dies, |_| raw(libc::SYS_getpid | 0x4000_0000, &[])),
];

/// Of a process that has what is open and gets nothing more; its place has no report.
type Secluded = (&'static str, End, fn(&Path) -> io::Result<()>);

const SECLUDED: &[Secluded] = &[
    ("secluded: what is open is used, threads come and go", Works, |_| {
        let (mut one, mut other) = UNIX_PAIR.with(|pair| pair.take()).unwrap();
        let thread = std::thread::Builder::new().spawn(move || other.write_all(b"question"))?;
        let mut read = [0; 8];
        one.read_exact(&mut read)?;
        thread.join().unwrap()?;
        assert_eq!((&read, vec![1_u8; 64 << 20].len()), (b"question", 64 << 20));
        eprintln!("standard error is written to");
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        Ok(())
    }),
    ("secluded: memory ends", Aborts, |_| {
        std::hint::black_box(vec![1_u8; 2 << 30]);
        Ok(())
    }),
    ("secluded: its own status is read", Denied, |_| status("Seccomp").map(drop)),
    ("secluded: the list of users is read", Denied, |_| fs::read("/etc/passwd").map(drop)),
    ("secluded: a file beside it is read", Denied, |root| fs::read(root.join("secret")).map(drop)),
    ("secluded: a file is made", Denied, |root| fs::write(root.join("state/new"), "x")),
    ("secluded: a device is opened", Denied, |_| fs::File::open("/dev/zero").map(drop)),
    ("secluded: a file is removed", Dies, |root| fs::remove_file(root.join("secret"))),
    ("secluded: a folder is listed", Denied, |root| fs::read_dir(root).map(drop)),
    ("secluded: the refinery's socket is connected to", Dies, |root| {
        UnixStream::connect(root.join("refinery/link.sock")).map(drop)
    }),
    ("secluded: a TCP connection is made", Dies, |_| TcpStream::connect("127.0.0.1:9").map(drop)),
    ("secluded: a datagram socket is made", Dies, |_| UnixDatagram::unbound().map(drop)),
    ("secluded: memory is shared", Dies, |_| raw(libc::SYS_memfd_create, &[])),
    ("secluded: a program is executed", Dies, |_| Err(Command::new("/bin/true").exec())),
    ("secluded: a child is forked", Dies, |_| raw(libc::SYS_clone, &[libc::SIGCHLD as u64])),
    ("secluded: its parent is traced", Dies, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid());
        raw(libc::SYS_ptrace, &[libc::PTRACE_ATTACH as u64, parent as u64])
    }),
    ("secluded: its parent is killed", Dies, |_| {
        let parent = getppid().map_or(1, |id| id.as_raw_pid());
        raw(libc::SYS_kill, &[parent as u64, 0])
    }),
    ("secluded: its parent's memory is read", Dies, |_| raw(libc::SYS_process_vm_readv, &[1])),
];

thread_local! {
    /// Sockets from before.
    static UNIX_PAIR: std::cell::Cell<Option<(UnixStream, UnixStream)>> = const { std::cell::Cell::new(None) };
}

/// Attempts to be confined that end otherwise.
type Refusal = (&'static str, fn(&Path));

const REFUSALS: &[Refusal] = &[
    ("a process with threads is not confined", |root| {
        let (_end, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || _ = wait.recv());
        assert!(matches!(
            confine(root, Environment::Process, MemoryLock::Try),
            Err(SandboxError::Threads(2))
        ));
        drop(_end);
        thread.join().unwrap();
    }),
    ("without a directory for its state it is not confined", |root| {
        let error = confine(&root.join("nowhere"), Environment::Process, MemoryLock::Try).unwrap_err();
        assert!(error.to_string().contains("nowhere/state: No such file"), "{error}");
    }),
    ("a kernel without landlock is refused", |root| {
        answered(libc::SYS_landlock_create_ruleset, libc::ENOSYS);
        let error = confine(root, Environment::Process, MemoryLock::Try).unwrap_err();
        assert!(matches!(error, SandboxError::Landlock(_)), "{error}");
        assert!(error.to_string().contains("lsm="), "{error}");
    }),
    ("a service manager that forbids landlock is refused", |root| {
        answered(libc::SYS_landlock_restrict_self, libc::EPERM);
        let error = confine(root, Environment::Process, MemoryLock::Try).unwrap_err();
        assert!(matches!(error, SandboxError::Landlock(_)), "{error}");
    }),
    ("a service manager that forbids filters is refused", |root| {
        answered(libc::SYS_seccomp, libc::EPERM);
        let error = confine(root, Environment::Process, MemoryLock::Try).unwrap_err();
        assert!(matches!(error, SandboxError::Filter(_)), "{error}");
    }),
    ("a guest without reports is told what is missing", |root| {
        let error = confine(root, Environment::Guest, MemoryLock::Try);
        match Path::new("/sys/kernel/config/tsm/report").is_dir() {
            true => drop(error.unwrap()),
            false => assert!(error.unwrap_err().to_string().contains("mount configfs")),
        }
    }),
    ("an enclave is left alone", |root| {
        let report = confine(root, Environment::Enclave, MemoryLock::Required).unwrap();
        assert_eq!(report.to_string(), "sandbox: not applicable in an enclave");
        assert_eq!((status("NoNewPrivs").unwrap(), status("Seccomp").unwrap()), ("0".into(), "0".into()));
        assert!(fs::read(root.join("secret")).is_ok());
    }),
    ("memory that cannot be locked is a reason not to start, if it has to be", |root| {
        unprivileged(64 << 10);
        let error = confine(root, Environment::Process, MemoryLock::Required).unwrap_err();
        let words = ["64 KiB", "LimitMEMLOCK=infinity", "--memory-lock try"];
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }),
    ("memory that cannot be locked is said, if it need not be", |root| {
        unprivileged(8 << 20);
        let report = confine(root, Environment::Process, MemoryLock::Try).unwrap();
        assert!(
            report.to_string().contains("NOT locked: the limit of locked memory is 8192 KiB"),
            "{report}"
        );
    }),
    ("memory is not locked if nobody asks", |root| {
        let report = confine(root, Environment::Process, MemoryLock::Off).unwrap();
        assert!(
            matches!(report, Report::Restricted(Restricted { memory: Memory::NotAsked, .. })),
            "{report}"
        );
    }),
];

/// As where a call is missing, or forbidden from outside: it answers with this error.
fn answered(call: libc::c_long, error: i32) {
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let calls = [(call, Vec::new())].into();
    let answer = SeccompAction::Errno(error as u32);
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, answer, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Like a user with this limit of locked memory.
fn unprivileged(limit: u64) {
    setrlimit(Resource::Memlock, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).unwrap();
}

fn confine(root: &Path, environment: Environment, memory_lock: MemoryLock) -> Result<Report, SandboxError> {
    let (state, refinery) = (root.join("state"), root.join("refinery/link.sock"));
    restrict(&Rules { state: &state, refinery: &refinery, environment, memory_lock })
}

/// Makes one attempt, in a process of its own.
fn attempt(number: usize, root: PathBuf) -> ExitCode {
    if let Some((name, _, act)) = number.checked_sub(ATTEMPTS.len() + REFUSALS.len()).map(|at| &SECLUDED[at])
    {
        UNIX_PAIR.set(Some(UnixStream::pair().unwrap()));
        let report = seclude(1 << 30).unwrap();
        assert!(report.to_string().contains("at most 1024 MiB of memory"), "{report}");
        return exit(name, act(&root));
    }
    let Some((name, end, act)) = ATTEMPTS.get(number) else {
        REFUSALS[number - ATTEMPTS.len()].1(&root);
        return ExitCode::SUCCESS;
    };
    let tcp = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let report = match confine(&root, Environment::Process, MemoryLock::Try) {
        Ok(Report::Restricted(report)) => report,
        other => panic!("{other:?}"),
    };
    if matches!(end, DeniedSince(version) if report.landlock < *version) {
        return ExitCode::from(SKIPPED as u8);
    }
    assert!(tcp.as_raw_fd() > 2);
    exit(name, act(&Place { root, tcp, report }))
}

/// How an attempt's process ends.
fn exit(name: &str, done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e}");
            // What leaves its folder goes to another file system, as landlock tells it; clone3 is not there.
            let refused =
                matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EXDEV | libc::ENOSYS));
            ExitCode::from(if refused { DENIED as u8 } else { 1 })
        }
    }
}

fn ended(end: End, status: ExitStatus) -> Result<&'static str, String> {
    let as_expected = match end {
        Works => status.code() == Some(0),
        Denied => status.code() == Some(DENIED),
        DeniedSince(_) if status.code() == Some(SKIPPED) => return Ok("skipped: this kernel is older"),
        DeniedSince(_) => status.code() == Some(DENIED),
        Dies => status.signal() == Some(libc::SIGSYS),
        // musl aborts by tkill, which could name a thread of another process: the filter ends it as well.
        Aborts => {
            status.signal() == Some(if cfg!(target_env = "musl") { libc::SIGSYS } else { libc::SIGABRT })
        }
    };
    match as_expected && !status.core_dumped() {
        true => Ok("ok"),
        false => Err(format!("{status}, where {end:?} was expected")),
    }
}

/// Runs attempt after attempt, each in a fresh directory.
fn main() -> ExitCode {
    if let (Ok(number), Some(root)) = (std::env::var(ATTEMPT), std::env::var_os(ROOT)) {
        return attempt(number.parse().unwrap(), root.into());
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    // Whoever inherits it could dump: that nobody does is the sandbox's doing.
    _ = setrlimit(
        Resource::Core,
        Rlimit { current: getrlimit(Resource::Core).maximum, ..getrlimit(Resource::Core) },
    );
    let names = ATTEMPTS.iter().map(|(name, end, _)| (*name, *end));
    let secluded = SECLUDED.iter().map(|(name, end, _)| (*name, *end));
    let all: Vec<_> = names.chain(REFUSALS.iter().map(|(name, _)| (*name, Works))).chain(secluded).collect();
    let mut failed = 0;
    for (number, (name, end)) in all.into_iter().enumerate().filter(|(_, (name, _))| name.contains(&filter)) {
        let dir = tempfile::TempDir::new().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("state")).unwrap();
        fs::create_dir(root.join("refinery")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        let refinery = UnixListener::bind(root.join("refinery/link.sock")).unwrap();
        std::thread::spawn(move || refinery.incoming().flatten().try_for_each(|mut s| s.write_all(b"hello")));
        let _strangers = (
            UnixListener::bind(root.join("stranger.sock")).unwrap(),
            UnixListener::bind_addr(&abstract_name(&root).unwrap()).unwrap(),
        );
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ATTEMPT, number.to_string()).env(ROOT, &root).current_dir(&root).stdin(Stdio::null());
        let output = command.output().unwrap();
        let result = ended(end, output.status);
        println!("{name}: {}", result.as_deref().unwrap_or("FAILED"));
        if let Err(why) = result {
            failed += 1;
            println!(
                "    {why}\n    {}",
                String::from_utf8_lossy(&output.stderr).trim().replace('\n', "\n    ")
            );
        }
        assert_eq!(fs::read(root.join("secret")).unwrap(), b"secret", "{name}: nothing outside has changed");
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
