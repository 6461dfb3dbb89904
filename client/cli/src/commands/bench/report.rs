//! tbd
use clap::Args;
use crate::Failure;
use super::products::Operands;
use blindsmith_matrix::*;
/// tbd
#[derive(Args)]
pub struct Report { threads: usize }
impl Report {
    /// Runs.
    pub fn run(self) -> Result<(), Failure> {
        super::use_threads(self.threads)?;
        for (m,n,p) in [(16,16,8),(32,32,2),(64,32,1),(8,32,8),(8,16,16),(128,16,1)] {
        let tile = Tile::new(m,n,p).unwrap();
        for kind in [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient] {
            for (r,k,c) in [(64,49,64),(64,49,16),(64,49,2),(64,49,5),(32,24,5),(32,25,10),(16,49,10),(64,24,64),(32,49,64),(128,49,64),(16,32,16),(32,32,32),(64,64,64)] {
              for packed in [false,true] {
                if packed && kind == ProductKind::InputGradient { continue; }
                let shape = ProductShape { kind, tile, rows: r*m, inputs: k*n, outputs: c*p };
                let mut o = Operands::random(shape, packed);
                o.multiply()?;
                let mut best = f64::MAX;
                for _ in 0..9 { best = best.min(super::seconds(|| o.multiply().unwrap())); }
                println!("{kind:?} {m} {n} {p} {r} {k} {c} {packed} {:.4}", best*1e3);
              }
            }
        }
        }
        Ok(())
    }
}
