//! The library that interpreters load is built beside the tests, and is a module of Python.

use std::path::PathBuf;

#[test]
fn the_library_is_a_module() {
    // A test runs from a folder below the one where libraries are built.
    let own = std::env::current_exe().unwrap();
    let name = format!("{}blindsmith_native{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let found: Vec<PathBuf> =
        own.ancestors().skip(1).take(2).map(|dir| dir.join(&name)).filter(|path| path.is_file()).collect();
    let library = std::fs::read(found.first().expect("the library is built with its tests")).unwrap();
    let entry = b"PyInit__native\0";
    assert!(library.windows(entry.len()).any(|window| window == entry), "no entry for the module _native");
}
