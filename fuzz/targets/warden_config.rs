//! The warden's options in a file.

#![no_main]

// The parser is the program's own, not its library's: it is compiled in here, with what it needs.
#[allow(dead_code, reason = "the program connects, this target parses")]
#[path = "../../tcb/warden/src/address.rs"]
mod address;
#[allow(dead_code, reason = "the program uses all options")]
#[path = "../../tcb/warden/src/arguments.rs"]
mod arguments;

use std::ffi::OsString;
use std::sync::OnceLock;

use arguments::Command;
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

static FILE: OnceLock<NamedTempFile> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let path = FILE.get_or_init(|| NamedTempFile::new().expect("a temporary file")).path();
    blindsmith_fuzz::write(path, data);
    let options: [OsString; 5] =
        ["--config".into(), path.into(), "--state=own".into(), "--threads".into(), "3".into()];
    let Ok(command) = arguments::parse(options) else { return };
    // A file never asks for help, and what the command line says stays.
    let Command::Run(arguments) = command else { panic!("a file printed something") };
    assert_eq!((arguments.state.to_str(), arguments.threads), (Some("own"), Some(3)));
});
