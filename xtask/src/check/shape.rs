//! Functions fit a screen and take few parameters, none of them a tuple; a module with files below it is `x.rs` beside
//! `x/`, not `x/mod.rs`.

use super::Finding;
use super::source::{Source, Token, extent};
use super::tree::Tree;

/// The crates that are held to it.
pub const HELD: [&str; 13] = [
    "client/arguments",
    "cloud/api",
    "cloud/project",
    "cloud/refinery",
    "tcb/appraiser",
    "tcb/evidence",
    "tcb/formats",
    "tcb/identity",
    "tcb/protocol",
    "tcb/receipts",
    "tcb/sandbox",
    "tcb/shared",
    "tcb/warden",
];

/// Lines of a function, from `fn` to its last brace.
const MOST_LINES: usize = 70;
/// Parameters of a function beside `self`.
const MOST_PARAMETERS: usize = 6;

/// What is larger, or of another shape.
pub fn check(tree: &Tree, held: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in held {
        let prefix = format!("{folder}/");
        let mut sources = tree.sources().filter(|(path, _)| path.starts_with(&prefix)).peekable();
        if sources.peek().is_none() {
            findings.push(Finding::new(*folder, "no sources: the rule about shapes guards nothing"));
        }
        for (path, text) in sources {
            if path.ends_with("/mod.rs") {
                findings.push(Finding::new(path, "name it after its folder, and put it beside that"));
            }
            // Tests tell a story from beginning to end, which may be long.
            if !path.starts_with(&format!("{folder}/tests/")) {
                findings.extend(functions(path, &Source::parse(text)));
            }
        }
    }
    findings
}

fn functions(path: &str, source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, pair) in source.code.windows(2).enumerate() {
        // A type of functions has no name.
        if pair[0].text != "fn" || !pair[1].is_name {
            continue;
        }
        let (line, name) = (pair[0].line, pair[1].text);
        let mut found = |message: String| findings.push(Finding::new(format!("{path}:{line}"), message));
        let code = source.from(at);
        let lines = code[extent(code) - 1].line - line + 1;
        if lines > MOST_LINES {
            found(format!("{name} has {lines} lines, {MOST_LINES} at most: divide it"));
        }
        let parameters = parameters(source.from(at + 2));
        let count = parameters.iter().filter(|parameter| !is_self(parameter)).count();
        if count > MOST_PARAMETERS {
            found(format!("{name} takes {count} parameters, {MOST_PARAMETERS} at most: make a structure"));
        }
        if parameters.iter().any(|parameter| is_tuple(parameter)) {
            found(format!("{name} takes a tuple: take its parts, or a structure with names"));
        }
    }
    findings
}

/// A function's parameters; `code` starts after its name.
fn parameters<'a>(code: &'a [Token<'a>]) -> Vec<&'a [Token<'a>]> {
    let mut angles = 0;
    let open = code.iter().enumerate().position(|(i, token)| {
        angles += angle(code, i);
        angles == 0 && token.text == "("
    });
    let Some(open) = open else { return Vec::new() };
    let all = &code[open..open + extent(&code[open..])];
    let inside = all.get(1..all.len() - 1).unwrap_or_default();
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (i, token) in inside.iter().enumerate() {
        depth += angle(inside, i);
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 0 => {
                found.push(&inside[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found.push(&inside[start..]);
    found.retain(|parameter| !parameter.is_empty());
    found
}

/// One more angle bracket open, or one less; an arrow is none.
fn angle(code: &[Token<'_>], at: usize) -> i32 {
    match code[at].text {
        "<" => 1,
        ">" if at > 0 && code[at - 1].text == "-" => 0,
        ">" => -1,
        _ => 0,
    }
}

fn is_self(parameter: &[Token<'_>]) -> bool {
    let name = parameter.iter().find(|token| token.is_name && token.text != "mut");
    name.is_some_and(|token| token.text == "self")
}

/// Whether its pattern or its type is a tuple, or a reference to one.
fn is_tuple(parameter: &[Token<'_>]) -> bool {
    let opens = |part: &[Token<'_>]| {
        let bare = |token: &&Token<'_>| {
            !matches!(token.text, "&" | "mut" | "#" | "ref") && !token.text.starts_with('\'')
        };
        let mut rest = part.iter().filter(bare).map(|token| token.text);
        rest.next() == Some("(") && rest.next() != Some(")")
    };
    let mut depth = 0;
    let colon = parameter.iter().position(|token| {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == ":"
    });
    opens(parameter) || colon.is_some_and(|colon| opens(&parameter[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]), &["cloud/x"]).iter().map(Finding::to_string).collect()
    }

    fn long(lines: usize) -> String {
        format!("impl A {{\n    fn f() {{\n{}    }}\n}}", "        g();\n".repeat(lines - 2))
    }

    #[test]
    fn functions_of_the_right_shape_pass() {
        for text in [
            &*long(MOST_LINES),
            "fn f<F: Fn(u8) -> (A, B), const N: usize>(a: F, b: B<C, D>, c: [u8; 2], d: D, e: E, f: F) -> (A, B) { }",
            "fn f(&mut self, a: A, b: B, c: C, d: D, e: E, f: F,);",
            "fn f(f: fn(A, B, C, D, E, F, G), Path(p): Path<(A, B)>, list: &[(A, B)]) -> impl Fn((A, B)) { |(a, b)| a }",
            "fn f(nothing: ()) where A: B<(C, D)> {}",
            "// fn f((a, b): (A, B)) {}\nconst F: &str = \"fn f((a, b): (A, B)) {}\";",
        ] {
            assert_eq!(found("cloud/x/src/a.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn others_are_found() {
        for (text, expected) in [
            (&*long(MOST_LINES + 1), "cloud/x/src/a.rs:2: f has 71 lines, 70 at most"),
            ("fn f(a: A, b: B<C, D>, c: C, d: D, e: E, f: F, g: G) {}", "f takes 7 parameters, 6 at most"),
            ("fn f(self: &Self, a: A, b: B, c: C, d: D, e: E, f: F, g: G);", "f takes 7 parameters"),
            ("fn f((a, b): (A, B)) {}", "f takes a tuple"),
            ("fn f(a: A, pair: &mut (A, B)) {}", "f takes a tuple"),
            ("fn f<'a>(&self, pair: &'a (A, B)) {}", "f takes a tuple"),
            ("fn f(&(a, b): Pair) {}", "f takes a tuple"),
        ] {
            let found = found("cloud/x/src/a.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn one_of_two_ways_to_name_a_module_is_refused_and_other_crates_are_not_held() {
        let found = found("cloud/x/src/a/mod.rs", "");
        assert!(found.len() == 1 && found[0].contains("beside"), "{found:?}");
        assert_eq!(super::tests::found("cloud/x/tests/a.rs", "fn f((a, b): (A, B)) {}"), [""; 0]);
        let other = Tree::of(&[("cloud/x/src/a.rs", ""), ("cloud/y/src/a/mod.rs", "")]);
        assert!(check(&other, &["cloud/x"]).is_empty());
        assert_eq!(check(&other, &["cloud/z"]).len(), 1);
    }
}
