//! How much code is trusted: the warden's external crates, and the lines of ours.

use std::collections::BTreeMap;

use super::Finding;
use super::graph::Graph;
use super::source::Source;
use super::tree::Tree;

/// Most external crates that are linked into the warden, or run while it is compiled.
const MOST_CRATES: usize = 165;
/// The same of a warden that is built without hand-over: two in five crates are there to appraise other wardens, most of them
/// for quotes of Intel.
const MOST_WITHOUT: usize = 105;
/// Most lines of code of ours, without comments, blank lines and tests. Transforms that stop half way, plain products of hidden
/// layers and the tests of admission came in with masked matrices; the planner went out. Orders in receipts, origins in terms
/// budgets of queriers, revocation lists and screening by class came in after it.
const MOST_LINES: usize = 17_550;

/// What is trusted.
pub struct Size {
    /// External crates.
    pub crates: usize,
    /// Those of a warden that is built without hand-over.
    pub without: usize,
    /// Lines of code of each of our trusted crates.
    pub lines: BTreeMap<String, usize>,
}

impl Size {
    /// Counts; the graphs are those of what ships, and of what is built without hand-over.
    pub fn of(graph: &Graph, without: &Graph, tree: &Tree) -> Self {
        let count = |graph: &Graph| {
            let used = graph.at("tcb/warden").map(|warden| graph.built_with(warden)).unwrap_or_default();
            used.into_iter().filter(|(i, _)| graph.crates[*i].folder.is_none()).count()
        };
        let mut lines = BTreeMap::<String, usize>::new();
        for (path, text) in &tree.files {
            let parts: Vec<&str> = path.split('/').collect();
            if let ["tcb", name, "src", ..] = parts.as_slice()
                && path.ends_with(".rs")
                && !path.ends_with("/tests.rs")
            {
                *lines.entry(format!("tcb/{name}")).or_default() += code_lines(text);
            }
        }
        Size { crates: count(graph), without: count(without), lines }
    }

    /// All lines.
    pub fn total(&self) -> usize {
        self.lines.values().sum()
    }

    /// What is beyond the limits.
    pub fn check(&self) -> Vec<Finding> {
        let beyond = |count: usize, most: usize, what: &str| {
            let message =
                format!("{count} {what}, {most} at most: do without some, or raise the limit and say why");
            (count > most).then(|| Finding::new("tcb", message))
        };
        let crates = beyond(self.crates, MOST_CRATES, "external crates in the warden");
        let without = beyond(self.without, MOST_WITHOUT, "external crates without hand-over");
        let lines = beyond(self.total(), MOST_LINES, "trusted lines of code");
        crates.into_iter().chain(without).chain(lines).collect()
    }
}

/// Lines with code before the file's tests, which come last, if they are not in a file of their own.
fn code_lines(text: &str) -> usize {
    let source = Source::parse(text);
    let tests = |at: usize| {
        let next = source.from(at).iter().take(6).map(|token| token.text);
        next.eq(["#", "[", "cfg", "(", "test", ")"])
    };
    let end = (0..source.code.len()).find(|&at| tests(at)).unwrap_or(source.code.len());
    let mut lines: Vec<usize> = source.code[..end].iter().map(|token| token.line).collect();
    lines.dedup();
    lines.len()
}

#[cfg(test)]
mod tests {
    use super::super::graph::synthetic::graph;
    use super::*;

    #[test]
    fn lines_with_code_count_and_tests_do_not() {
        let text = "//! Words.\n\nfn a() {\n    // More.\n    b(1,\n      2);\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        assert_eq!(code_lines(text), 4);
        assert_eq!(code_lines("// Nothing.\n"), 0);
    }

    #[test]
    fn what_is_trusted_is_counted_and_limited() {
        let lines =
            ["tcb/warden -> tcb/keys", "tcb/keys -> aes", "aes -build-> cc", "tcb/keys -dev-> proptest"];
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let long = "fn a() {}\n".repeat(MOST_LINES);
        let files = [
            file("tcb/keys/src/lib.rs", "fn a() {}\n"),
            file("tcb/keys/tests/all.rs", "fn a() {}\n"),
            file("tcb/keys/src/check/tests.rs", "fn a() {}\n"),
            file("cloud/refinery/src/lib.rs", "fn a() {}\n"),
        ];
        let mut tree = Tree { files: files.into() };
        let (whole, without) = (graph(&lines), graph(&lines[..2]));
        let size = Size::of(&whole, &without, &tree);
        assert_eq!((size.crates, size.without, size.total()), (2, 1, 1));
        assert!(size.check().is_empty());
        tree.files.extend([file("tcb/keys/src/long.rs", &long)]);
        assert_eq!(Size::of(&whole, &without, &tree).check().len(), 1);
        let many = Size { crates: MOST_CRATES + 1, without: MOST_WITHOUT + 1, lines: BTreeMap::new() };
        assert_eq!(many.check().len(), 2);
    }
}
