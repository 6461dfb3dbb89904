//! `cargo xtask check`: what reviewers should not have to look for.
//!
//! Every check runs, and everything found is reported, before the command fails.

mod allow_list;
mod circles;
mod gramine;
mod graph;
mod layers;
mod links;
mod secrets;
mod shape;
mod size;
mod source;
mod tidy;
mod tree;

use std::fmt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

use graph::Graph;
use size::{Code, Size};
use tree::Tree;

/// The platform for which the dependencies of warden and appraiser are listed.
const WARDEN_PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// A crate, a file, or a file and line.
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Finding { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Runs all checks.
pub fn run() -> Result<ExitCode> {
    // Every platform and every feature: what could be built keeps the order too.
    let everything = metadata(&["--all-features"])?;
    let (warden, appraiser) = (built("blindsmith-warden")?, built("blindsmith-appraiser")?);
    let graph = Graph::of(&everything)?;
    let tree = Tree::tracked(everything.workspace_root.as_std_path())?;

    let results = [
        ("layers: who may depend on whom", layers::check(&graph)),
        ("warden and appraiser: external dependencies", allow_list::check(&warden, &appraiser, &tree)),
        ("tcb: its size", Size::of(&warden, &appraiser, &size::plain(&tree)?).check()),
        ("secrets: not printed, copied or serialised", secrets::check(&tree)),
        ("gramine: manifests keep the host out", gramine::check(&tree)),
        ("links: between documents", links::check(&tree)),
        ("circles: imports between files of a crate", circles::check(&tree, &circles::HELD)),
        ("shape: functions, parameters, modules", shape::check(&tree, &shape::HELD)),
        ("tidy: sources and manifests", tidy::check(&tree, &roots(&everything))),
    ];
    let mut count = 0;
    for (title, findings) in &results {
        println!("{} {title}", if findings.is_empty() { "ok  " } else { "FAIL" });
        findings.iter().for_each(|finding| println!("       {finding}"));
        count += findings.len();
    }
    println!("{} crates, {} files: {count} findings", graph.crates.len(), tree.files.len());
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how much code is trusted; fails if it is more than the limits.
pub fn tcb() -> Result<ExitCode> {
    let workspace = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
    let tree = Tree::tracked(workspace.workspace_root.as_std_path())?;
    let (warden, appraiser) = (built("blindsmith-warden")?, built("blindsmith-appraiser")?);
    let size = Size::of(&warden, &appraiser, &size::plain(&tree)?);
    println!(" lines  tokens  of code in rustfmt's own layout, without comments, blank lines and tests");
    let line = |Code { lines, tokens }: Code, name: &str| println!("{lines:>6} {tokens:>7}  {name}");
    for (of, part, list) in [
        ("the warden", &size.warden, allow_list::WARDEN),
        ("the appraiser alone", &size.appraiser, allow_list::APPRAISER),
    ] {
        part.code.iter().for_each(|(name, code)| line(*code, name));
        line(part.total(), &format!("in all in {of}; {} external crates, {list} says why", part.crates));
    }
    let findings = size.check();
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a program is built of.
fn built(program: &str) -> Result<Graph> {
    // The resolver's graph has optional crates that no feature asks for; what cargo would build has not.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["tree", "--locked", "--package", program, "--edges", "normal,build"])
        .args(["--target", WARDEN_PLATFORM, "--prefix", "none", "--format", "{p}"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree fails");
    let listed = String::from_utf8(output.stdout).context("cargo tree prints no text")?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect();
    let shipped = metadata(&["--filter-platform", WARDEN_PLATFORM])?;
    Ok(Graph::of(&shipped)?.only(&names))
}

fn metadata(options: &[&str]) -> Result<Metadata> {
    MetadataCommand::new()
        .other_options(["--locked"].iter().chain(options).map(|o| o.to_string()).collect::<Vec<_>>())
        .exec()
        .context("cannot read the dependency graph")
}

/// The root files of the workspace's libraries, programs, tests, examples and benchmarks.
fn roots(metadata: &Metadata) -> Vec<String> {
    let targets = metadata.workspace_packages().into_iter().flat_map(|package| &package.targets);
    targets
        .filter_map(|target| target.src_path.strip_prefix(&metadata.workspace_root).ok())
        .map(|path| path.as_str().to_owned())
        .collect()
}
