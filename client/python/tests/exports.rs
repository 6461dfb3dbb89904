//! The library that interpreters load is built beside the tests, and is a module of Python.

use std::path::PathBuf;

#[test]
fn the_library_is_a_module() {
    let name = format!("{}blindsmith_native{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    // It is beside this test: `pack.py` takes it from there.
    let path: PathBuf = std::env::current_exe().unwrap().with_file_name(name);
    let library = std::fs::read(path).expect("the library is built with its tests");
    let entry = b"PyInit__native\0";
    assert!(library.windows(entry.len()).any(|window| window == entry), "no entry for the module _native");
}
