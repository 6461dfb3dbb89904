//! The seam between the product and the devices that compute it.

use std::sync::OnceLock;

use crate::cpu::{self, kernel};
use crate::product::Product;

/// Something that multiplies. All devices give the same bits ([`crate::conformance`]).
pub trait Device: Sync + Send {
    /// The name by which [`chosen`] knows it.
    fn name(&self) -> &'static str;

    /// Writes the product to `out`, or adds it to the canonical residues there. [`Product::multiply`] has
    /// checked the sizes of the operands and of `out`. What a name of the product stands for may be kept
    /// until a later call.
    fn multiply(&self, product: &Product<'_>, add: bool, out: &mut [u64]);
}

struct Cpu<K>(K);

impl<K: kernel::Kernel> Device for Cpu<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn multiply(&self, product: &Product<'_>, add: bool, out: &mut [u64]) {
        cpu::multiply(self.0, product, add, out);
    }
}

/// Matrices of bytes where they gain, or always, and vectors for the rest.
#[cfg(target_arch = "x86_64")]
struct Amx {
    kernel: kernel::Amx,
    memory: cpu::Memory,
    always: bool,
}

#[cfg(target_arch = "x86_64")]
impl Amx {
    fn detect(always: bool) -> Option<&'static dyn Device> {
        let kernel = kernel::Amx::detect()?;
        Some(Box::leak(Box::new(Amx { kernel, memory: cpu::Memory::default(), always })))
    }
}

#[cfg(target_arch = "x86_64")]
impl Device for Amx {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn multiply(&self, product: &Product<'_>, add: bool, out: &mut [u64]) {
        cpu::multiply_planes(self.kernel, &self.memory, self.always, product, add, out);
    }
}

/// The device that this process uses.
///
/// # Panics
/// Where [`chosen`] gives an error.
pub fn active() -> &'static dyn Device {
    static ACTIVE: OnceLock<&'static dyn Device> = OnceLock::new();
    *ACTIVE.get_or_init(|| chosen().unwrap_or_else(|e| panic!("{e}")))
}

/// What [`active`] gives: the device that `BLINDSMITH_COMPUTE` names. Without it, the device of the backend
/// that `BLINDSMITH_BACKEND` names for the ring, else the next that this processor has. Without either, the
/// fastest. "amx" is a name for `BLINDSMITH_COMPUTE` only: the ring has no such backend.
///
/// # Errors
/// What is wrong with `BLINDSMITH_COMPUTE`, in words for whoever set it.
pub fn chosen() -> Result<&'static dyn Device, String> {
    let set = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let named = |name: &str| available().iter().copied().find(|device| device.name() == name);
    if let Some(name) = set("BLINDSMITH_COMPUTE") {
        let names = || available().iter().map(|device| device.name()).collect::<Vec<_>>().join(", ");
        return named(&name)
            .ok_or_else(|| format!("BLINDSMITH_COMPUTE={name}: this machine has {}", names()));
    }
    let order: &[&str] = match set("BLINDSMITH_BACKEND").map(|_| blindsmith_ring::backend::active().name()) {
        None => return Ok(available()[0]),
        Some("avx512") => &["avx512", "avx2"],
        Some("avx2") => &["avx2"],
        Some(_) => &[],
    };
    let portable = *available().last().expect("the portable device is always there");
    Ok(order.iter().find_map(|name| named(name)).unwrap_or(portable))
}

/// The devices that this machine has, the fastest first.
pub fn available() -> &'static [&'static dyn Device] {
    static AVAILABLE: OnceLock<Vec<&'static dyn Device>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut all: Vec<&'static dyn Device> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Amx::detect(false));
            all.extend(
                kernel::Avx512::detect().map(|k| -> &'static dyn Device { Box::leak(Box::new(Cpu(k))) }),
            );
            all.extend(
                kernel::Avx2::detect().map(|k| -> &'static dyn Device { Box::leak(Box::new(Cpu(k))) }),
            );
        }
        all.push(&Cpu(kernel::Portable));
        all
    })
}

/// The devices of this machine that leave no product to another, for tests: those available, and matrices of
/// bytes even where they do not gain.
#[doc(hidden)]
#[must_use]
pub fn tested() -> Vec<&'static dyn Device> {
    let all = available().iter().copied();
    #[cfg(target_arch = "x86_64")]
    let all = all.chain(Amx::detect(true));
    all.collect()
}
