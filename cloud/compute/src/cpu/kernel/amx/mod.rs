//! Intel AMX: products of matrices of bytes in tiles of 16 x 16 sums, each of 64 products. An operand is as
//! many matrices of bytes as there are moduli ([`residues`]).

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::Avx512;

mod convert;
mod multiply;
mod residues;

pub(crate) use convert::Side;
pub(crate) use multiply::{Operands, Sums};
pub(crate) use residues::{MAX_DEPTH, PLANES};

/// Depth indices of a step: a row of a tile has as many bytes.
pub(crate) const STEP: usize = 64;

/// Rows of a panel of the left, and columns of one of the right: two tiles.
pub(crate) const PANEL: usize = 32;

/// Groups of 64 bytes in a panel of one plane, for each step: two tiles of 16 rows.
pub(crate) const STEP_LINES: usize = 32;

/// Proof that the processor has AMX for bytes and AVX-512 with IFMA, VBMI and VNNI, and that this process may
/// use them.
#[derive(Clone, Copy)]
pub(crate) struct Amx(Avx512);

impl Amx {
    /// None where an instruction is missing, or the permission.
    pub fn detect() -> Option<Self> {
        let bytes = is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        Avx512::detect().filter(|_| bytes && has_tiles() && is_permitted()).map(Amx)
    }

    /// The kernel for what does not gain from tiles.
    pub fn vectors(self) -> Avx512 {
        self.0
    }
}

/// True if the processor has tiles of bytes of the size used here, and the system keeps them.
fn has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILES: u64 = 3 << 17;
    const AMX: u32 = 1 << 24 | 1 << 25; // tile and int8
    if __cpuid(0).eax < 0x1d || __cpuid(1).ecx & OSXSAVE == 0 || __cpuid_count(7, 0).edx & AMX != AMX {
        return false;
    }
    // SAFETY: OSXSAVE says that the instruction is there.
    let saved = unsafe { saved_state() };
    let palette = __cpuid_count(0x1d, 1);
    // 8 tiles of 1024 bytes in 16 rows of 64 bytes.
    saved & TILES == TILES
        && palette.eax >> 16 == 1024
        && palette.ebx == (8 << 16 | 64)
        && palette.ecx & 0xffff == 16
}

#[target_feature(enable = "xsave")]
fn saved_state() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

/// Asks Linux for the use of tile data, which it grants to a process and its later threads. Other systems are
/// not asked.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const TILE_DATA: libc::c_ulong = 18;
        // SAFETY: the call takes two numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// What `ldtilecfg` reads: rows of each of the eight tiles, and bytes of a row.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

impl Configuration {
    const fn new(sizes: [[u8; 2]; 8]) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[48 + tile] = sizes[tile][0];
            bytes[16 + 2 * tile] = sizes[tile][1];
            tile += 1;
        }
        Configuration(bytes)
    }
}

/// The tiles of this thread, configured as long as the value lives. It cannot leave the thread.
struct Tiles(std::marker::PhantomData<*const ()>);

impl Tiles {
    fn new(_: Amx, configuration: &Configuration) -> Self {
        let tiles = Tiles(std::marker::PhantomData);
        tiles.configure(configuration);
        tiles
    }

    fn configure(&self, configuration: &Configuration) {
        // SAFETY: an `Amx` is proof of the instruction; it reads 64 bytes that are there.
        unsafe { asm!("ldtilecfg [{}]", in(reg) configuration, options(nostack, readonly)) };
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the value was made from an `Amx`, and nothing is left in the tiles between blocks of `asm!`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
