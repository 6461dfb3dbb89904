//! Prints the plans of a few networks at the reference costs: `cargo run --example plans -p blindsmith-plan`.

use blindsmith_matrix::Security;
use blindsmith_plan::{Cloud, Costs, Machine, Network, plan, predict};

fn main() -> Result<(), blindsmith_plan::PlanError> {
    for (batch_rows, widths) in [
        (1024, vec![784, 512, 10]),
        (1024, vec![784, 128, 10]),
        (1024, vec![784, 10]),
        (1024, vec![784, 1]),
        (64, vec![30, 16, 2]),
        (4096, vec![4096, 4096, 10]),
        (4096, vec![4096, 4096, 4096, 10]),
    ] {
        let security = Security::Bits128;
        let network = Network { widths, batch_rows, micro_batch_rows: 1024, input_rms: 0.125, security };
        for cloud in [Cloud::Cpu, Cloud::Gpu] {
            let (costs, machine) = (Costs::reference(cloud), Machine::reference(cloud));
            let plan = plan(&network, &costs, &machine)?;
            let step = predict(&network, &plan, &costs, &machine);
            let offloads: Vec<String> = plan
                .layers
                .iter()
                .map(|l| {
                    l.offload
                        .map_or_else(|| "-".into(), |o| format!("{}/{}/{}", o.forward, o.gradient, o.input))
                })
                .collect();
            println!(
                "{batch_rows} rows, {:?}, {cloud:?}: blocks of {}, n of {}, cloud {:.1} ms, warden {:.1} ms of cores, \
                 {:.1} MB",
                network.widths,
                plan.block_rows,
                offloads.join(" "),
                step.cloud_core_ns * 1e-6,
                step.warden_core_ns * 1e-6,
                step.traffic_bytes * 1e-6
            );
        }
    }
    Ok(())
}
