//! Licences: permissive ones only, as SPDX expressions.

use std::collections::BTreeSet;

use spdx::{Expression, LicenseReq, ParseMode};

use super::Finding;
use super::graph::{Graph, Kind};
use super::tree::Tree;

/// Our own.
const OURS: &str = "MIT OR Apache-2.0";

/// Each of these alone is enough for a crate that is built into what we ship, or builds it.
const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // Root certificates: data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Enough for tests and benchmarks only: CC0 withholds patents.
const TESTS_ONLY: [&str; 1] = ["CC0-1.0"];

/// Crates that run while compiling and leave nothing in a program (checked), with a licence of tests.
const COMPILING_ONLY: [(&str, &str); 1] =
    [("tiny-keccak", "draws constants in a macro (parquet -> ahash -> const-random)")];

/// Crates whose licence is not enough for their use.
pub fn check(graph: &Graph, tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ["LICENSE-APACHE", "LICENSE-MIT"]
        .into_iter()
        .filter(|file| tree.text(file).is_none())
        .map(|file| Finding::new(file, "no such file"))
        .collect();
    findings.extend(judge(graph, &COMPILING_ONLY));
    findings
}

fn judge(graph: &Graph, compiling_only: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all = |follow: &dyn Fn(Kind, bool) -> bool| -> BTreeSet<usize> {
        let reached = graph.ours().flat_map(|(i, _)| {
            graph.routes(i, |_, e| follow(e.kind, graph.crates[e.to].is_macro)).into_keys()
        });
        reached.collect()
    };
    let shipping = all(&|kind, _| kind != Kind::Dev);
    let linked = all(&|kind, is_macro| kind == Kind::Normal && !is_macro);
    let mut excepted = BTreeSet::new();
    for (i, package) in graph.crates.iter().enumerate() {
        let mut refuse = |message: String| findings.push(Finding::new(&*package.name, message));
        let Some(licence) = &package.licence else {
            refuse("declares no licence expression".into());
            continue;
        };
        if package.folder.is_some() {
            if licence != OURS {
                refuse(format!("our crates are {OURS}, this one is {licence}"));
            }
            continue;
        }
        let looser = || -> Vec<&str> { PERMISSIVE.into_iter().chain(TESTS_ONLY).collect() };
        let exception = compiling_only.iter().any(|(name, _)| *name == package.name);
        let allowed = match (shipping.contains(&i), linked.contains(&i)) {
            (true, false) if exception => {
                excepted.insert(package.name.as_str());
                looser()
            }
            (true, _) => PERMISSIVE.to_vec(),
            (false, _) => looser(),
        };
        if let Err(reason) = permits(licence, &allowed) {
            refuse(reason);
        }
    }
    for (name, _) in compiling_only.iter().filter(|(name, _)| !excepted.contains(name)) {
        findings
            .push(Finding::new(*name, "its exception is not used, or it is linked: remove the exception"));
    }
    findings
}

/// Whether `allowed` licences alone satisfy an expression.
fn permits(expression: &str, allowed: &[&str]) -> Result<(), String> {
    let mode = ParseMode { allow_slash_as_or_operator: true, ..ParseMode::STRICT };
    let parsed = Expression::parse_mode(expression, mode)
        .map_err(|e| format!("`{expression}` is no licence expression: {}", e.reason))?;
    let permitted = |licence: &LicenseReq| allowed.contains(&licence.to_string().as_str());
    if parsed.evaluate(permitted) { Ok(()) } else { Err(format!("`{expression}` is not permissive enough")) }
}

#[cfg(test)]
mod tests {
    use super::super::graph::synthetic::graph;
    use super::*;

    #[test]
    fn permissive_expressions_pass() {
        for expression in [
            "MIT",
            "MIT/Apache-2.0",
            "Unlicense OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "CC0-1.0 OR MIT-0 OR Apache-2.0",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "BSD-3-Clause AND (GPL-2.0-only OR ISC)",
        ] {
            assert_eq!(permits(expression, &PERMISSIVE), Ok(()), "{expression}");
        }
    }

    #[test]
    fn others_are_refused() {
        for expression in [
            "GPL-3.0-only",
            "LGPL-2.1-or-later",
            "MPL-2.0",
            "MIT AND GPL-2.0-only",
            "CC0-1.0",
            "MIT AND CC0-1.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "AGPL-3.0-or-later OR MPL-2.0",
            "LicenseRef-ours",
            "",
            "free",
        ] {
            assert!(permits(expression, &PERMISSIVE).is_err(), "{expression}");
        }
    }

    /// What is found if the external crate at the end of `lines` has this licence.
    fn found(lines: &[&str], licence: Option<&str>, exceptions: &[(&str, &str)]) -> Vec<String> {
        let mut graph = graph(lines);
        graph.crates.last_mut().unwrap().licence = licence.map(Into::into);
        judge(&graph, exceptions).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_use_decides() {
        let refused = ["x: `CC0-1.0` is not permissive enough"];
        assert_eq!(found(&["client/a -> x"], Some("CC0-1.0"), &[]), refused);
        assert_eq!(found(&["client/a -> b", "b -build-> x"], Some("CC0-1.0"), &[]), refused);
        assert_eq!(found(&["client/a -dev-> x"], Some("CC0-1.0"), &[]), [""; 0]);
        assert_eq!(found(&["client/a -dev-> x"], Some("MPL-2.0"), &[]).len(), 1);
        assert_eq!(found(&["client/a -> x"], None, &[]), ["x: declares no licence expression"]);
        assert_eq!(found(&["client/a"], Some("MIT"), &[]).len(), 1);
    }

    #[test]
    fn exceptions_leave_nothing_in_a_program() {
        let exceptions = [("x", "runs in a macro")];
        assert_eq!(found(&["client/a -> m!", "m! -> x"], Some("CC0-1.0"), &exceptions), [""; 0]);
        assert_eq!(found(&["client/a -> m!", "m! -> x"], Some("GPL-2.0-only"), &exceptions).len(), 1);
        // Linked after all: the exception does not hold, and says so.
        assert_eq!(found(&["client/a -> m!", "client/a -> x"], Some("CC0-1.0"), &exceptions).len(), 2);
        assert_eq!(found(&["client/a -> y"], Some("MIT"), &exceptions).len(), 1);
    }
}
