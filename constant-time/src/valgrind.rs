//! Valgrind's client requests: instructions that change nothing on a processor, and that valgrind reads as
//! calls (`valgrind.h` and `memcheck.h` of valgrind 3).

/// Is this process run by valgrind?
pub fn is_running() -> bool {
    request([0x1001, 0, 0, 0]) > 0
}

/// From here on, memory that holds this value is secret.
pub fn conceal<T: ?Sized>(value: &mut T) {
    request([memcheck(1), address(value), size_of_val(value) as u64, 0]);
}

/// From here on, it is public.
pub fn reveal<T: ?Sized>(value: &mut T) {
    request([memcheck(2), address(value), size_of_val(value) as u64, 0]);
}

/// The value as an outcome that is meant to be public.
pub fn revealed<T: Copy>(mut value: T) -> T {
    reveal(&mut value);
    value
}

/// Does any bit depend on a secret?
pub fn is_secret<T: ?Sized>(value: &T) -> bool {
    let mut bits = vec![0u8; size_of_val(value)];
    let done = request([memcheck(8), address(value), bits.as_mut_ptr() as u64, bits.len() as u64]);
    assert_eq!(done, 1, "valgrind tells what is secret");
    bits.iter().any(|&b| b != 0)
}

/// Takes an outcome of a case: it must depend on the secrets, or the case shows nothing.
#[track_caller]
pub fn expect_secret<T: ?Sized>(outcome: &T) {
    assert!(is_secret(outcome), "the outcome does not depend on the secrets");
}

fn memcheck(number: u64) -> u64 {
    u64::from(u32::from_be_bytes(*b"MC\0\0")) + number
}

fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>() as u64
}

/// A request with up to three arguments; 0 outside of valgrind.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn request([code, a, b, c]: [u64; 4]) -> u64 {
    let arguments = [code, a, b, c, 0, 0];
    let mut result = 0;
    // SAFETY: rdi is rotated by 128 bits in all and rbx exchanged with itself. Valgrind reads the six words,
    // and writes what the callers above hold mutable, if anything.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") result,
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: [u64; 4]) -> u64 {
    0
}
