//! How much code is trusted: external crates, and lines and tokens of ours; those of the warden, which holds secrets, and
//! apart from them those that only its appraiser has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Finding;
use super::graph::Graph;
use super::source::Source;
use super::tree::Tree;

/// The most of it that there may be.
struct Limits {
    /// Whose it is.
    of: &'static str,
    /// External crates that are linked into it, or run while it is compiled.
    crates: usize,
    /// Lines of code of ours in rustfmt's own width, without comments, blank lines and tests.
    lines: usize,
    /// Tokens of these lines, which no layout changes.
    tokens: usize,
}

const WARDEN: Limits = Limits { of: "the warden", crates: 89, lines: 19_960, tokens: 174_000 };
/// What the warden has too does not count again.
const APPRAISER: Limits = Limits { of: "the appraiser alone", crates: 53, lines: 2_200, tokens: 15_050 };

/// Lines of code, and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Code {
    /// Lines with a token.
    pub lines: usize,
    /// Tokens that are no comments.
    pub tokens: usize,
}

/// What a program adds.
#[derive(Default)]
pub struct Part {
    /// External crates.
    pub crates: usize,
    /// Code of each of our crates.
    pub code: BTreeMap<String, Code>,
}

impl Part {
    /// All code of ours.
    pub fn total(&self) -> Code {
        let sum =
            |all: Code, one: &Code| Code { lines: all.lines + one.lines, tokens: all.tokens + one.tokens };
        self.code.values().fold(Code::default(), sum)
    }
}

/// What is trusted.
pub struct Size {
    /// The warden.
    pub warden: Part,
    /// What only the appraiser has.
    pub appraiser: Part,
}

impl Size {
    /// Counts; the graphs are those of the two programs.
    pub fn of(warden: &Graph, appraiser: &Graph, tree: &Tree) -> Self {
        let mut code = BTreeMap::<String, Code>::new();
        for (path, text) in &tree.files {
            if let Some(folder) = counted(path) {
                let (all, one) = (code.entry(folder).or_default(), code_of(text));
                *all = Code { lines: all.lines + one.lines, tokens: all.tokens + one.tokens };
            }
        }
        let (held, judging) = (built(warden, "tcb/warden"), built(appraiser, "tcb/appraiser"));
        let external = |names: &BTreeSet<String>| names.iter().filter(|name| !name.contains('/')).count();
        let (own, other) = code.into_iter().partition(|(folder, _)| held.contains(folder));
        let apart: BTreeSet<String> = judging.difference(&held).cloned().collect();
        Size {
            warden: Part { crates: external(&held), code: own },
            appraiser: Part { crates: external(&apart), code: other },
        }
    }

    /// What is beyond the limits.
    pub fn check(&self) -> Vec<Finding> {
        let parts = [(&self.warden, WARDEN), (&self.appraiser, APPRAISER)];
        let found = parts.into_iter().flat_map(|(part, limits)| {
            let Code { lines, tokens } = part.total();
            let counts = [
                (part.crates, limits.crates, "external crates"),
                (lines, limits.lines, "lines of code"),
                (tokens, limits.tokens, "tokens"),
            ];
            counts.into_iter().filter(|(count, most, _)| count > most).map(move |(count, most, what)| {
                let message = format!(
                    "{count} {what} in {}, {most} at most: do without some, or raise the limit and say why",
                    limits.of
                );
                Finding::new("tcb", message)
            })
        });
        found.collect()
    }
}

/// The folder of the crate whose code a file is, if it counts.
fn counted(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["tcb", name, "src", .., file] if file.ends_with(".rs") && *file != "tests.rs" => {
            Some(format!("tcb/{name}"))
        }
        _ => None,
    }
}

/// What the crate in a folder is built of, itself among it: folders of ours, names of others.
fn built(graph: &Graph, folder: &str) -> BTreeSet<String> {
    let Some(root) = graph.at(folder) else { return BTreeSet::new() };
    let named = |i: usize| graph.crates[i].folder.clone().unwrap_or_else(|| graph.crates[i].name.clone());
    graph.built_with(root).into_keys().chain([root]).map(named).collect()
}

/// The files that count, laid out as rustfmt does by itself, so that no setting of ours changes the count.
pub fn plain(tree: &Tree) -> Result<Tree> {
    let counted = tree.files.iter().filter(|(path, _)| counted(path).is_some());
    let files = counted.map(|(path, text)| Ok((path.clone(), formatted(path, text)?)));
    Ok(Tree { files: files.collect::<Result<_>>()? })
}

fn formatted(path: &str, text: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=100,use_small_heuristics=Default"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run rustfmt")?;
    let mut input = rustfmt.stdin.take().context("rustfmt takes no input")?;
    // It reads everything before it writes.
    input.write_all(text.as_bytes()).context("rustfmt takes no input")?;
    drop(input);
    let output = rustfmt.wait_with_output().context("rustfmt")?;
    ensure!(output.status.success(), "rustfmt cannot lay out {path}");
    String::from_utf8(output.stdout).context("rustfmt prints no text")
}

/// Code before the file's tests, which come last, if they are not in a file of their own.
fn code_of(text: &str) -> Code {
    let source = Source::parse(text);
    let tests = |at: usize| {
        let next = source.from(at).iter().take(6).map(|token| token.text);
        next.eq(["#", "[", "cfg", "(", "test", ")"])
    };
    let end = (0..source.code.len()).find(|&at| tests(at)).unwrap_or(source.code.len());
    let mut lines: Vec<usize> = source.code[..end].iter().map(|token| token.line).collect();
    lines.dedup();
    Code { lines: lines.len(), tokens: end }
}

#[cfg(test)]
mod tests {
    use super::super::graph::synthetic::graph;
    use super::*;

    #[test]
    fn lines_with_code_count_and_tests_do_not() {
        let text = "//! Words.\n\nfn a() {\n    // More.\n    b(1,\n      2);\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        assert_eq!(code_of(text), Code { lines: 4, tokens: 13 });
        assert_eq!(code_of("// Nothing.\n"), Code::default());
    }

    #[test]
    fn the_layout_is_rustfmts_own() {
        let long = format!("fn a() {{ b({}) }}\n", ["argument"; 11].join(", "));
        let tree = Tree::of(&[("tcb/keys/src/lib.rs", &long), ("tcb/keys/tests/all.rs", "fn")]);
        let plain = plain(&tree).unwrap();
        assert_eq!(plain.files.len(), 1);
        let (before, after) = (code_of(&long), code_of(plain.text("tcb/keys/src/lib.rs").unwrap()));
        assert!(before.lines == 1 && after.lines > 3 && before.tokens.abs_diff(after.tokens) <= 1);
        assert!(super::plain(&Tree::of(&[("tcb/keys/src/lib.rs", "fn")])).is_err());
    }

    #[test]
    fn what_is_trusted_is_counted_and_limited() {
        let lines = [
            "tcb/warden -> tcb/keys",
            "tcb/keys -> aes",
            "aes -build-> cc",
            "tcb/keys -dev-> proptest",
            "tcb/appraiser -> tcb/appraisal",
            "tcb/appraisal -> tcb/keys",
            "tcb/appraisal -> der",
        ];
        let graph = graph(&lines);
        let mut tree = Tree::of(&[
            ("tcb/keys/src/lib.rs", "fn a() {}\n"),
            ("tcb/keys/tests/all.rs", "fn a() {}\n"),
            ("tcb/keys/src/check/tests.rs", "fn a() {}\n"),
            ("tcb/appraisal/src/lib.rs", "fn a() {}\nfn b() {}\n"),
            ("cloud/refinery/src/lib.rs", "fn a() {}\n"),
        ]);
        let size = Size::of(&graph, &graph, &tree);
        assert_eq!((size.warden.crates, size.warden.total()), (2, Code { lines: 1, tokens: 6 }));
        assert_eq!((size.appraiser.crates, size.appraiser.total()), (1, Code { lines: 2, tokens: 12 }));
        assert!(size.check().is_empty());
        let long = "fn a() {}\n".repeat(WARDEN.lines);
        tree.files.insert("tcb/keys/src/long.rs".into(), long.clone());
        assert_eq!(Size::of(&graph, &graph, &tree).check().len(), 1);
        tree.files.insert("tcb/appraisal/src/long.rs".into(), long);
        assert_eq!(Size::of(&graph, &graph, &tree).check().len(), 3);
        let many = |most: Limits| Part { crates: most.crates + 1, code: BTreeMap::new() };
        let many = Size { warden: many(WARDEN), appraiser: many(APPRAISER) };
        assert_eq!(many.check().len(), 2);
    }
}
