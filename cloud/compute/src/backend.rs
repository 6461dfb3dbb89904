//! The seam between the product and the processors that compute it.

use std::sync::OnceLock;

use crate::Product;
use crate::cpu::{self, kernel};

/// Something that multiplies. All backends give the same bits ([`crate::conformance`]).
pub trait Backend: Sync + Send {
    /// The name by which `BLINDSMITH_BACKEND` chooses it.
    fn name(&self) -> &'static str;
    /// Writes the product, or adds it; `out` is of the length of the product's layout.
    fn multiply(&self, product: &Product<'_>, accumulate: bool, out: &mut [u64]);
}

struct Cpu<K>(K);

impl<K: kernel::Kernel> Backend for Cpu<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn multiply(&self, product: &Product<'_>, accumulate: bool, out: &mut [u64]) {
        cpu::multiply(self.0, product, accumulate, out);
    }
}

/// The backend that this process uses: that of the ring's backend (so `BLINDSMITH_BACKEND` chooses both),
/// else the next that this processor has.
pub fn active() -> &'static dyn Backend {
    static ACTIVE: OnceLock<&'static dyn Backend> = OnceLock::new();
    *ACTIVE.get_or_init(|| {
        let order = ["avx512", "avx2", "portable"];
        let ring = blindsmith_ring::backend::active().name();
        let from = order.iter().position(|&name| name == ring).unwrap_or(0);
        let named = |name: &&str| available().iter().find(|backend| backend.name() == *name);
        *order[from..].iter().find_map(named).expect("the portable backend is always there")
    })
}

/// The backends that this processor can run, the fastest first.
pub fn available() -> &'static [&'static dyn Backend] {
    static AVAILABLE: OnceLock<Vec<&'static dyn Backend>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut all: Vec<&'static dyn Backend> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            static AVX512: OnceLock<Option<Cpu<kernel::Avx512>>> = OnceLock::new();
            static AVX2: OnceLock<Option<Cpu<kernel::Avx2>>> = OnceLock::new();
            if let Some(backend) = AVX512.get_or_init(|| kernel::Avx512::detect().map(Cpu)) {
                all.push(backend);
            }
            if let Some(backend) = AVX2.get_or_init(|| kernel::Avx2::detect().map(Cpu)) {
                all.push(backend);
            }
        }
        all.push(&Cpu(kernel::Portable));
        all
    })
}
