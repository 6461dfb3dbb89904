//! A policy in words.

use std::fmt::Write;

use blindsmith_appraisal::{
    Bytes, Enclave, IntelPlatform, Platforms, Policy, SgxPolicy, SnpPolicy, TdxPolicy, one_of,
};

/// What a policy accepts, in words, one statement a line.
pub fn explain(policy: &Policy) -> String {
    let mut lines = Lines::default();
    match policy.accept_simulated {
        true => lines.add("Simulated environments are ACCEPTED: whoever runs one can read all it holds."),
        false => lines.add("Simulated environments are refused."),
    }
    match &policy.sgx {
        Some(policy) => sgx(policy, &mut lines),
        None => lines.add("Intel SGX is refused."),
    }
    match &policy.tdx {
        Some(policy) => tdx(policy, &mut lines),
        None => lines.add("Intel TDX is refused."),
    }
    match &policy.snp {
        Some(policy) => snp(policy, &mut lines),
        None => lines.add("AMD SEV-SNP is refused."),
    }
    if accepts_nothing(policy) {
        lines.add(
            "As it stands this policy accepts NOTHING: it lists no environment and machine together, or zeros stand where \
             measurements and machines belong. Fill them in, or draft a policy from reference values: blindsmith policy \
             init --reference FILE.",
        );
    }
    lines.add("Whatever this policy says, debug and platforms that their vendor revoked are refused.");
    lines.0
}

/// Whether no evidence can satisfy a policy: zeros are what nobody filled in, and no hardware measures or is called zeros.
fn accepts_nothing(policy: &Policy) -> bool {
    let enclave = |enclave: &Enclave| match enclave {
        Enclave::Measured { mrenclave } => is_filled(mrenclave),
        Enclave::Signed { mrsigner, .. } => is_filled(mrsigner),
    };
    let sgx = |sgx: &SgxPolicy| sgx.enclaves.iter().any(enclave) && some_machine(&sgx.platform.machines);
    let tdx = |tdx: &TdxPolicy| {
        tdx.guests.iter().any(|g| is_filled(&g.mrtd)) && some_machine(&tdx.platform.machines)
    };
    let snp =
        |snp: &SnpPolicy| snp.guests.iter().any(|g| is_filled(&g.measurement)) && some_machine(&snp.machines);
    !policy.accept_simulated
        && !policy.sgx.as_ref().is_some_and(sgx)
        && !policy.tdx.as_ref().is_some_and(tdx)
        && !policy.snp.as_ref().is_some_and(snp)
}

fn is_filled<const N: usize>(bytes: &Bytes<N>) -> bool {
    bytes.0.iter().any(|byte| *byte != 0)
}

fn some_machine<const N: usize>(machines: &Platforms<N>) -> bool {
    match machines {
        Platforms::Any => true,
        Platforms::Listed(list) => list.iter().any(is_filled),
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.0, "{}", line.as_ref());
    }
}

fn sgx(policy: &SgxPolicy, lines: &mut Lines) {
    lines.add("Intel SGX is accepted for");
    for enclave in &policy.enclaves {
        lines.add(match enclave {
            Enclave::Measured { mrenclave } => format!("  - exactly the enclave {mrenclave};"),
            Enclave::Signed { mrsigner, product_id, minimum_svn } => format!(
                "  - whatever the key {mrsigner} signed or will sign as product {product_id}, from version {minimum_svn} on;"
            ),
        });
    }
    if policy.enclaves.is_empty() {
        lines.add("  - no enclave: none is listed;");
    }
    lines.add(format!("  attributes {} under the mask {};", policy.attributes, policy.attributes_mask));
    intel(&policy.platform, lines);
}

fn tdx(policy: &TdxPolicy, lines: &mut Lines) {
    lines.add("Intel TDX is accepted for");
    for guest in &policy.guests {
        lines.add(format!(
            "  - the guest with MRTD {}, RTMRs {},",
            guest.mrtd,
            guest.rtmrs.map(|rtmr| rtmr.to_string()).join(", ")
        ));
        lines.add(format!(
            "    MRCONFIGID {}, MROWNER {} and MROWNERCONFIG {};",
            guest.mrconfigid, guest.mrowner, guest.mrownerconfig
        ));
    }
    if policy.guests.is_empty() {
        lines.add("  - no guest: none is listed;");
    }
    match &policy.mrseam {
        None => lines.add("  on any TDX module that Intel signed and whose version its TCB info covers;"),
        Some(modules) => lines.add(format!("  on the TDX module {};", one_of(modules))),
    }
    lines.add(format!("  attributes {} under the mask {};", policy.attributes, policy.attributes_mask));
    intel(&policy.platform, lines);
}

fn intel(platform: &IntelPlatform, lines: &mut Lines) {
    lines.add(format!("  TCB status: {};", one_of(&platform.tcb_statuses)));
    match platform.advisories.as_slice() {
        [] => lines.add("  no advisory may be open;"),
        listed => lines.add(format!("  advisories that may be open: {};", listed.join(", "))),
    }
    lines
        .add(format!("  collateral with evaluation number {} or later;", platform.minimum_evaluation_number));
    machines(&platform.machines, lines);
    for (allowed, what) in [
        (platform.dynamic_platform, "dynamic platforms"),
        (platform.cached_keys, "cached platform keys"),
        (platform.smt, "hyper-threading"),
    ] {
        lines.add(format!("  {what}: {}.", if allowed { "accepted" } else { "refused" }));
    }
}

fn machines<const N: usize>(machines: &Platforms<N>, lines: &mut Lines) {
    lines.add(match machines {
        Platforms::Any => "  on ANY genuine machine, also one that its holder opened to extract keys;".into(),
        Platforms::Listed(list) => format!("  on the machine {};", one_of(list)),
    });
}

fn snp(policy: &SnpPolicy, lines: &mut Lines) {
    lines.add("AMD SEV-SNP is accepted for");
    for guest in &policy.guests {
        lines.add(format!(
            "  - the guest with measurement {} and host data {};",
            guest.measurement, guest.host_data
        ));
    }
    if policy.guests.is_empty() {
        lines.add("  - no guest: none is listed;");
    }
    let least = policy.minimum_tcb;
    for (name, least) in [("Milan", least.milan), ("Genoa", least.genoa), ("Turin", least.turin)] {
        lines.add(match least {
            Some(least) => format!("  {name} from {least} on;"),
            None => format!("  {name} is refused;"),
        });
    }
    machines(&policy.machines, lines);
    lines.add(match policy.vlek_providers.as_slice() {
        [] => "  signed by the chip's own key only;".into(),
        listed => format!("  signed by the chip's own key, or by a key of {};", listed.join(", ")),
    });
    lines.add(format!(
        "  asked for at VMPL {} or more privileged, guest version {} or later;",
        policy.maximum_vmpl, policy.minimum_guest_svn
    ));
    for (allowed, what) in [
        (policy.smt, "hyper-threading"),
        (policy.migration, "migration agents"),
        (policy.cxl, "memory of CXL devices"),
    ] {
        lines.add(format!("  {what}: {};", if allowed { "accepted" } else { "refused" }));
    }
    for (asked, what) in [
        (policy.revocation_list, "revocation list of AMD's root"),
        (policy.single_socket, "a guest policy that keeps to one socket"),
        (policy.aes_256_xts, "a guest policy that demands AES-256-XTS"),
        (policy.rapl_disabled, "a guest policy without measurement of power (RAPL)"),
        (policy.hiding_demanded, "a guest policy that demands hiding of ciphertexts"),
        (policy.page_swap_disabled, "a guest policy without moving and swapping of pages"),
        (policy.alias_check, "check of memory for aliases"),
        (policy.ciphertext_hiding, "hiding of ciphertexts"),
    ] {
        lines.add(format!("  {what}: {}.", if asked { "required" } else { "not required" }));
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_appraisal::EXAMPLE;

    use super::*;

    #[test]
    fn the_example_explains_itself() {
        let words = explain(&Policy::parse(EXAMPLE).unwrap());
        for part in [
            "Simulated environments are refused",
            "Intel SGX is accepted for",
            "Milan from bootloader 4",
            "memory of CXL devices: refused",
            "one socket: not required",
            "no advisory",
            "accepts NOTHING",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }

    #[test]
    fn a_policy_accepts_something_once_an_environment_and_a_machine_are_filled_in() {
        let nothing = |text: &str| {
            let policy = Policy::parse(text).unwrap();
            let said = explain(&policy).contains("accepts NOTHING");
            assert_eq!(said, accepts_nothing(&policy));
            said
        };
        assert!(nothing(""));
        assert!(!nothing("accept_simulated = true"));
        let sgx = |enclave: &str, machines: &str| {
            format!(
                "[sgx]\nenclaves = [{{ mrenclave = \"{}\" }}]\n[sgx.platform]\ntcb_statuses = [\"UpToDate\"]\n\
                 minimum_evaluation_number = 17\nmachines = {machines}\n",
                enclave.repeat(32)
            )
        };
        let [zeros, machine] = ["00", "a1"].map(|byte| format!("[\"{}\"]", byte.repeat(16)));
        assert!(nothing(&sgx("00", &machine)));
        assert!(nothing(&sgx("e1", &zeros)));
        assert!(nothing(&sgx("e1", "[]")));
        assert!(!nothing(&sgx("e1", &machine)));
        assert!(!nothing(&sgx("e1", "\"any\"")));
    }
}
