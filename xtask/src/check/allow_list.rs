//! The warden's external dependencies equal a list that is kept by hand: each of them is audited.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::graph::Graph;
use super::tree::Tree;

/// One line a crate: `name: reason`, sorted. Lines that start with # are comments.
const LIST: &str = "xtask/warden-allow-list.txt";

/// Unlisted crates, listed ones that are not used, and lines that are not as they should be.
pub fn check(graph: &Graph, tree: &Tree) -> Vec<Finding> {
    match (graph.at("tcb/warden"), tree.text(LIST)) {
        (Some(warden), Some(list)) => compare(graph, warden, list),
        (None, _) => vec![Finding::new("tcb/warden", "no such crate")],
        (_, None) => vec![Finding::new(LIST, "no such file")],
    }
}

fn compare(graph: &Graph, warden: usize, list: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut listed = BTreeSet::new();
    let mut last = "";
    for (i, line) in list.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let mut refuse = |message| findings.push(Finding::new(format!("{LIST}:{}", i + 1), message));
        match line.split_once(": ") {
            Some((name, reason)) if !reason.trim().is_empty() => {
                if name <= last {
                    refuse(format!("`{name}` is listed twice or out of order"));
                }
                last = name;
                listed.insert(name);
            }
            _ => refuse("not of the form `name: reason`".into()),
        }
    }
    let used: BTreeMap<&str, Vec<usize>> = graph
        .built_with(warden)
        .into_iter()
        .filter(|(i, _)| graph.crates[*i].folder.is_none())
        .map(|(i, route)| (graph.crates[i].name.as_str(), route))
        .collect();
    for (name, route) in &used {
        if !listed.contains(name) {
            let route = graph.describe(route);
            findings.push(Finding::new(
                *name,
                format!("not on the warden's list ({route}): audit it and list it in {LIST}, or do without"),
            ));
        }
    }
    for name in listed.iter().filter(|name| !used.contains_key(*name)) {
        findings.push(Finding::new(LIST, format!("the warden no longer uses `{name}`: remove its line")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::graph::synthetic::graph;
    use super::*;

    const LINES: [&str; 5] = [
        "tcb/warden -> tcb/keys",
        "tcb/keys -> aes",
        "aes -build-> cc",
        "tcb/keys -dev-> proptest",
        "client/cli -> clap",
    ];

    fn found(lines: &[&str], list: &str) -> Vec<String> {
        compare(&graph(lines), 0, list).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn an_exact_list_passes() {
        assert_eq!(found(&LINES, "# The list.\naes: the cipher\ncc: builds assembly\n"), [""; 0]);
    }

    #[test]
    fn an_unlisted_crate_is_found_with_its_route() {
        let found = found(&LINES, "aes: the cipher\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("cc: not on the warden's list (tcb/warden -> tcb/keys -> aes -> cc)"));
    }

    #[test]
    fn an_unused_line_is_found() {
        let found = found(&LINES, "aes: the cipher\ncc: builds assembly\nclap: arguments\n");
        assert_eq!(found, [format!("{LIST}: the warden no longer uses `clap`: remove its line")]);
    }

    #[test]
    fn malformed_lines_are_found() {
        for (list, expected) in [
            ("aes: the cipher\ncc:\n", "not of the form"),
            ("aes\ncc: builds assembly\n", "not of the form"),
            ("cc: builds assembly\naes: the cipher\n", "out of order"),
            ("aes: the cipher\naes: the cipher\ncc: builds assembly\n", "listed twice"),
        ] {
            assert!(found(&LINES, list).iter().any(|f| f.contains(expected)), "{list}");
        }
    }
}
