//! Who may depend on whom: the folders of the workspace are its trust boundaries.

use super::Finding;
use super::graph::{Graph, Kind};

/// The trusted crates, and what each may reach, directly or not. Arrows point up this list.
const TRUSTED: [(&str, &[&str]); 14] = [
    ("tcb/ring", &[]),
    ("tcb/matrix", &["tcb/ring"]),
    ("tcb/keys", &["tcb/ring", "tcb/matrix"]),
    ("tcb/learn", &[]),
    ("tcb/protocol", &["tcb/ring", "tcb/matrix"]),
    ("tcb/shared", &["tcb/ring"]),
    ("tcb/identity", &["tcb/ring", "tcb/matrix", "tcb/protocol"]),
    ("tcb/evidence", &["tcb/ring", "tcb/matrix", "tcb/keys", "tcb/protocol", "tcb/identity"]),
    ("tcb/receipts", &["tcb/ring", "tcb/matrix", "tcb/keys", "tcb/protocol", "tcb/identity"]),
    (
        "tcb/formats",
        &["tcb/ring", "tcb/matrix", "tcb/keys", "tcb/learn", "tcb/protocol", "tcb/identity", "tcb/receipts"],
    ),
    ("tcb/sandbox", &[]),
    (
        "tcb/appraisal",
        &["tcb/ring", "tcb/matrix", "tcb/keys", "tcb/protocol", "tcb/identity", "tcb/evidence"],
    ),
    (
        "tcb/appraiser",
        &[
            "tcb/ring",
            "tcb/matrix",
            "tcb/keys",
            "tcb/protocol",
            "tcb/identity",
            "tcb/evidence",
            "tcb/sandbox",
            "tcb/appraisal",
        ],
    ),
    (
        "tcb/warden",
        &[
            "tcb/ring",
            "tcb/matrix",
            "tcb/keys",
            "tcb/learn",
            "tcb/protocol",
            "tcb/shared",
            "tcb/identity",
            "tcb/evidence",
            "tcb/receipts",
            "tcb/formats",
            "tcb/sandbox",
        ],
    ),
];

/// What the untrusted crates may reach, beside each other: public material only.
const PUBLIC: [&str; 5] = ["tcb/ring", "tcb/matrix", "tcb/protocol", "tcb/shared", "tcb/identity"];

/// Trusted programs, of which nothing is linked into any other, but in tests.
const PROGRAMS: [&str; 2] = ["tcb/warden", "tcb/appraiser"];

/// Untrusted crates that must exist, or the rules guard nothing.
const UNTRUSTED: [&str; 2] = ["cloud/compute", "cloud/refinery"];

/// Runs trusted code in a test of its own, and belongs to nothing that ships.
const TEST_OF_TIME: &str = "constant-time";

/// What measures and shows: of the clients, the command line alone reaches it.
const LAB: &str = "lab";
const COMMAND_LINE: &str = "client/cli";

/// Every route that the rules forbid.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in TRUSTED.iter().map(|(folder, _)| *folder).chain(UNTRUSTED) {
        if graph.at(folder).is_none() {
            findings.push(Finding::new(folder, "no such crate: the rules about it guard nothing"));
        }
    }
    for (from, folder) in graph.ours() {
        if folder.starts_with("tcb/") && !TRUSTED.iter().any(|(known, _)| *known == folder) {
            findings
                .push(Finding::new(folder, "a new trusted crate: give it a place in the order of layers"));
        }
        let forbidden = graph.built_with(from).into_iter().filter(|(to, _)| {
            graph.crates[*to].folder.as_deref().is_some_and(|target| !may_reach(folder, target))
        });
        findings.extend(forbidden.map(|(to, route)| {
            let message = format!("must not reach {}, but {}", graph.crates[to].name, graph.describe(&route));
            Finding::new(folder, message)
        }));
        if folder.starts_with("tcb/") {
            findings.extend(untrusted_tests(graph, from, folder));
        }
    }
    findings
}

fn may_reach(from: &str, to: &str) -> bool {
    match from.split('/').next() {
        Some("tcb") => TRUSTED.iter().any(|(known, reaches)| *known == from && reaches.contains(&to)),
        Some("cloud") => to.starts_with("cloud/") || PUBLIC.contains(&to),
        Some("client") if to.split('/').next() == Some(LAB) => from == COMMAND_LINE,
        // What a client shares with wardens are formats, not what runs in one.
        Some("client" | LAB) => {
            !to.starts_with("xtask") && !to.starts_with(TEST_OF_TIME) && !PROGRAMS.contains(&to)
        }
        Some(TEST_OF_TIME) => to.starts_with("tcb/"),
        _ => false,
    }
}

/// Tests of trusted crates need nothing untrusted either.
fn untrusted_tests(graph: &Graph, from: usize, folder: &str) -> Vec<Finding> {
    let tested_with = graph.routes(from, |distance, edge| (edge.kind == Kind::Dev) == (distance == 0));
    let untrusted = tested_with.into_iter().filter(|(to, _)| {
        let folder = graph.crates[*to].folder.as_deref();
        folder.is_some_and(|f| f.starts_with("cloud/") || f.starts_with("client/"))
    });
    untrusted
        .map(|(_, route)| {
            Finding::new(
                folder,
                format!("its tests must not use cloud or client: {}", graph.describe(&route)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::synthetic::graph;
    use super::*;

    const SOUND: [&str; 39] = [
        "tcb/ring -> aes",
        "tcb/matrix -> tcb/ring",
        "tcb/keys -> tcb/matrix",
        "tcb/learn -> rand",
        "tcb/protocol -> tcb/matrix",
        "tcb/receipts -> tcb/keys",
        "tcb/receipts -> tcb/protocol",
        "tcb/identity -> tcb/protocol",
        "tcb/evidence -> tcb/identity",
        "tcb/appraisal -> tcb/evidence",
        "tcb/warden -> tcb/keys",
        "tcb/warden -> tcb/learn",
        "tcb/warden -> tcb/protocol",
        "tcb/warden -> tcb/receipts",
        "tcb/warden -> tcb/shared",
        "tcb/warden -> tcb/sandbox",
        "tcb/appraiser -> tcb/appraisal",
        "tcb/appraiser -> tcb/sandbox",
        "tcb/warden -dev-> tcb/appraiser",
        "tcb/warden -dev-> tcb/learn",
        "cloud/compute -> tcb/ring",
        "cloud/refinery -> cloud/compute",
        "cloud/refinery -> tcb/protocol",
        "cloud/refinery -> tcb/shared",
        "cloud/refinery -dev-> tcb/keys",
        "tcb/formats -> tcb/learn",
        "tcb/warden -> tcb/formats",
        "client/cli -> tcb/formats",
        "client/cli -dev-> tcb/warden",
        "client/cli -> client/data",
        "client/cli -dev-> cloud/refinery",
        "client/cli -> lab/",
        "lab/ -> client/data",
        "client/data -> csv",
        "client/python -> client/data",
        "client/attest -> tcb/protocol",
        "csv -> memchr",
        "xtask -> csv",
        "constant-time/ -> tcb/keys",
    ];

    /// What is found once `line` is added to a sound workspace.
    fn found_with(line: &str) -> Vec<String> {
        let lines: Vec<&str> = SOUND.into_iter().chain([line]).collect();
        check(&graph(&lines)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_sound_workspace_passes() {
        assert_eq!(check(&graph(&SOUND)), []);
    }

    #[test]
    fn a_forbidden_edge_is_named() {
        for (line, expected) in [
            (
                "cloud/refinery -> tcb/keys",
                "cloud/refinery: must not reach tcb/keys, but cloud/refinery -> tcb/keys",
            ),
            ("cloud/compute -> tcb/learn", "cloud/compute: must not reach tcb/learn"),
            ("tcb/matrix -> tcb/keys", "tcb/matrix: must not reach tcb/keys"),
            ("tcb/receipts -> tcb/learn", "tcb/receipts: must not reach tcb/learn"),
            ("cloud/refinery -> tcb/receipts", "cloud/refinery: must not reach tcb/receipts"),
            ("tcb/learn -> tcb/ring", "tcb/learn: must not reach tcb/ring"),
            ("tcb/protocol -> tcb/keys", "tcb/protocol: must not reach tcb/keys"),
            ("tcb/warden -> tcb/appraisal", "tcb/warden: must not reach tcb/appraisal"),
            ("tcb/warden -> client/data", "tcb/warden: must not reach client/data"),
            ("tcb/warden -build-> cloud/compute", "tcb/warden: must not reach cloud/compute"),
            ("client/data -> lab/", "client/data: must not reach lab/"),
            ("client/python -> lab/", "client/python: must not reach lab/"),
            ("client/python -> tcb/warden", "client/python: must not reach tcb/warden"),
            ("client/cli -> tcb/warden", "client/cli: must not reach tcb/warden"),
            ("client/cli -> xtask/x", "client/cli: must not reach xtask/x"),
            ("client/cli -> constant-time/", "client/cli: must not reach constant-time/"),
            ("constant-time/ -> cloud/compute", "constant-time/: must not reach cloud/compute"),
            (
                "tcb/keys -dev-> cloud/compute",
                "tcb/keys: its tests must not use cloud or client: tcb/keys -> cloud/compute",
            ),
            ("tcb/new -> aes", "tcb/new: a new trusted crate"),
        ] {
            let found = found_with(line);
            assert!(found.iter().any(|f| f.starts_with(expected)), "{line}: {found:?}");
        }
    }

    #[test]
    fn an_indirect_route_is_spelt_out() {
        let lines: Vec<&str> = SOUND
            .into_iter()
            .chain(["tcb/protocol -> helper", "helper -> tcb/keys", "tcb/ring -dev-> client/data"])
            .collect();
        let found: Vec<_> = check(&graph(&lines)).iter().map(Finding::to_string).collect();
        let route = "cloud/refinery: must not reach tcb/keys, but cloud/refinery -> tcb/protocol -> helper -> tcb/keys";
        assert!(found.iter().any(|f| f == route), "{found:?}");
        assert!(found.iter().any(|f| f.starts_with("tcb/ring: its tests")), "{found:?}");
    }

    #[test]
    fn a_missing_crate_is_found() {
        let lines: Vec<&str> = SOUND.into_iter().filter(|l| !l.contains("tcb/keys")).collect();
        assert_eq!(check(&graph(&lines))[0].place, "tcb/keys");
    }
}
