//! `--config FILE`: the options of the command line, one `option = value` a line. A few lines instead of a parser of a
//! larger language, which would be one more thing to audit here.

use std::ffi::OsString;
use std::path::Path;

/// Longest file, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Options that are there or not: their values are `true` and `false`.
const SWITCHES: [&str; 2] = ["no-shared-memory", "once"];

/// The command line with the options of its configuration in it. They come first: what is given on the command line
/// itself goes before them.
pub fn with_file(given: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut given = given.into_iter();
    let mut all: Vec<OsString> = given.next().into_iter().collect();
    let rest: Vec<OsString> = given.collect();
    if let Some(path) = file(&rest)? {
        all.extend(read(Path::new(&path))?);
    }
    all.extend(rest);
    Ok(all)
}

/// The value of `--config`, if it is given.
fn file(arguments: &[OsString]) -> Result<Option<OsString>, String> {
    let mut found = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let value = match text.strip_prefix("--config=") {
            Some(path) => Some(path.into()),
            None if text == "--config" => arguments.next().cloned(),
            None => continue,
        };
        if found.is_some() {
            return Err("--config is given twice".into());
        }
        found = value;
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<OsString>, String> {
    use std::io::Read;
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(|e| named(&e))?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| named(&e))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(named(&format!("more than {MAX_BYTES} bytes: it is no configuration")));
    }
    parse(&text).map_err(|e| named(&e))
}

/// Each line as an argument. Empty lines and those that begin with `#` say nothing; values are taken as they are, without
/// the spaces around them.
fn parse(text: &str) -> Result<Vec<OsString>, String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut arguments = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |why: &str| Err(format!("line {}: {why}", number + 1));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { return fail("give option = value") };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
            || name.starts_with('-')
        {
            return fail("an option has small letters and hyphens, as in --help, without the first two");
        }
        if matches!(name, "config" | "help" | "version") {
            return fail("this option is for the command line alone");
        }
        if value.is_empty() {
            return fail("the option has no value");
        }
        if seen.contains(&name) {
            return fail("the option was given before");
        }
        seen.push(name);
        match (SWITCHES.contains(&name), value) {
            (false, value) => arguments.push(format!("--{name}={value}").into()),
            (true, "true") => arguments.push(format!("--{name}").into()),
            (true, "false") => {}
            (true, _) => return fail("the value is true or false"),
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_those_of_the_command_line() {
        let parsed = parse(
            "# the warden\n\ntee = simulated\n state=/var/lib/a b = c\nonce = true\nno-shared-memory = false\n",
        );
        let expected: [OsString; 3] =
            ["--tee=simulated".into(), "--state=/var/lib/a b = c".into(), "--once".into()];
        assert_eq!(parsed.unwrap(), expected);
        let given = ["warden", "--threads", "2"].map(OsString::from).to_vec();
        assert_eq!(with_file(given.clone()).unwrap(), given);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, words) in [
            ("tee simulated", "line 1: give option = value"),
            ("\ntee =", "line 2: the option has no value"),
            ("tee = a\ntee = b", "line 2: the option was given before"),
            ("--tee = a", "line 1: an option has small letters"),
            (" = a", "line 1: an option has small letters"),
            ("config = a", "line 1: this option is for the command line"),
            ("once = yes", "line 1: the value is true or false"),
        ] {
            assert!(parse(text).unwrap_err().starts_with(words), "{text}: {:?}", parse(text));
        }
        let twice = ["warden", "--config", "a", "--config=b"].map(OsString::from).to_vec();
        assert!(with_file(twice).unwrap_err().contains("twice"));
        let missing = ["warden", "--config=/nowhere/at/all"].map(OsString::from).to_vec();
        assert!(with_file(missing).unwrap_err().contains("/nowhere/at/all"));
    }
}
