//! What the warden does to secrets, with the secrets marked undefined, for valgrind's memcheck: it reports every
//! conditional jump and every address that depends on them. `tests/memcheck` reads the reports; the method and
//! what is covered are in `docs/constant-time.md`.
//!
//! (Marking secrets undefined: Adam Langley, *ctgrind*, 2010; the same in TIMECOP of SUPERCOP.)

mod canary;
mod keys;
mod learn;
mod ring;
mod valgrind;
mod values;

use std::process::ExitCode;

/// A name, and what to run under it.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    if !valgrind::is_running() {
        eprintln!("this program says nothing unless valgrind runs it: see docs/constant-time.md");
        return ExitCode::FAILURE;
    }
    println!("backend {}", blindsmith_ring::backend::active().name());
    for (name, run) in [canary::CASES, ring::CASES, keys::CASES, learn::CASES].concat() {
        // On one stream with valgrind's reports, so that they stand below their case.
        eprintln!("case {name}");
        run();
    }
    eprintln!("case end");
    ExitCode::SUCCESS
}
