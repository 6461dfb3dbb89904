//! The external dependencies of the warden equal a list that is kept by hand: each of them is audited. What only its
//! appraiser has is on a list of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::graph::Graph;
use super::tree::Tree;

/// One line a crate: `name: reason`, sorted. Lines that start with # are comments.
pub const WARDEN: &str = "xtask/warden-allow-list.txt";
/// The same of the appraiser, without those that the warden has too.
pub const APPRAISER: &str = "xtask/appraiser-allow-list.txt";

/// Unlisted crates, listed ones that are not used, and lines that are not as they should be.
pub fn check(warden: &Graph, appraiser: &Graph, tree: &Tree) -> Vec<Finding> {
    let elsewhere = external(warden, "tcb/warden").into_keys().collect();
    let mut findings = compare(warden, "tcb/warden", (WARDEN, tree), &BTreeSet::new());
    findings.extend(compare(appraiser, "tcb/appraiser", (APPRAISER, tree), &elsewhere));
    findings
}

/// The external crates that the one in a folder is built of, each with a route to it.
fn external<'a>(graph: &'a Graph, folder: &str) -> BTreeMap<&'a str, Vec<usize>> {
    let built = graph.at(folder).map(|root| graph.built_with(root)).unwrap_or_default();
    let others = built.into_iter().filter(|(i, _)| graph.crates[*i].folder.is_none());
    others.map(|(i, route)| (graph.crates[i].name.as_str(), route)).collect()
}

/// Compares what a program has, without what is listed elsewhere, with a list.
fn compare(
    graph: &Graph,
    folder: &str,
    (file, tree): (&str, &Tree),
    elsewhere: &BTreeSet<&str>,
) -> Vec<Finding> {
    if graph.at(folder).is_none() {
        return vec![Finding::new(folder, "no such crate")];
    }
    let Some(list) = tree.text(file) else { return vec![Finding::new(file, "no such file")] };
    let mut findings = Vec::new();
    let mut listed = BTreeSet::new();
    let mut last = "";
    for (i, line) in list.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let mut refuse = |message| findings.push(Finding::new(format!("{file}:{}", i + 1), message));
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
    let mut used = external(graph, folder);
    used.retain(|name, _| !elsewhere.contains(name));
    for (name, route) in &used {
        if !listed.contains(name) {
            let route = graph.describe(route);
            findings.push(Finding::new(
                *name,
                format!("not on the list ({route}): audit it and list it in {file}, or do without"),
            ));
        }
    }
    for name in listed.iter().filter(|name| !used.contains_key(*name)) {
        findings.push(Finding::new(file, format!("{folder} no longer uses `{name}`: remove its line")));
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
        let tree = Tree::of(&[("list", list)]);
        let found = compare(&graph(lines), "tcb/warden", ("list", &tree), &BTreeSet::new());
        found.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn what_the_warden_has_is_not_listed_for_the_appraiser_again() {
        let graph = graph(&["tcb/warden -> aes", "tcb/appraiser -> aes", "tcb/appraiser -> der"]);
        let lists = |warden, appraiser| {
            let tree = Tree::of(&[(WARDEN, warden), (APPRAISER, appraiser)]);
            check(&graph, &graph, &tree).iter().map(Finding::to_string).collect::<Vec<_>>()
        };
        assert_eq!(lists("aes: the cipher\n", "der: certificates\n"), [""; 0]);
        let found = lists("aes: the cipher\nder: certificates\n", "aes: the cipher\nder: certificates\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn an_exact_list_passes() {
        assert_eq!(found(&LINES, "# The list.\naes: the cipher\ncc: builds assembly\n"), [""; 0]);
    }

    #[test]
    fn an_unlisted_crate_is_found_with_its_route() {
        let found = found(&LINES, "aes: the cipher\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("cc: not on the list (tcb/warden -> tcb/keys -> aes -> cc)"));
    }

    #[test]
    fn an_unused_line_is_found() {
        let found = found(&LINES, "aes: the cipher\ncc: builds assembly\nclap: arguments\n");
        assert_eq!(found, ["list: tcb/warden no longer uses `clap`: remove its line"]);
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
