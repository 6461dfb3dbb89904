//! What verifies wardens in hardware, from a directory of the operator.

use std::io;
use std::path::Path;

/// Most collateral, in bytes: what a warden takes.
const MAX_COLLATERAL: u64 = 1 << 20;

/// The files of a directory, in the order of their names, each after its length in four bytes; nothing if there is no such
/// directory.
pub(super) fn collateral(dir: &Path) -> io::Result<Vec<u8>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    let mut body = Vec::new();
    for path in paths {
        let len = path.metadata()?.len();
        if body.len() as u64 + len > MAX_COLLATERAL {
            return Err(io::Error::other(format!(
                "more than {MAX_COLLATERAL} bytes: keep there what verifies the present platforms alone"
            )));
        }
        let part = std::fs::read(&path)?;
        body.extend((part.len() as u32).to_le_bytes());
        body.extend(part);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collateral_is_what_lies_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(collateral(&dir.path().join("none")).unwrap(), b"");
        for (name, content) in [("b.json", "{}"), ("a.pem", "one"), (".hidden", "no")] {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        std::fs::create_dir(dir.path().join("below")).unwrap();
        assert_eq!(collateral(dir.path()).unwrap(), b"\x03\0\0\0one\x02\0\0\0{}");
        std::fs::write(dir.path().join("large"), vec![0; MAX_COLLATERAL as usize]).unwrap();
        assert!(collateral(dir.path()).unwrap_err().to_string().contains("more than"));
    }
}
