//! Sources and manifests keep to what readers of the repository may rely on.

use super::Finding;
use super::source::{Source, Token};
use super::tree::Tree;

/// Lines of a source that is not a test.
const MOST_LINES: usize = 600;
/// Lines of a test or benchmark.
const MOST_TEST_LINES: usize = 1000;

/// The only places with `unsafe`, by how their paths start, and why.
const UNSAFE: [(&str, &str); 12] = [
    ("tcb/ring/src/backend/avx2/", "vector loads and stores"),
    ("tcb/ring/src/backend/avx512/", "vector loads and stores"),
    ("tcb/ring/src/backend/mod.rs", "calls what was detected"),
    ("tcb/learn/src/product.rs", "calls what was detected"),
    ("tcb/shared/src/region.rs", "maps memory"),
    ("tcb/evidence/src/firmware.rs", "an operation of a device that no library knows"),
    ("tcb/appraiser/src/main.rs", "closes files by their numbers"),
    ("tcb/sandbox/tests/confined.rs", "system calls that no library makes"),
    ("cloud/compute/src/cpu/kernel/", "vector loads and stores, calls what was detected"),
    ("cloud/compute/benches/", "gemm takes pointers"),
    ("client/twin/src/product.rs", "gemm takes pointers"),
    ("constant-time/src/valgrind.rs", "instructions that only valgrind reads"),
];

/// Macros that stand for something unfinished.
const UNFINISHED: [&str; 3] = ["dbg", "todo", "unimplemented"];
/// Words in comments and documents that do.
const MARKS: [&str; 3] = ["FIXME", "TODO", "XXX"];
/// Starts of paths that only one machine has, without their first slash.
const PRIVATE_PATHS: [&str; 4] = ["home/", "root/", "tmp/target", "work/"];
/// Lines between `unsafe` and the comment above it: a statement may have begun.
const MOST_BETWEEN: usize = 2;

/// All of it; `roots` are the crates' root files.
pub fn check(tree: &Tree, roots: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.sources() {
        let source = Source::parse(text);
        findings.extend(unfinished(path, &source));
        findings.extend(unsafe_code(path, &source));
        findings.extend(too_long(path, text));
        if (path.contains("src/") || roots.iter().any(|root| root == path)) && !opens_with_purpose(text) {
            findings.push(Finding::new(path, "must open with a //! comment that says what it is for"));
        }
        for comment in &source.comments {
            findings.extend(marks(path, comment.line, comment.text));
        }
    }
    for (path, text) in &tree.files {
        findings.extend(private_paths(path, text));
        if is_document(path) {
            findings.extend(marks(path, 1, text));
        }
        if path.ends_with("/Cargo.toml") {
            findings.extend(manifest(path, text));
        }
    }
    if tree.sources().next().is_none() || roots.is_empty() {
        findings.push(Finding::new("git ls-files", "no source found: these checks guard nothing"));
    }
    findings
}

fn unfinished(path: &str, source: &Source) -> Vec<Finding> {
    let calls = source.code.windows(3).filter(|next| {
        UNFINISHED.contains(&next[0].text) && next[1].text == "!" && matches!(next[2].text, "(" | "[" | "{")
    });
    calls
        .map(|call| at(path, call[0].line, format!("{}! is not for committed sources", call[0].text)))
        .collect()
}

fn marks(path: &str, first_line: usize, text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let marked = lines.flat_map(|(i, line)| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| MARKS.contains(word)).map(move |word| (first_line + i, word))
    });
    marked.map(|(line, word)| at(path, line, format!("{word}: do it, or open an issue"))).collect()
}

fn unsafe_code(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowed = UNSAFE.iter().any(|(place, _)| path.starts_with(place));
    for (i, token) in
        source.code.iter().enumerate().filter(|(_, token)| token.is_name && token.text == "unsafe")
    {
        if !allowed {
            findings.push(at(
                path,
                token.line,
                "`unsafe` has few places, and this is none of them (xtask/src/check/tidy.rs)",
            ));
        }
        let declares = matches!(source.from(i + 1).first(), Some(Token { text: "fn" | "trait", .. }));
        if !is_justified(source, token.line, declares) {
            findings.push(at(
                path,
                token.line,
                "`unsafe` without a // SAFETY: comment that says why it is sound",
            ));
        }
    }
    findings
}

/// Whether the comment block above a line, or one on it, says why; a declaration may do it in its documentation.
fn is_justified(source: &Source, line: usize, declares: bool) -> bool {
    let last_line = |comment: &Token| comment.line + comment.text.lines().count().saturating_sub(1);
    let mut next = line;
    let mut most_between = MOST_BETWEEN;
    for comment in source.comments.iter().rev().filter(|comment| comment.line <= line) {
        if last_line(comment) + 1 + most_between < next {
            return false;
        }
        if comment.text.contains("SAFETY:") || declares && comment.text.contains("# Safety") {
            return true;
        }
        if last_line(comment) < line {
            // Lines of code end the block.
            most_between = 0;
        }
        next = comment.line;
    }
    false
}

fn too_long(path: &str, text: &str) -> Option<Finding> {
    let is_test = path.contains("/tests/") || path.contains("/benches/");
    let most = if is_test { MOST_TEST_LINES } else { MOST_LINES };
    let lines = text.lines().count();
    (lines > most).then(|| Finding::new(path, format!("{lines} lines, {most} at most: divide it")))
}

fn opens_with_purpose(text: &str) -> bool {
    text.trim_start().starts_with("//!")
}

fn is_document(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((_, ending)) => ["md", "sh", "toml", "txt", "yaml", "yml"].contains(&ending),
        None => true,
    }
}

fn private_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for (slash, _) in line.match_indices('/') {
            let before = line[..slash].chars().next_back();
            let is_start = before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/)}$".contains(c));
            if let Some(start) = PRIVATE_PATHS.iter().find(|p| is_start && line[slash + 1..].starts_with(**p))
            {
                findings.push(at(path, i + 1, format!("a path of one machine, {start}")));
            }
        }
    }
    findings
}

fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut findings = Vec::new();
    if !lines.contains(&"license.workspace = true") {
        findings.push(Finding::new(path, "write `license.workspace = true`"));
    }
    if !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]) {
        findings.push(Finding::new(path, "write `[lints]`, and `workspace = true` below"));
    }
    findings
}

fn at(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding::new(format!("{path}:{line}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nlicense.workspace = true\n\n[lints]\nworkspace = true\n";
    const KERNEL: &str = "cloud/compute/src/cpu/kernel/avx2.rs";

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[("a/src/lib.rs", "//! Root."), (path, text)]);
        check(&tree, &["a/src/lib.rs".into()]).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn tidy_files_pass() {
        for (path, text) in [
            ("a/src/b.rs", "//! A module.\nfn f() -> &'static str { \"TODO unsafe dbg!() \" }"),
            ("a/tests/b/c.rs", "fn todo(unimplemented: u8) -> bool { unimplemented != 2 }"),
            (
                KERNEL,
                "//! A kernel.\nfn f() {\n    // SAFETY: it is.\n    // So.\n    let x =\n        unsafe { g() };\n}",
            ),
            (
                KERNEL,
                "//! A kernel.\n/// Loads.\n///\n/// # Safety\n/// In bounds.\n#[inline]\npub unsafe fn load() {}",
            ),
            (KERNEL, "//! A kernel.\n#![deny(unsafe_code)]"),
            ("a/Cargo.toml", MANIFEST),
            ("README.md", "See client/work/x, https://example.com/work/ and $HOME/work/, not PHOTODO."),
            ("a/digits.csv", "TODO"),
        ] {
            assert_eq!(found(path, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn untidy_files_are_found() {
        let words = MARKS.map(|mark| format!("//! Module.\n\n/* one\n {mark}: later */"));
        let paths = PRIVATE_PATHS.map(|path| format!("see\n`/{path}x`"));
        for (path, text, expected) in [
            ("a/src/b.rs", &*words[0], "a/src/b.rs:4: FIXME"),
            ("a/src/b.rs", &*words[1], "a/src/b.rs:4: TODO"),
            ("a/tests/b.rs", &*words[2], "a/tests/b.rs:4: XXX"),
            ("docs/x.md", "# X\n- TODO", "docs/x.md:2: TODO"),
            (".ci/run", "# XXX", ".ci/run:1: XXX"),
            ("README.md", &*paths[0], "README.md:2: a path of one machine, home/"),
            ("a/src/b.csv", &*paths[1], "a/src/b.csv:2: a path of one machine, root/"),
            (".ci/run", &*paths[2], ".ci/run:2: a path of one machine, tmp/target"),
            ("a/build.sh", &*paths[3], "a/build.sh:2: a path of one machine, work/"),
            ("a/src/b.rs", "//! B.\nfn f() { dbg!(1) }", "a/src/b.rs:2: dbg! is not"),
            ("a/src/b.rs", "//! B.\nfn f() { todo ! () }", "a/src/b.rs:2: todo! is not"),
            ("a/src/b.rs", "//! B.\nfn f() { unimplemented!() }", "unimplemented! is not"),
            ("a/src/b.rs", "/// B.\nfn f() {}", "must open with a //! comment"),
            ("a/src/b.rs", "//! B.\n// SAFETY: no.\nunsafe { }", "a/src/b.rs:3: `unsafe` has few places"),
            (KERNEL, "//! K.\nfn f() { unsafe { g() } }", "without a // SAFETY: comment"),
            (
                KERNEL,
                "//! K.\n// SAFETY: f.\nf();\n// Other.\nunsafe { g() }",
                "without a // SAFETY: comment",
            ),
            (
                KERNEL,
                "//! K.\n// SAFETY: f.\nf();\nf();\nf();\nunsafe { g() }",
                "without a // SAFETY: comment",
            ),
            (KERNEL, "//! K.\n/// # Safety\nfn f() { unsafe { g() } }", "without a // SAFETY: comment"),
            ("a/Cargo.toml", "[lints]\nworkspace = true", "write `license.workspace = true`"),
            (
                "a/Cargo.toml",
                "license.workspace = true\n[lints]\n[features]\nworkspace = true",
                "write `[lints]`",
            ),
        ] {
            let found = found(path, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn long_files_are_found() {
        let lines = |n: usize| format!("//! Long.{}", "\n".repeat(n - 1) + "x");
        assert_eq!(found("a/src/b.rs", &lines(MOST_LINES)), [""; 0]);
        assert_eq!(found("a/tests/b.rs", &lines(MOST_TEST_LINES)), [""; 0]);
        assert!(found("a/src/b.rs", &lines(MOST_LINES + 1))[0].contains("601 lines, 600 at most"));
        assert!(found("a/tests/b.rs", &lines(MOST_TEST_LINES + 1))[0].contains("1001 lines, 1000 at most"));
    }

    #[test]
    fn an_empty_tree_is_found() {
        assert_eq!(check(&Tree::of(&[]), &[]).len(), 1);
    }
}
