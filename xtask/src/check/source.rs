//! A Rust source as tokens: code apart from comments and literals.

use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

/// The tokens of a file, without white space.
pub struct Source<'a> {
    pub code: Vec<Token<'a>>,
    pub comments: Vec<Token<'a>>,
}

/// A token and the line on which it starts, counted from 1.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
    /// A name or keyword, as opposed to a literal or punctuation.
    pub is_name: bool,
}

impl<'a> Source<'a> {
    /// Splits a file.
    pub fn parse(text: &'a str) -> Self {
        let mut source = Source { code: Vec::new(), comments: Vec::new() };
        let (mut at, mut line) = (0, 1);
        for token in tokenize(text, FrontmatterAllowed::No) {
            let piece = &text[at..at + token.len as usize];
            let is_name = matches!(token.kind, TokenKind::Ident | TokenKind::RawIdent);
            let found = Token { text: piece, line, is_name };
            match token.kind {
                TokenKind::Whitespace => {}
                TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => source.comments.push(found),
                _ => source.code.push(found),
            }
            at += piece.len();
            line += piece.matches('\n').count();
        }
        source
    }

    /// The code from a position on.
    pub fn from(&self, position: usize) -> &[Token<'a>] {
        self.code.get(position..).unwrap_or_default()
    }
}

/// The length of the item or group that `code` starts with: up to the end of its first braces, or to `;` outside
/// of brackets; if `code` starts with a bracket, up to its match.
pub fn extent(code: &[Token<'_>]) -> usize {
    let is_group = code.first().is_some_and(|t| matches!(t.text, "(" | "["));
    let mut depth = 0;
    for (i, token) in code.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (matches!(token.text, "}" | ";") || is_group) {
            return i + 1;
        }
    }
    code.len()
}

/// The code without what only tests see.
pub fn without_tests<'a>(source: &Source<'a>) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < source.code.len() {
        let here = source.from(at);
        if !here.iter().take(7).map(|token| token.text).eq(["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(source.code[at]);
            at += 1;
            continue;
        }
        // Other attributes of the item, then the item.
        at += 7;
        while source.from(at).first().is_some_and(|token| token.text == "#") {
            at += 1 + extent(source.from(at + 1));
        }
        at += extent(source.from(at)).max(1);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let source =
            Source::parse("/* a\n/* b */ */ let c = \"unsafe\"; // d\n'e: loop { r#\"f\n\"#; '\"' }");
        let names: Vec<_> = source.code.iter().filter(|t| t.is_name).map(|t| (t.text, t.line)).collect();
        assert_eq!(names, [("let", 2), ("c", 2), ("loop", 3)]);
        let comments: Vec<_> = source.comments.iter().map(|t| (t.text, t.line)).collect();
        assert_eq!(comments, [("/* a\n/* b */ */", 1), ("// d", 2)]);
        assert_eq!(source.code.last().map(|t| (t.text, t.line)), Some(("}", 4)));
    }

    #[test]
    fn items_and_groups_end() {
        let source =
            Source::parse("struct A<F: Fn(B)> where F: C { b: [u8; 2], c: (D,) } struct E([F; 2]); [g(h)] i");
        let ends = |from: usize| source.code[from + extent(source.from(from)) - 1].text;
        let at = |name: &str| source.code.iter().position(|t| t.text == name).unwrap();
        assert_eq!((ends(at("A")), ends(at("E"))), ("}", ";"));
        assert_eq!(source.from(at("E") + extent(source.from(at("E"))))[0].text, "[");
        let group = at("g") - 1;
        assert_eq!(source.from(group + extent(source.from(group)))[0].text, "i");
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let source = Source::parse(
            "a; #[cfg(test)] #[path = \"x\"] pub mod b; c; #[cfg(test)] mod d { e; } #[cfg(unix)] f; #[cfg(test)]",
        );
        let names: Vec<_> =
            without_tests(&source).into_iter().filter(|t| t.is_name).map(|t| t.text).collect();
        assert_eq!(names, ["a", "c", "cfg", "unix", "f"]);
    }
}
