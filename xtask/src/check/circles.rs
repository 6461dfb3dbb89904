//! Files of a crate import each other in one direction: no circle leads back to a file.
//!
//! A file imports another one by a path that starts with `crate::`, `super::` or `self::`, or with the name of a module
//! below it, in a `use` or anywhere else. Code that only tests see does not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Finding;
use super::source::{Source, Token, without_tests};
use super::tree::Tree;

/// The crates that are held to it.
pub const HELD: [&str; 14] = [
    "client/arguments",
    "client/python",
    "client/twin",
    "cloud/api",
    "cloud/project",
    "cloud/refinery",
    "tcb/appraiser",
    "tcb/evidence",
    "tcb/formats",
    "tcb/identity",
    "tcb/matrix",
    "tcb/receipts",
    "tcb/shared",
    "tcb/warden",
];

/// The files of a crate by module path, from the crate's root down.
type Modules<'a> = BTreeMap<Vec<&'a str>, &'a str>;

/// Every group of files that import each other, as one circle through it.
pub fn check(tree: &Tree, held: &[&str]) -> Vec<Finding> {
    held.iter().flat_map(|folder| crate_circles(tree, folder)).collect()
}

fn crate_circles(tree: &Tree, folder: &str) -> Vec<Finding> {
    let mut modules = Modules::new();
    let prefix = format!("{folder}/src/");
    for (path, _) in tree.sources() {
        // A program beside a library is a crate of its own; what it imports of its own modules is looked at as well.
        if let Some(name) = path.strip_prefix(&prefix).and_then(|file| file.strip_suffix(".rs")) {
            let mut parts: Vec<&str> = name.split('/').filter(|part| *part != "mod").collect();
            if matches!(*parts, ["lib"]) || (matches!(*parts, ["main"]) && !has_library(tree, &prefix)) {
                parts.clear();
            }
            modules.insert(parts, path);
        }
    }
    if modules.is_empty() {
        return vec![Finding::new(folder, "no sources: the rule about circles guards nothing")];
    }
    let mut imports = BTreeMap::new();
    for (module, path) in &modules {
        let text = tree.text(path).unwrap_or_default();
        imports.insert(*path, imported(module, &Source::parse(text), &modules));
    }
    circles(&imports).into_iter().map(|circle| Finding::new(circle[0], say(&circle))).collect()
}

fn has_library(tree: &Tree, prefix: &str) -> bool {
    tree.text(&format!("{prefix}lib.rs")).is_some()
}

fn say(circle: &[&str]) -> String {
    let name = |path: &str| path.split_once("/src/").map_or(path, |(_, name)| name).to_owned();
    let names: Vec<String> = circle.iter().map(|path| name(path)).collect();
    format!("imports itself: {} -> {}. Move what both need into a third file", names.join(" -> "), names[0])
}

/// The other files that a module's file imports.
fn imported<'a>(module: &[&'a str], source: &Source<'a>, modules: &Modules<'a>) -> BTreeSet<&'a str> {
    let code = without_tests(source);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let before: Vec<&str> = code[at.saturating_sub(2)..at].iter().map(|token| token.text).collect();
        let fresh = !matches!(*before, [":", ":"] | [.., "." | "$"]);
        let starts = match code[at].text {
            "crate" | "super" | "self" => true,
            name => code[at].is_name && modules.contains_key(&[module, &[name]].concat()),
        };
        match fresh && starts && is_path(&code[at + 1..]) {
            true => at += tree_of(&code[at..], &mut Vec::new(), &mut paths).max(1),
            false => at += 1,
        }
    }
    let own = modules.get(module);
    let files = paths.into_iter().filter_map(|path| file(module, &path, modules));
    files.filter(|file| Some(file) != own).collect()
}

fn is_path(rest: &[Token<'_>]) -> bool {
    matches!(rest, [Token { text: ":", .. }, Token { text: ":", .. }, ..])
}

/// Reads a path or a tree of `use`; the number of tokens that it has.
fn tree_of<'a>(code: &[Token<'a>], before: &mut Vec<&'a str>, paths: &mut Vec<Vec<&'a str>>) -> usize {
    let depth = before.len();
    let mut at = 0;
    loop {
        match code.get(at).map(|token| (token.text, token.is_name)) {
            Some(("{", _)) => {
                at += 1;
                while code.get(at).is_some_and(|token| token.text != "}") {
                    at += match code[at].text {
                        "," => 1,
                        _ => tree_of(&code[at..], before, paths).max(1),
                    };
                }
                at += 1;
                break;
            }
            Some((name, true)) => {
                before.push(name);
                at += 1;
                if is_path(&code[at..]) {
                    at += 2;
                    continue;
                }
                paths.push(before.clone());
                if code.get(at).is_some_and(|token| token.text == "as") {
                    at += 2;
                }
                break;
            }
            // `*`, or generic arguments of a type.
            _ => {
                paths.push(before.clone());
                at += 1;
                break;
            }
        }
    }
    before.truncate(depth);
    at.min(code.len())
}

/// The file in which a path ends, as far as modules go.
fn file<'a>(module: &[&'a str], path: &[&'a str], modules: &Modules<'a>) -> Option<&'a str> {
    let (mut at, mut rest) = (module.to_vec(), path);
    if let Some((&"crate", after)) = rest.split_first() {
        (at, rest) = (Vec::new(), after);
    }
    while let Some((first @ (&"super" | &"self"), after)) = rest.split_first() {
        if *first == "super" {
            at.pop();
        }
        rest = after;
    }
    for name in rest {
        at.push(name);
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    modules.get(&at).copied()
}

/// A shortest circle through each file that is in one, no file twice.
fn circles<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    for start in imports.keys() {
        if found.iter().flatten().any(|file| file == start) {
            continue;
        }
        let mut from = BTreeMap::<&str, &str>::new();
        let mut queue = VecDeque::from([*start]);
        while let Some(file) = queue.pop_front() {
            for next in imports.get(file).into_iter().flatten() {
                if next == start {
                    let mut circle = vec![file];
                    while circle.last() != Some(start) {
                        circle.extend(circle.last().and_then(|file| from.get(file)));
                    }
                    circle.reverse();
                    found.push(circle);
                    queue.clear();
                    break;
                }
                if !from.contains_key(next) {
                    from.insert(next, file);
                    queue.push_back(next);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> =
            files.iter().map(|(path, text)| (format!("cloud/x/src/{path}"), *text)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, *text)).collect();
        check(&Tree::of(&files), &["cloud/x"]).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn imports_in_one_direction_pass() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use a::A;\nmacro_rules! m { () => { $crate::A } }"),
            ("a.rs", "mod c;\nuse crate::b::{self, B as C, d::{D, *}};\npub(crate) fn a() { c::c() }"),
            ("a/c.rs", "use crate::b::B;\n// crate::a::A\nfn c() { let s = \"super::a\"; self.a::<B>() }"),
            ("b.rs", "use std::a::A;\n#[cfg(test)]\nmod tests { use crate::a::A; }\npub struct B;"),
            ("b/d.rs", "use super::B;"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn circles_are_found_wherever_the_path_stands() {
        let root = ("lib.rs", "mod a;\nmod b;\npub use a::A;");
        let b = ("b.rs", "use crate::{a::{A}};");
        for a in [
            "use crate::b::B;",
            "use super::b::{self};",
            "use crate::{b::c, b::d::D as E};",
            "fn a(b: crate::b::B) {}",
            "fn a() { self::super::b::c() }",
            "#[cfg(test)]\nmod tests;\nuse crate::b::*;",
        ] {
            let found = found(&[root, ("a.rs", a), b]);
            assert_eq!(found.len(), 1, "{a}: {found:?}");
            assert!(found[0].contains("cloud/x/src/a.rs: imports itself: a.rs -> b.rs -> a.rs"), "{found:?}");
        }
    }

    #[test]
    fn a_parent_and_what_is_below_it_can_be_a_circle_as_can_the_root_that_exports() {
        let below = found(&[("lib.rs", ""), ("a/mod.rs", "mod c;\nuse c::C;"), ("a/c.rs", "use super::A;")]);
        assert_eq!(below.len(), 1, "{below:?}");
        assert!(below[0].contains("a/c.rs -> a/mod.rs -> a/c.rs"), "{below:?}");
        let root = found(&[("lib.rs", "mod a;\npub use a::A;"), ("a.rs", "use crate::A;")]);
        assert!(root[0].contains("a.rs -> lib.rs -> a.rs"), "{root:?}");
        let long = found(&[
            ("main.rs", "mod a;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::{a};\nuse crate::d;"),
            ("d.rs", "use crate::c;"),
        ]);
        assert_eq!(long.len(), 2, "{long:?}");
        assert!(long[0].contains("a.rs -> b.rs -> c.rs -> a.rs"), "{long:?}");
    }

    #[test]
    fn a_crate_that_there_is_not_is_found() {
        assert_eq!(check(&Tree::of(&[]), &["cloud/x"]).len(), 1);
    }
}
