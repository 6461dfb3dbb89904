//! The warden's options in a file.

#![no_main]

// The parser is the program's own, not its library's: it is compiled in here.
#[path = "../../tcb/warden/src/config.rs"]
mod config;

use std::ffi::OsString;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

static FILE: OnceLock<NamedTempFile> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let path = FILE.get_or_init(|| NamedTempFile::new().expect("a temporary file")).path();
    blindsmith_fuzz::write(path, data);
    let given = [OsString::from("warden"), "--config".into(), path.into()];
    let Ok(expanded) = config::expand(given.clone()) else { return };
    // What was given stays, and what the file says is options, never values alone.
    assert_eq!(expanded[0], given[0]);
    assert_eq!(expanded[expanded.len() - 2..], given[1..]);
    let options = &expanded[1..expanded.len() - 2];
    assert!(options.iter().all(|option| option.to_str().is_some_and(|o| o.starts_with("--"))));
});
