//! Runs the program of this crate, built as it ships, under valgrind with every backend that valgrind can run:
//! no jump and no address depends on a secret, but at the places listed, and the deliberate leaks are found.
//!
//! Without valgrind this says so and passes, unless `BLINDSMITH_REQUIRE_VALGRIND=1`.

mod places;
mod report;
mod vectors;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use places::{PLACES, Place};
use report::Report;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const CANARIES: [&str; 4] =
    ["canary: branch", "canary: index", "canary: comparison of reals", "canary: early exit"];

#[test]
fn no_jump_and_no_address_depends_on_a_secret() {
    if !can_run("valgrind", "valgrind") {
        return;
    }
    let program = built();
    for backend in blindsmith_ring::backend::available().iter().map(|b| b.name()).filter(|&b| b != "avx512") {
        check(backend, &run(&program, backend));
    }
}

#[test]
fn nothing_leaves_the_vector_registers_of_avx512() {
    if can_run("objdump", "binutils") {
        vectors::check(&built());
    }
}

#[test]
fn every_place_of_ours_is_one_line() {
    for place in PLACES.iter().filter(|place| place.file.starts_with("tcb/")) {
        let text = fs::read_to_string(Path::new(ROOT).join(place.file)).expect(place.file);
        let count = text.lines().filter(|line| line.contains(place.line)).count();
        assert_eq!(count, 1, "{} has `{}` ({}) so often", place.file, place.line, place.why);
    }
}

/// Whether a tool can be run here. If not this says so, or panics where valgrind is required.
fn can_run(tool: &str, package: &str) -> bool {
    let missing = if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        "the requests to valgrind are written for Linux on x86-64".to_owned()
    } else if Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success()) {
        return true;
    } else {
        format!("{tool} is missing (apt-get install {package})")
    };
    let words = format!("constant time was NOT tested: {missing}");
    assert!(std::env::var_os("BLINDSMITH_REQUIRE_VALGRIND").is_none_or(|v| v != "1"), "{words}");
    // Past the capture of tests' output.
    let _ = writeln!(std::io::stderr(), "\n{words}");
    false
}

/// Builds the program with the profile that ships: the development profile has checks of overflow, which are
/// branches.
fn built() -> String {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", env!("CARGO_PKG_NAME")])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(ROOT)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = messages.filter_map(|m| Some(m.get("executable")?.as_str()?.to_owned())).next_back();
    program.expect("cargo names the program that it built")
}

fn run(program: &str, backend: &str) -> String {
    let output = Command::new("valgrind")
        .args(["--tool=memcheck", "--error-limit=no", "--num-callers=40", "--fullpath-after="])
        .args(["--read-inline-info=yes", "--leak-check=no", program])
        .env("BLINDSMITH_BACKEND", backend)
        .env_remove("VALGRIND_OPTS")
        .output()
        .expect("valgrind");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "with {backend}: {}\n{said}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("backend {backend}\n"));
    said
}

fn check(backend: &str, output: &str) {
    let (cases, reports) = report::read(output);
    assert_eq!(cases.last().map(String::as_str), Some("end"), "with {backend} not all cases ran");
    for canary in CANARIES {
        assert!(
            reports.iter().any(|r| r.case == canary && is_canary(r)),
            "with {backend} the leak in `{canary}` was not found: this test finds nothing"
        );
    }
    let leaks: Vec<String> = reports.iter().filter(|r| !is_canary(r) && !is_public(r)).map(words).collect();
    assert!(leaks.is_empty(), "with {backend}, what depends on secrets:\n{}", leaks.join("\n"));
}

fn is_canary(report: &Report) -> bool {
    let path = report.at.as_ref().map_or("", |(path, _)| path);
    CANARIES.contains(&report.case.as_str()) && path.ends_with("constant-time/src/canary.rs")
}

/// A jump, not an address, at one of the places.
fn is_public(report: &Report) -> bool {
    let Some((path, line)) = &report.at else { return false };
    let file = short(path);
    let text = source_line(path, *line);
    let here = |place: &Place| place.file == file && text.contains(place.line);
    report.kind.starts_with("Conditional jump") && PLACES.iter().any(here)
}

/// The path in the repository, or in an external crate, without its version.
fn short(path: &str) -> String {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        let mut parts = rest.splitn(3, '/').skip(1);
        let (package, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
        return format!("{name}/{file}");
    }
    let root = fs::canonicalize(ROOT).unwrap_or_default();
    Path::new(path).strip_prefix(root).map_or(path.to_owned(), |p| p.to_string_lossy().into_owned())
}

fn source_line(path: &str, line: usize) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_default();
    text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned()
}

fn words(Report { case, kind, at }: &Report) -> String {
    let place = at.as_ref().map_or("an unknown place".into(), |(path, line)| {
        format!("{}:{line}: `{}`", short(path), source_line(path, *line).trim())
    });
    format!("case `{case}`: {kind} at {place}")
}
