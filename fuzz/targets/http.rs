//! The signature headers of a request over HTTP, and the refinery's answers as clients read them.

#![no_main]

use blindsmith_api::{
    Accepted, ContributorUploads, Created, Health, Offset, Problem, Projects, Ready, Refine, Request,
    Session, Signed, Uploads, authority, parse_content_digest,
};
use libfuzzer_sys::fuzz_target;
use serde_json::from_slice;

fn headers(text: &str) {
    let mut lines = text.splitn(6, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (input, signature, digest) = (next(), next(), next());
    let (host, path, query) = (next(), next(), next());
    _ = parse_content_digest(digest);
    let authority = authority(host, true);
    let Ok(signed) = Signed::parse(input, signature) else { return };
    let request = Request { method: "PATCH", authority: &authority, path, query, digest };
    // One way to write them: what was parsed is what was sent, letter by letter.
    assert!(
        signed.parameters.base(&request).ends_with(input.strip_prefix("blindsmith=").expect("the label"))
    );
    _ = signed.verify(&request);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 12 {
        0 => drop(from_slice::<Accepted>(bytes)),
        1 => drop(from_slice::<ContributorUploads>(bytes)),
        2 => drop(from_slice::<Created>(bytes)),
        3 => drop(from_slice::<Health>(bytes)),
        4 => drop(from_slice::<Offset>(bytes)),
        5 => drop(from_slice::<Problem>(bytes)),
        6 => drop(from_slice::<Projects>(bytes)),
        7 => drop(from_slice::<Ready>(bytes)),
        8 => drop(from_slice::<Refine>(bytes)),
        9 => drop(from_slice::<Session>(bytes)),
        10 => drop(from_slice::<Uploads>(bytes)),
        _ => headers(&String::from_utf8_lossy(bytes)),
    }
});
