//! System calls: an allow-list; all others end the process.
//!
//! Found by tracing training rounds, and completed by what std, rayon and the C libraries glibc and musl call under other
//! circumstances (reading their sources).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::SandboxError;

/// Calls that every confined process may make, whatever their arguments are.
const ANY: [libc::c_long; 57] = [
    // Memory, for allocators and stacks. (mmap and mprotect: below.)
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads. (clone: below.)
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals of its own. (tgkill: below.)
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and randomness.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Who and where it is.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    // What is open, and files as far as landlock lets them be opened. (fcntl and ioctl: below.)
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_getcwd,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
];

/// Calls that a warden may make beside those.
const WARDEN: [libc::c_long; 20] = [
    // Files of its state.
    libc::SYS_dup,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    // Shared memory, whose pages are written as a file.
    libc::SYS_memfd_create,
    // The link to the refinery. (socket and socket options: below.) No bind, listen, accept.
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    libc::SYS_pselect6,
    libc::SYS_close_range,
];

/// The same under their older names, which C libraries use where there are any: of every process, and of a warden.
#[cfg(target_arch = "x86_64")]
const OLDER: [&[libc::c_long]; 2] = [
    &[
        libc::SYS_access,
        libc::SYS_lstat,
        libc::SYS_open,
        libc::SYS_poll,
        libc::SYS_readlink,
        libc::SYS_stat,
        libc::SYS_time,
    ],
    &[
        libc::SYS_getdents,
        libc::SYS_mkdir,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_rmdir,
        libc::SYS_select,
        libc::SYS_unlink,
    ],
];
#[cfg(target_arch = "aarch64")]
const OLDER: [&[libc::c_long]; 2] = [&[], &[libc::SYS_renameat]];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: [&[libc::c_long]; 2] = [&[], &[]];

/// Names of anonymous memory, which allocators may set (linux/prctl.h).
const PR_SET_VMA: i32 = 0x5356_4d41;
/// The auxiliary vector, where rustix looks for the page size (linux/prctl.h).
const PR_GET_AUXV: i32 = 0x4155_5856;

/// Flags of `clone` that a thread has, of all that make it more or less than one.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;
const NO_THREAD: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE
    | libc::CLONE_VFORK
    | libc::CLONE_PARENT) as u64;

type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// An argument's number (from 0), and what it has to be.
enum Need {
    /// Equal, as a number of 32 bits.
    Is(u8, u32),
    /// Equal under a mask.
    Under(u8, u64, u64),
}

/// A call with these arguments.
fn rule(needs: &[Need]) -> Result<SeccompRule, seccompiler::Error> {
    let conditions = needs.iter().map(|need| match *need {
        Need::Is(argument, value) => SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into()),
        Need::Under(argument, mask, value) => {
            SeccompCondition::new(argument, Qword, SeccompCmpOp::MaskedEq(mask), value)
        }
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

/// Whose calls are filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A warden's.
    Warden,
    /// Those of a process that has what is open, and gets nothing more.
    Secluded,
}

/// The allow-list, for the running process.
fn allowed(whose: Whose) -> Result<Calls, seccompiler::Error> {
    let lists: &[&[libc::c_long]] = match whose {
        Whose::Warden => &[&ANY, &WARDEN, OLDER[0], OLDER[1]],
        Whose::Secluded => &[&ANY, OLDER[0]],
    };
    let mut calls: Calls = lists.iter().copied().flatten().map(|call| (*call, Vec::new())).collect();
    let mut only = |call: libc::c_long, needs: &[Need]| {
        rule(needs).map(|rule| calls.entry(call).or_default().push(rule))
    };
    // Nothing that is written can be executed.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        only(call, &[Need::Under(2, libc::PROT_EXEC as u64, 0)])?;
    }
    only(libc::SYS_clone, &[Need::Under(0, THREAD | NO_THREAD, THREAD)])?;
    // abort(3).
    let own = std::process::id();
    only(libc::SYS_tgkill, &[Need::Is(0, own), Need::Is(2, libc::SIGABRT as u32)])?;
    for command in [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ] {
        only(libc::SYS_fcntl, &[Need::Is(1, command as u32)])?;
    }
    // Non-blocking sockets; whether standard error is a terminal.
    for request in [libc::FIONBIO, libc::TCGETS] {
        only(libc::SYS_ioctl, &[Need::Is(1, request as u32)])?;
    }
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME, PR_SET_VMA, PR_GET_AUXV] {
        only(libc::SYS_prctl, &[Need::Is(0, option as u32)])?;
    }
    // Reading limits of its own.
    only(libc::SYS_prlimit64, &[Need::Is(0, 0), Need::Under(2, u64::MAX, 0)])?;
    if whose == Whose::Secluded {
        return Ok(calls);
    }
    let kind = !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32 as u64;
    only(
        libc::SYS_socket,
        &[Need::Is(0, libc::AF_UNIX as u32), Need::Under(1, kind, libc::SOCK_STREAM as u64)],
    )?;
    for call in [libc::SYS_getsockopt, libc::SYS_setsockopt] {
        only(call, &[Need::Is(1, libc::SOL_SOCKET as u32)])?;
    }
    Ok(calls)
}

/// Filters from here on, in all threads.
pub fn filter(whose: Whose) -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(seccompiler::Error::from)?;
    // Its flags are in memory, where a filter cannot see them: C libraries that are told that there is no such call use
    // `clone`. A filter of its own, because one filter has one answer to what it matches; of several, the strictest counts.
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    for (calls, other, matching) in [
        (no_clone3, SeccompAction::Allow, absent),
        (allowed(whose)?, SeccompAction::KillProcess, SeccompAction::Allow),
    ] {
        let filter = SeccompFilter::new(calls, other, matching, arch).map_err(seccompiler::Error::from)?;
        let program: BpfProgram = filter.try_into().map_err(seccompiler::Error::from)?;
        apply_filter_all_threads(&program)?;
    }
    Ok(())
}
