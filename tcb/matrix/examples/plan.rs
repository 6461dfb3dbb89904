//! Prints the plans of a few networks at the reference costs: `cargo run --example plan -p blindsmith-matrix`.

use blindsmith_matrix::Security;
use blindsmith_matrix::plan::{Costs, LayerWork, Limits, choose};

fn main() {
    for (rows, widths) in [
        (1024, vec![784, 512, 10]),
        (1024, vec![784, 128, 10]),
        (1024, vec![784, 10]),
        (1024, vec![784, 1]),
        (64, vec![64, 32, 10]),
        (4096, vec![4096, 4096, 10]),
    ] {
        for (l, work) in LayerWork::of_network(&widths, rows).iter().enumerate() {
            let plan = choose(work, Security::Bits128, &Costs::default(), &Limits::default());
            let tile = plan.tile;
            println!(
                "{rows} rows, {widths:?}, layer {l}: {} x {} x {}, cloud {:.2} ms, warden {:.2} ms, sent {:.1} MB, received {:.1} MB",
                tile.m(),
                tile.n(),
                tile.p(),
                plan.cloud_ns * 1e-6,
                plan.warden_ns * 1e-6,
                plan.counts.sent_bytes * 1e-6,
                plan.counts.received_bytes * 1e-6
            );
        }
    }
}
