//! Links between documents lead somewhere: to a file of the repository, and to a heading if they name one.
//!
//! Links to other places (`https:` and the like) are not followed.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

/// Where documents are that somebody has to link to, or nobody finds them.
const DOCUMENTS: &str = "docs/";

/// Broken links of all documents, and documents that no other one links to.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reached = BTreeSet::new();
    for (path, text) in documents(tree) {
        for (line, link) in links(text) {
            match resolve(tree, path, link) {
                Ok(Some(file)) if file != path => _ = reached.insert(file),
                Ok(_) => {}
                Err(reason) => {
                    findings.push(Finding::new(format!("{path}:{line}"), format!("{link}: {reason}")))
                }
            }
        }
    }
    let lost = documents(tree).filter(|(path, _)| path.starts_with(DOCUMENTS) && !reached.contains(*path));
    findings.extend(lost.map(|(path, _)| Finding::new(path, "no other document links to it")));
    if documents(tree).next().is_none() {
        findings.push(Finding::new("git ls-files", "no document found: this check guards nothing"));
    }
    findings
}

fn documents(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files.iter().filter(|(path, _)| path.ends_with(".md")).map(|(path, text)| (&**path, &**text))
}

/// The targets of inline links and images with their lines; code has none.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, words) in prose(text) {
        // Every other piece between backquotes is code.
        let mut is_code = false;
        for piece in words.split('`') {
            if !is_code {
                let targets = piece.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
                found.extend(targets.map(|(target, _)| (line, target.trim())));
            }
            is_code = !is_code;
        }
        // A name that is code may stand inside of a link: [`x`](target).
        let after_code = words.split("`](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(after_code.map(|(target, _)| (line, target.trim())));
    }
    found.dedup();
    found
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((i + 1, line))
    })
}

/// The file of the repository that a link leads to; none if it leads elsewhere, or to a folder.
fn resolve(tree: &Tree, from: &str, link: &str) -> Result<Option<String>, String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let file = if path.is_empty() { from.to_owned() } else { joined(from, path)? };
    let Some(text) = tree.text(&file) else {
        let is_folder = tree.files.keys().any(|other| other.starts_with(&format!("{file}/")));
        return if is_folder { Ok(None) } else { Err("no such file".into()) };
    };
    if let Some(heading) = heading
        && !headings(text).contains(heading)
    {
        return Err(format!("{file} has no such heading"));
    }
    Ok(Some(file))
}

/// A path from the root, of one that starts at a document's folder.
fn joined(from: &str, path: &str) -> Result<String, String> {
    let mut names: Vec<&str> = from.split('/').collect();
    names.pop();
    for name in path.trim_end_matches('/').split('/') {
        match name {
            "." | "" => {}
            ".." => _ = names.pop().ok_or("leaves the repository")?,
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

/// The anchors that hosts of repositories make of headings.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut next = anchor.clone();
        let mut count = 0;
        while !anchors.insert(next) {
            count += 1;
            next = format!("{anchor}-{count}");
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found if `docs/a.md` has this text.
    fn found(text: &str) -> Vec<String> {
        let index = "[a](a.md) [b](./b.md)";
        let root = "# R\n\n## Two words, `code` & more\n\n## Two words, `code` & more\n\n[i](docs/index.md)";
        let files = [
            ("README.md", root),
            ("docs/a.md", text),
            ("docs/b.md", "# B"),
            ("docs/index.md", index),
            ("x/y.rs", ""),
        ];
        check(&Tree::of(&files)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[b](b.md), [B](b.md#b) and ![picture](../x/y.rs), [`x`](../README.md)",
            "[folder](../x/) [self](#a)\n# A",
            "[r](../README.md#two-words-code--more) [again](../README.md#two-words-code--more-1)",
            "[web](https://example.com/none.md) [mail](mailto:a@example.com)",
            "`[no](link.md)`\n```\n[no](link.md)\n```\n",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for (text, expected) in [
            ("one\n[c](c.md)", "docs/a.md:2: c.md: no such file"),
            ("[b](b.md#c)", "docs/a.md:1: b.md#c: docs/b.md has no such heading"),
            ("[self](#b)\n# A", "docs/a.md:1: #b: docs/a.md has no such heading"),
            ("[up](../../x.md)", "docs/a.md:1: ../../x.md: leaves the repository"),
            ("[`b`](none.md)", "docs/a.md:1: none.md: no such file"),
            ("```\n# C\n```\n[self](#c)", "docs/a.md:4: #c: docs/a.md has no such heading"),
        ] {
            assert_eq!(found(text), [expected], "{text}");
        }
    }

    #[test]
    fn documents_that_nobody_links_to_are_found() {
        let tree = Tree::of(&[("README.md", ""), ("docs/a.md", "[self](a.md)")]);
        let found: Vec<_> = check(&tree).iter().map(Finding::to_string).collect();
        assert_eq!(found, ["docs/a.md: no other document links to it"]);
        assert_eq!(check(&Tree::of(&[])).len(), 1);
    }
}
