//! Types that hold secrets are not printed, copied or serialised.
//!
//! Found by their text: a type is secret if its name says so, if it is wiped, or if it holds one that is.
//! The compiler refuses most of what this finds; not, for instance, a copy of a plain array of bytes.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{Source, Token, extent};
use super::tree::Tree;

/// Where secrets live.
const PLACES: [&str; 6] = [
    "tcb/keys/src/",
    "tcb/evidence/src/",
    "tcb/identity/src/",
    "tcb/receipts/src/",
    "tcb/ring/src/",
    "tcb/warden/src/",
];

/// Traits that secrets do not have.
const FORBIDDEN: [&str; 6] = ["Clone", "Copy", "Debug", "Deserialize", "Display", "Serialize"];

/// Types of other crates, and of `ring`, that hold secrets.
const KNOWN: [&str; 4] = ["Poly", "PrivateKey", "Stream", "Zeroizing"];

/// Keys that are public, though their names do not say it.
const PUBLIC: [&str; 1] = ["PublicKey"];

/// A type that a file defines.
struct Type<'a> {
    path: &'a str,
    token: Token<'a>,
    derives: Vec<&'a str>,
    /// The names in its definition.
    parts: Vec<&'a str>,
}

/// An `impl TRAIT for TYPE`.
struct Implementation<'a> {
    path: &'a str,
    line: usize,
    of: &'a str,
    on: &'a str,
}

/// Secret types with a trait that would show, copy or serialise them.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let (mut types, mut implementations) = (Vec::new(), Vec::new());
    for (path, text) in tree.sources().filter(|(path, _)| PLACES.iter().any(|place| path.starts_with(place)))
    {
        read(path, &Source::parse(text), &mut types, &mut implementations);
    }
    let secrets = secret_names(&types, &implementations);
    let mut findings = Vec::new();
    if !types.iter().any(|t| t.path.starts_with(PLACES[0]) && secrets.contains(t.token.text)) {
        findings.push(Finding::new(PLACES[0], "no secret type found: this check guards nothing"));
    }
    let mut refuse = |path: &str, line: usize, name: &str, of: &str| {
        let message = format!("`{name}` holds a secret and must not be {of}");
        findings.push(Finding::new(format!("{path}:{line}"), message));
    };
    for t in types.iter().filter(|t| secrets.contains(t.token.text)) {
        for of in t.derives.iter().filter(|of| FORBIDDEN.contains(of)) {
            refuse(t.path, t.token.line, t.token.text, of);
        }
    }
    for i in implementations.iter().filter(|i| secrets.contains(i.on) && FORBIDDEN.contains(&i.of)) {
        refuse(i.path, i.line, i.on, i.of);
    }
    findings
}

fn secret_names<'a>(types: &[Type<'a>], implementations: &[Implementation<'a>]) -> BTreeSet<&'a str> {
    let mut secrets = BTreeSet::from(KNOWN);
    secrets.extend(implementations.iter().filter(|i| i.of.starts_with("Zeroize")).map(|i| i.on));
    loop {
        let known = secrets.len();
        for t in types {
            let name = t.token.text;
            let named = (name.ends_with("Key") && !name.contains("Public") && !PUBLIC.contains(&name))
                || name.contains("Secret")
                || name.contains("Scratch");
            let wiped = t.derives.iter().any(|d| d.starts_with("Zeroize"));
            if named || wiped || t.parts.iter().any(|part| secrets.contains(part)) {
                secrets.insert(name);
            }
        }
        if secrets.len() == known {
            return secrets;
        }
    }
}

fn read<'a>(
    path: &'a str,
    source: &Source<'a>,
    types: &mut Vec<Type<'a>>,
    implementations: &mut Vec<Implementation<'a>>,
) {
    let mut derives = Vec::new();
    let mut at = 0;
    while let Some(token) = source.code.get(at) {
        let rest = source.from(at + 1);
        match token.text {
            "#" if rest.first().is_some_and(|t| t.text == "[") => {
                let attribute = &rest[..extent(rest)];
                if attribute.iter().any(|t| t.text == "derive") {
                    derives.extend(attribute.iter().filter(|t| t.is_name).map(|t| t.text));
                }
                at += attribute.len();
            }
            "struct" | "enum" | "union" if rest.first().is_some_and(|t| t.is_name) => {
                types.push(Type {
                    path,
                    token: rest[0],
                    derives: std::mem::take(&mut derives),
                    parts: parts(&rest[1..extent(rest)], token.text == "enum"),
                });
            }
            "impl" => implementations.extend(implementation(path, token.line, rest)),
            _ => {}
        }
        at += 1;
    }
}

/// The names in a definition, but those of an enum's variants: they may be those of types.
fn parts<'a>(definition: &[Token<'a>], is_enum: bool) -> Vec<&'a str> {
    let (mut depth, mut before, mut parts) = (0, "", Vec::new());
    for token in definition {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            name if token.is_name => {
                let is_variant = is_enum && depth == 1 && matches!(before, "{" | "," | "]");
                parts.extend((!is_variant).then_some(name));
            }
            _ => {}
        }
        before = token.text;
    }
    parts
}

/// Reads what follows `impl`: the trait's name is the last outside angle brackets before `for`, the type's the
/// last of its path.
fn implementation<'a>(path: &'a str, line: usize, code: &[Token<'a>]) -> Option<Implementation<'a>> {
    let (mut depth, mut of, mut on) = (0, None, None);
    for (i, token) in code.iter().enumerate() {
        match token.text {
            "<" => depth += 1,
            ">" if i > 0 && code[i - 1].text != "-" => depth -= 1,
            "{" | ";" | "where" => break,
            "for" if depth == 0 => of = on.take(),
            name if token.is_name && depth == 0 => on = Some(name),
            _ => {}
        }
    }
    Some(Implementation { path, line, of: of?, on: on? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct Key([u8; 32]);
        #[derive(Debug, Clone, Copy)]
        pub struct PublicKey([u8; 32]);
        #[derive(Debug)]
        pub enum Error { Bad }
        impl Clone for PublicKey {}
        pub struct Opener<'a> { factors: &'a [Poly<Eval>] }";

    fn found(more: &str) -> Vec<String> {
        let text = format!("{SOUND}\n{more}");
        check(&Tree::of(&[("tcb/keys/src/key.rs", &text)])).iter().map(|f| f.message.clone()).collect()
    }

    #[test]
    fn sound_types_pass() {
        assert_eq!(found(""), [""; 0]);
    }

    #[test]
    fn shown_copied_and_serialised_secrets_are_found() {
        for (more, expected) in [
            (
                "#[derive(Debug)] pub struct UploadKey { nonce: u8 }",
                "`UploadKey` holds a secret and must not be Debug",
            ),
            (
                "#[derive(Clone, Copy)] struct SecretSeed(u64);",
                "`SecretSeed` holds a secret and must not be Clone",
            ),
            (
                "#[derive(Serialize)]\n#[serde(x)]\npub(crate) struct Plain { inner: Vec<Key> }",
                "must not be Serialize",
            ),
            (
                "#[cfg_attr(test, derive(Debug))] enum Holder { Outer(Box<Middle>) } struct Middle(Key);",
                "`Holder`",
            ),
            (
                "impl<T: Debug> core::fmt::Display for Opener<'_> where T: X {}",
                "`Opener` holds a secret and must not be Display",
            ),
            ("#[derive(Debug)] enum Choice { None, One(u8, Key) }", "`Choice`"),
            ("struct Wiped(u8); impl Zeroize for Wiped {} impl Clone for Wiped {}", "`Wiped`"),
            ("#[derive(Clone)] #[derive(Zeroize)] struct Twice(u8);", "`Twice`"),
        ] {
            let found = found(more);
            assert!(found.iter().any(|f| f.contains(expected)), "{more}: {found:?}");
        }
    }

    #[test]
    fn public_types_may_be_shown() {
        for more in [
            "#[derive(Debug)] struct Sealed(Vec<u8>);",
            "impl From<Key> for Sealed { fn from(k: Key) -> Self {} } impl std::error::Error for Error {}",
            "fn f() -> impl Iterator<Item = Key> { todo() } #[derive(Debug)] struct After;",
            "#[derive(Debug)] enum KeyError { Key, #[error(\"x\")] Opener(KeyKind), Other { code: u8 } }",
            "impl<F: FnOnce(Key) -> u8> Clone for Sealed<F> {}",
        ] {
            assert_eq!(found(more), [""; 0], "{more}");
        }
    }

    #[test]
    fn an_empty_place_is_found() {
        assert_eq!(check(&Tree::of(&[("tcb/ring/src/poly.rs", SOUND)])).len(), 1);
    }
}
