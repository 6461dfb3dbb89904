//! Files that are there whole or not at all, after any crash.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts a file in the place of what is there; durable when this returns. Only its user reads it.
///
/// Built for development, the process ends where `BLINDSMITH_FAILPOINT` says: `warden.begun`, `warden.written` or
/// `warden.renamed`, and `:N` for the Nth passage; with `:torn` after half of what is written, with `:error` it goes on
/// and finds no room. In a release nothing of it is left.
pub fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, beside) = (dir.join(name), dir.join(format!("{name}.new")));
    let torn = passed("warden.begun")?;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    if torn {
        file.write_all(&bytes[..bytes.len() / 2])?;
        std::process::abort();
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    passed("warden.written")?;
    fs::rename(&beside, path)?;
    passed("warden.renamed")?;
    fs::File::open(dir)?.sync_all()
}

/// Whether what is written next is to be torn.
#[cfg(debug_assertions)]
fn passed(name: &str) -> io::Result<bool> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSAGES: AtomicU64 = AtomicU64::new(0);
    let Ok(plan) = std::env::var("BLINDSMITH_FAILPOINT") else { return Ok(false) };
    let mut parts = plan.split(':');
    let (at, count, how) = (parts.next(), parts.next().unwrap_or("1"), parts.next());
    if at != Some(name) || PASSAGES.fetch_add(1, Ordering::Relaxed) + 1 != count.parse().unwrap_or(1) {
        return Ok(false);
    }
    match how {
        Some("torn") => Ok(true),
        Some("error") => Err(io::ErrorKind::StorageFull.into()),
        _ => std::process::abort(),
    }
}

#[cfg(not(debug_assertions))]
fn passed(_name: &str) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_anothers_place_and_only_its_user_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for content in [b"first".as_slice(), b"second, longer", b""] {
            replace_file(dir.path(), "file", content).unwrap();
            assert_eq!(fs::read(dir.path().join("file")).unwrap(), content);
        }
        let mode = fs::metadata(dir.path().join("file")).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
    }
}
