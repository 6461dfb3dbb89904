//! AVX-512, which valgrind does not run: in the machine code of the backend's functions nothing goes from vector or
//! mask registers to general registers, flags or addresses, but what says whether residues are canonical. Residues
//! are in vector registers there, so no jump and no address depends on them, unless by way of memory.

use std::process::Command;

const PLACE: &str = "blindsmith_ring::backend::avx512::";
/// Their outcome is public.
const PUBLIC: [&str; 2] = ["pack::is_canonical>", "pack::unpack>"];
/// Their outcome is one number, which leaves in a general register; what is done with it is seen with the other backends.
const SCALAR: [&str; 2] = ["pointwise::dot>", "entries::decode>"];
/// Fewer functions than this would mean that they were not found.
const LEAST: usize = 15;

/// Reads the disassembly of a program; panics with what it finds.
pub fn check(program: &str) {
    let output = Command::new("objdump")
        .args(["--disassemble", "--demangle", "--no-show-raw-insn", "--wide", program])
        .output()
        .expect("objdump");
    assert!(output.status.success(), "objdump: {}", output.status);
    let (mut functions, mut found) = (0, Vec::new());
    let mut function = "";
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|_| line.ends_with(">:")) {
            function = if name.contains(PLACE) { name } else { "" };
            functions += usize::from(!function.is_empty());
        } else if let Some((_, instruction)) = line.split_once(":\t").filter(|_| !function.is_empty())
            && leaves_vectors(instruction)
            && !(PUBLIC.iter().any(|name| function.ends_with(name)) && instruction.starts_with("kmov"))
            && !(SCALAR.iter().any(|name| function.ends_with(name)) && is_move(instruction))
        {
            found.push(format!("{function}: {instruction}"));
        }
    }
    assert!(functions >= LEAST, "{functions} functions of {PLACE} found: this test finds nothing");
    assert!(found.is_empty(), "what leaves vector registers:\n{}", found.join("\n"));
}

/// Whether an instruction only moves a value to a general register.
fn is_move(instruction: &str) -> bool {
    ["vmovq", "vpextrq"].iter().any(|name| instruction.starts_with(name))
}

/// Whether a general register, the flags or an address depend on a vector or mask register.
fn leaves_vectors(instruction: &str) -> bool {
    let (name, operands) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
    let operands = operands.trim();
    let is_vector = |register: &str| ["%x", "%y", "%z", "%k", "%mm"].iter().any(|v| register.starts_with(v));
    if !operands.split(['(', ',', '{']).any(|o| is_vector(o.trim())) {
        return false;
    }
    let flags = ["kortest", "ktest", "vtestp", "vcomis", "vucomis", "comis", "ucomis"];
    let last = operands.rsplit(',').next().unwrap_or_default().trim();
    let to_general = last.starts_with('%') && !is_vector(last);
    let by_address = name.contains("gather") || name.contains("scatter");
    flags.iter().any(|f| name.starts_with(f)) || name == "vptest" || by_address || to_general
}

#[test]
fn what_leaves_vector_registers_is_seen() {
    for leak in [
        "kmovw  %k0,%esi",
        "kortestw %k0,%k1",
        "vmovq  %xmm1,%rax",
        "vpextrq $0x1,%xmm1,%rax",
        "vpmovmskb %ymm0,%eax",
        "vptest %ymm0,%ymm1",
        "vucomisd %xmm0,%xmm1",
        "vpgatherqq (%rdi,%zmm0,8),%zmm1{%k1}",
    ] {
        assert!(leaves_vectors(leak), "{leak}");
    }
    for other in [
        "kmovq  %rsi,%k1",
        "vmovdqu64 (%rdi,%r11,1),%zmm6",
        "vmovdqu8 %zmm4,(%r9){%k1}",
        "vmovdqa64 %zmm2,%zmm4{%k1}{z}",
        "vptestmq %zmm0,%zmm1,%k1",
        "vmovq  %xmm0,0x8(%rdi)",
        "cmp    %rax,%rbx",
        "ret",
    ] {
        assert!(!leaves_vectors(other), "{other}");
    }
}
