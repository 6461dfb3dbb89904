//! Messages and records without a frame: heads of frames, bodies of requests over HTTP, columns of the store.

#![no_main]

use blindsmith_api::message::{Ledger, ProjectStatus, Reply, Request};
use blindsmith_fuzz::decoded;
use blindsmith_protocol::{
    AdmittedUpload, Decision, Evidence, FromWarden, Progress, RoundRecord, RoundSummary, ToWarden,
    UploadHeader,
};
use blindsmith_receipts::Rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 14 {
        0 => drop(decoded::<Request>(bytes)),
        1 => drop(decoded::<Reply>(bytes)),
        2 => drop(decoded::<ToWarden>(bytes)),
        3 => drop(decoded::<FromWarden>(bytes)),
        4 => drop(decoded::<RoundRecord>(bytes)),
        5 => drop(decoded::<RoundSummary>(bytes)),
        6 => drop(decoded::<ProjectStatus>(bytes)),
        7 => drop(decoded::<Ledger>(bytes)),
        8 => drop(decoded::<Evidence>(bytes)),
        9 => drop(decoded::<AdmittedUpload>(bytes)),
        10 => drop(decoded::<UploadHeader>(bytes)),
        11 => drop(decoded::<Decision>(bytes)),
        12 => drop(decoded::<Progress>(bytes)),
        _ => {
            if let Some(rules) = decoded::<Rules>(bytes)
                && rules.validate().is_ok()
            {
                rules.digest();
            }
        }
    }
});
