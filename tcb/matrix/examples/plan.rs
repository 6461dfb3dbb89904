//! Prints the plan of a few networks.
use blindsmith_matrix::{Security, plan::*};
fn main() {
    for (rows, widths) in [
        (1024, vec![784, 512, 10]),
        (1024, vec![784, 128, 10]),
        (1024, vec![784, 10]),
        (1024, vec![784, 1]),
        (64, vec![64, 32, 10]),
        (4096, vec![4096, 4096, 10]),
    ] {
        for (l, w) in widths.windows(2).enumerate() {
            let work = LayerWork { rows, inputs: w[0], outputs: w[1], first: l == 0 };
            let c = choose(&work, Security::Bits128, &Costs::default(), &Limits::default());
            println!(
                "{rows} {widths:?} layer {l}: {:?} cloud {:.2} ms warden {:.2} ms sent {:.1} MB received {:.1} MB",
                c.tile,
                c.cloud_ns * 1e-6,
                c.warden_ns * 1e-6,
                c.sent_bytes * 1e-6,
                c.received_bytes * 1e-6
            );
        }
    }
}
