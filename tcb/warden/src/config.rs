//! Options from a file: one `option = value` a line, for services that are started without a shell. Strict and small,
//! because it is trusted code: there is no quoting, and a line means one thing.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Options with a value.
const VALUES: [&str; 7] = ["refinery", "tee", "state", "appraiser", "threads", "sandbox", "memory-lock"];
/// Options that are `true` or `false`.
const FLAGS: [&str; 3] = ["no-shared-memory", "take-over", "once"];
/// Largest file, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// The options of a file, as arguments.
///
/// # Errors
/// Which line is wrong, and why; an option that there is not, or that is given twice, is.
fn parse(text: &str) -> Result<Vec<OsString>, String> {
    let mut seen = Vec::new();
    let mut arguments = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("line {}: {why}", number + 1);
        let (name, value) =
            line.split_once('=').ok_or_else(|| wrong("it is not `option = value`, nor a comment (#)"))?;
        let (name, value) = (name.trim(), value.trim());
        if seen.contains(&name) {
            return Err(wrong(&format!("{name} is given twice")));
        }
        seen.push(name);
        match (VALUES.contains(&name), FLAGS.contains(&name), value) {
            (true, _, "") => return Err(wrong(&format!("{name} has no value"))),
            (true, _, value) => arguments.push(format!("--{name}={value}").into()),
            (_, true, "true") => arguments.push(format!("--{name}").into()),
            (_, true, "false") => {}
            (_, true, _) => return Err(wrong(&format!("{name} is true or false"))),
            _ => {
                let options = [&VALUES[..], &FLAGS[..]].concat().join(", ");
                return Err(wrong(&format!("there is no option {name}; there are {options}")));
            }
        }
    }
    Ok(arguments)
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    Ok(text)
}

/// Puts the options of the file after `--config` before all others, which override them.
///
/// # Errors
/// If the file cannot be read, or a line of it is wrong.
pub fn expand(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let after = arguments.iter().position(|a| a == "--config").and_then(|at| arguments.get(at + 1));
    let joined = || arguments.iter().find_map(|a| a.to_str()?.strip_prefix("--config=").map(OsString::from));
    let Some(path) = after.cloned().or_else(joined) else { return Ok(arguments) };
    let path = Path::new(&path);
    let options = read(path).and_then(|text| parse(&text));
    let options = options.map_err(|e| format!("{}: {e}", path.display()))?;
    let (program, given) = arguments.split_at(arguments.len().min(1));
    Ok([program, &options, given].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_arguments() {
        let text = "# a warden\nrefinery = /run/warden.sock\n\n tee=simulated \nonce = true\nno-shared-memory = false\ntake-over = true\n";
        let expected = ["--refinery=/run/warden.sock", "--tee=simulated", "--once", "--take-over"];
        assert_eq!(parse(text).unwrap(), expected.map(OsString::from));
    }

    #[test]
    fn other_lines_are_refused() {
        for (text, words) in [
            ("refinery", "line 1: it is not"),
            ("\nrefinerie = x", "line 2: there is no option refinerie"),
            ("config = other", "no option config"),
            ("--once = true", "no option --once"),
            ("state =", "state has no value"),
            ("once = yes", "true or false"),
            ("tee = simulated\ntee = simulated", "line 2: tee is given twice"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_command_line_comes_last() {
        let dir = std::env::temp_dir().join(format!("blindsmith-warden-config-{}", std::process::id()));
        std::fs::write(&dir, "threads = 2\n").unwrap();
        let name = dir.to_str().unwrap();
        let given = ["warden", "--config", name, "--threads", "3"].map(OsString::from);
        let expected = ["warden", "--threads=2", "--config", name, "--threads", "3"].map(OsString::from);
        assert_eq!(expand(given).unwrap(), expected);
        let joined = [OsString::from("warden"), format!("--config={name}").into()];
        assert_eq!(expand(joined.clone()).unwrap()[1], "--threads=2");
        std::fs::remove_file(&dir).unwrap();
        assert!(expand(joined).unwrap_err().starts_with(name), "a file that is not there is named");
        let plain = ["warden", "--once"].map(OsString::from);
        assert_eq!(expand(plain.clone()).unwrap(), plain);
    }
}
