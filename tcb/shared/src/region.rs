//! One mapped region.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use blindsmith_ring::{LANES, Lanes};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use thiserror::Error;

use crate::arena::Range;

/// Shared memory that cannot be had, or that is not what was agreed.
#[derive(Debug, Error)]
pub enum SharedError {
    /// The operating system refused.
    #[error("shared memory: {0}")]
    System(#[from] rustix::io::Errno),
    /// The other side's memory could shrink under us.
    #[error("the peer's shared memory is not sealed, or has an impossible size")]
    NotSealed,
    /// A range outside the region.
    #[error("the peer named a range outside the shared memory")]
    OutOfBounds,
}

/// Regions are at most this large; memory is taken only as it is touched.
const MAX_BYTES: usize = 1 << 38;

/// A region of shared memory, mapped.
pub struct Region {
    start: NonNull<Lanes>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the mapping lives as long as the region, on whichever thread; access to its contents goes through
// the methods below.
unsafe impl Send for Region {}
// SAFETY: as above; what may be accessed when is the methods' business.
unsafe impl Sync for Region {}

impl Region {
    /// A new region of `len` groups of eight residues, zero, sealed in size. Pages are taken when touched.
    pub fn create(len: usize) -> Result<Self, SharedError> {
        let bytes = len.checked_mul(size_of::<Lanes>()).filter(|b| (1..=MAX_BYTES).contains(b));
        let bytes = bytes.ok_or(SharedError::OutOfBounds)?;
        let file = memfd_create("blindsmith", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(file)
    }

    /// Maps a region that the peer created.
    pub fn map(file: OwnedFd) -> Result<Self, SharedError> {
        let seals = fcntl_get_seals(&file)?;
        let bytes = usize::try_from(fstat(&file)?.st_size).unwrap_or(0);
        let whole = bytes.is_multiple_of(size_of::<Lanes>()) && (1..=MAX_BYTES).contains(&bytes);
        if !seals.contains(SealFlags::SHRINK) || !whole {
            return Err(SharedError::NotSealed);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of this process.
        let start = unsafe {
            mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED | MapFlags::NORESERVE, &file, 0)
        }?;
        let start = NonNull::new(start.cast()).ok_or(SharedError::OutOfBounds)?;
        Ok(Region { start, len: bytes / size_of::<Lanes>(), file })
    }

    /// The descriptor to be passed to the peer.
    pub fn descriptor(&self) -> rustix::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Groups of eight residues in the region.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it; a region never is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn check(&self, start: usize, len: usize) -> Result<NonNull<Lanes>, SharedError> {
        let end = start.checked_add(len).ok_or(SharedError::OutOfBounds)?;
        if end > self.len {
            return Err(SharedError::OutOfBounds);
        }
        // SAFETY: within the mapping, as just checked.
        Ok(unsafe { self.start.add(start) })
    }

    /// The groups from `start` on, for reading by the side that trusts the writer, or does not care: the
    /// refinery reads operands that the warden writes once, before it names them.
    pub fn slice(&self, start: usize, len: usize) -> Result<&[Lanes], SharedError> {
        let at = self.check(start, len)?;
        // SAFETY: in bounds, aligned (mappings begin at a page, `Lanes` has 64 bytes), any bits are valid. The
        // writer does not touch a range between naming it and its release; a peer that does anyway changes
        // numbers, which are plain data.
        Ok(unsafe { std::slice::from_raw_parts(at.as_ptr(), len) })
    }

    /// The groups of a range that this process has allotted, for writing.
    ///
    /// The range is borrowed mutably: nobody else in this process holds it.
    pub fn slice_mut<'a>(&'a self, range: &'a mut Range) -> &'a mut [Lanes] {
        let at = self.check(range.start, range.len).expect("ranges are allotted within their region");
        // SAFETY: in bounds and aligned as above; ranges of one arena do not overlap, and this one is
        // borrowed mutably. The peer reads it only once it is named, which is after the borrow ends.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), range.len) }
    }

    /// Writes whole groups of eight residues from group `at` on in a range that this process has allotted, through the file and without touching
    /// the mapping: for a side that writes once and does not want the pages in its memory. The peer reads them
    /// only once they are named.
    pub fn write(&self, range: &Range, at: usize, residues: &[u64]) -> Result<(), SharedError> {
        let groups = residues.len().div_ceil(LANES);
        let end = at.checked_add(groups).filter(|end| *end <= range.len);
        end.filter(|_| residues.len().is_multiple_of(LANES)).ok_or(SharedError::OutOfBounds)?;
        self.check(range.start, range.len)?;
        let mut bytes: &[u8] = bytemuck::cast_slice(residues);
        let mut at = ((range.start + at) * size_of::<Lanes>()) as u64;
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, at) {
                Ok(0) => return Err(SharedError::OutOfBounds),
                Ok(done) => (bytes, at) = (&bytes[done..], at + done as u64),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Copies the residues from index `start` on, each read once, so that checks and uses see the same values whatever
    /// the peer does meanwhile.
    pub fn read(&self, start: usize, out: &mut [u64]) -> Result<(), SharedError> {
        let (first, skip) = (start / LANES, start % LANES);
        let at = self.check(first, (skip + out.len()).div_ceil(LANES))?;
        // SAFETY: in bounds and aligned as above; the peer may be writing, which atomic loads allow for.
        let words: &[AtomicU64] =
            unsafe { std::slice::from_raw_parts(at.as_ptr().cast::<AtomicU64>().add(skip), out.len()) };
        out.iter_mut().zip(words).for_each(|(out, word)| *out = word.load(Ordering::Relaxed));
        Ok(())
    }
}

impl Region {
    /// Takes pages that were read out of this process's memory; they stay in the shared one.
    pub fn release(&self, start: usize, len: usize) -> Result<(), SharedError> {
        let page = rustix::param::page_size() / size_of::<Lanes>();
        let end =
            start.checked_add(len).filter(|end| *end <= self.len * LANES).ok_or(SharedError::OutOfBounds)?;
        let first = (start / LANES).next_multiple_of(page).min(self.len);
        let len = (end / LANES / page * page).saturating_sub(first);
        let at = self.check(first, len)?;
        // SAFETY: whole pages within the mapping, of which the file keeps the contents.
        Ok(unsafe { madvise(at.as_ptr().cast(), len * size_of::<Lanes>(), Advice::LinuxDontNeed) }?)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; slices borrow the region, so none is left. A failure leaves it
        // mapped, which harms nobody.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.len * size_of::<Lanes>()) };
    }
}
