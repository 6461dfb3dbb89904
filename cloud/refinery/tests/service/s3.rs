//! The store over `s3://`: the tests of all places again, and what only an object store over a network does.
//!
//! Its settings come from the environment, so the tests run themselves as a child that has them.

mod child;
pub mod stand_in;

use std::process::Command;

use stand_in::StandIn;

/// Set for the child: the server's address.
pub const ENDPOINT: &str = "BLINDSMITH_TEST_S3";

/// What the environment of a program has whose object store is this server.
pub fn settings(endpoint: &str) -> [(&str, &str); 6] {
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("NO_PROXY", "127.0.0.1"),
    ]
}

#[test]
fn a_store_in_s3_does_what_it_does_elsewhere() {
    let server = StandIn::start();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["kept::", "s3::child::"]).env_remove("RUST_BACKTRACE").env(ENDPOINT, &server.endpoint);
    let output = child.envs(settings(&server.endpoint)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("an_upload_of_parts_that_is_refused_leaves_none ... ok"), "{said}");
    assert!(said.contains("everything_is_there_after_a_restart ... ok"), "{said}");
}
