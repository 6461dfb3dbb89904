//! Reports of AMD SEV-SNP (document 56860), versions 2 to 5. All checks are of the raw bytes that were signed.

use std::ops::Range;

use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::amd::{self, Product, SignedBy};
use super::policy::{SnpPolicy, SnpTcb};
use super::text::one_of;
use super::{Bytes, Claims, Collateral, Findings, Guest, Platforms, Policy, Unusable};

/// Bytes of a report.
pub const REPORT_LEN: usize = 1184;
/// The part that is signed.
const SIGNED: Range<usize> = 0..0x2a0;
/// R and S of the signature: 48 bytes each, little-endian, in fields of 72.
const R: Range<usize> = 0x2a0..0x2d0;
const S: Range<usize> = 0x2e8..0x318;
/// The signature's fields, but for R and S.
const SIGNATURE_PADDING: [Range<usize>; 3] = [0x2d0..0x2e8, 0x318..0x330, 0x330..REPORT_LEN];
/// ECDSA on P-384 with SHA-384.
const ALGORITHM: u32 = 1;

/// Bits of the guest's policy.
const POLICY_ONE: u64 = 1 << 17;
const POLICY_DEBUG: u64 = 1 << 19;
/// Bits without a meaning yet: a later one may weaken the guest.
const POLICY_RESERVED: u64 = !0 << 26;

/// A report: its bytes, of which length and version were checked.
#[derive(Debug, Clone)]
pub struct Report {
    raw: [u8; REPORT_LEN],
}

impl Report {
    /// Takes a report of a known version.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let raw: [u8; REPORT_LEN] = bytes.try_into().map_err(|_| {
            Unusable::Evidence(format!("an SNP report has {REPORT_LEN} bytes, this has {}", bytes.len()))
        })?;
        let report = Report { raw };
        match report.version() {
            2..=5 => Ok(report),
            other => Err(Unusable::Evidence(format!("an SNP report of version {other}: known are 2 to 5"))),
        }
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.raw[at..at + N]);
        bytes
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn version(&self) -> u32 {
        self.u32(0)
    }

    fn guest_svn(&self) -> u32 {
        self.u32(4)
    }

    fn policy(&self) -> u64 {
        self.u64(8)
    }

    fn vmpl(&self) -> u32 {
        self.u32(0x30)
    }

    fn algorithm(&self) -> u32 {
        self.u32(0x34)
    }

    fn platform(&self) -> u64 {
        self.u64(0x40)
    }

    /// Which key signed, and how it was chosen.
    fn key_info(&self) -> u32 {
        self.u32(0x48)
    }

    fn report_data(&self) -> [u8; 64] {
        self.bytes(0x50)
    }

    fn measurement(&self) -> [u8; 48] {
        self.bytes(0x90)
    }

    fn host_data(&self) -> [u8; 32] {
        self.bytes(0xc0)
    }

    pub(super) fn chip_id(&self) -> [u8; 64] {
        self.bytes(0x1a0)
    }

    /// The versions for which the key was derived.
    pub(super) fn reported_tcb(&self) -> [u8; 8] {
        self.bytes(0x180)
    }

    fn current_tcb(&self) -> [u8; 8] {
        self.bytes(0x38)
    }

    fn committed_tcb(&self) -> [u8; 8] {
        self.bytes(0x1e0)
    }

    fn launch_tcb(&self) -> [u8; 8] {
        self.bytes(0x1f0)
    }

    /// The processor's family and model, which reports have from version 3 on.
    fn processor(&self) -> Option<(u8, u8)> {
        (self.version() >= 3).then(|| (self.raw[0x188], self.raw[0x189]))
    }

    /// The parts that have to be zero in this version.
    fn reserved(&self) -> Vec<Range<usize>> {
        let processor = if self.version() >= 3 { 0x18b..0x1a0 } else { 0x188..0x1a0 };
        // From version 5 on, two vectors of mitigations follow the launch TCB.
        let end = if self.version() >= 5 { 0x208..0x2a0 } else { 0x1f8..0x2a0 };
        vec![0x4c..0x50, processor, 0x1eb..0x1ec, 0x1ef..0x1f0, end]
    }
}

/// Appraises a report.
pub fn appraise(
    report: &Report,
    collateral: &Collateral,
    policy: &Policy,
    at: u64,
    findings: &mut Findings,
) -> Claims {
    layout(report, findings);
    // Bits 2 to 4: the key.
    let signed_by = match (report.key_info() >> 2) & 7 {
        0 => Some(SignedBy::Chip),
        1 => Some(SignedBy::Provider),
        other => {
            findings.add(
                "snp.key_info",
                "0 (VCEK) or 1 (VLEK)",
                other,
                "ask for a report that is signed: this one says that no key of AMD signed it",
            );
            None
        }
    };
    let product = signed_by.and_then(|by| {
        let key = amd::verify(report, collateral, by, at, findings)?;
        if !signature(report, &key.public_key, findings) {
            return None;
        }
        if by == SignedBy::Provider {
            provider(key.provider.as_deref(), policy.snp.as_ref(), findings);
        }
        Some(key.product)
    });
    findings.require(
        !collateral.lists.is_empty() || !policy.snp.as_ref().is_some_and(|policy| policy.revocation_list),
        "collateral.amd.revocation",
        "a revocation list of the product's root",
        "none",
        "fetch it from AMD (kdsintf.amd.com, vcek/v1/PRODUCT/crl), or set revocation_list = false in the policy",
    );
    guest(report, policy.snp.as_ref(), findings);
    // Whether a byte is one version or another depends on the product; of one that is unverified, the older layout is
    // shown.
    let tcb = tcb(report.reported_tcb(), product.unwrap_or(Product::Milan));
    if let Some(product) = product {
        platform(report, product, policy.snp.as_ref(), findings);
    }
    Claims {
        tee: "snp",
        tcb_status: Some(tcb.to_string()),
        measurement: Some(hex::encode(report.measurement())),
        report_data: Some(hex::encode(report.report_data())),
        verified: product.is_some(),
    }
}

/// Checks what has only one sound value.
fn layout(report: &Report, findings: &mut Findings) {
    findings.require(
        report.algorithm() == ALGORITHM,
        "snp.signature_algorithm",
        format_args!("{ALGORITHM} (ECDSA P-384 with SHA-384)"),
        report.algorithm(),
        "ask for a new report",
    );
    for (claim, ranges) in
        [("snp.reserved", report.reserved()), ("snp.signature.padding", SIGNATURE_PADDING.into())]
    {
        for range in ranges {
            let found = &report.raw[range.clone()];
            findings.require(
                found.iter().all(|byte| *byte == 0),
                claim,
                format_args!("zeros at bytes {:#x} to {:#x}", range.start, range.end - 1),
                "other values",
                "a report with fields that this version does not know: use a newer version, or ask for a new report",
            );
        }
    }
    // Bit 1: the report is not signed at all. Bits 5 and up have no meaning yet.
    findings.require(
        report.key_info() & 0xffff_ffe2 == 0,
        "snp.key_info",
        "no reserved bit, and a key that is not masked",
        format_args!("{:#x}", report.key_info()),
        "have the platform sign its reports",
    );
}

/// Verifies the signature over the raw bytes: over a re-encoding, what the parser drops could change unnoticed.
fn signature(report: &Report, public_key: &[u8], findings: &mut Findings) -> bool {
    let mut fixed = Vec::with_capacity(96);
    for part in [R, S] {
        fixed.extend(report.raw[part].iter().rev());
    }
    let verified = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key)
        .verify(&report.raw[SIGNED], &fixed)
        .is_ok();
    findings.require(
        verified,
        "snp.signature",
        "a signature of the certificate's key over the report",
        "one that does not verify",
        "the report was altered, or the certificate is of another key: fetch that of the reported TCB",
    );
    verified
}

fn provider(name: Option<&str>, policy: Option<&SnpPolicy>, findings: &mut Findings) {
    let Some(policy) = policy else { return };
    findings.require(
        name.is_some_and(|name| policy.vlek_providers.iter().any(|known| known == name)),
        "snp.vlek_provider",
        one_of(&policy.vlek_providers),
        name.unwrap_or("no name"),
        "add the provider to vlek_providers if you trust it to tell which of its machines signed",
    );
}

/// Checks the guest: what it is and how it was launched.
fn guest(report: &Report, policy: Option<&SnpPolicy>, findings: &mut Findings) {
    let bits = report.policy();
    let hexadecimal = format!("{bits:#018x}");
    findings.require(
        bits & POLICY_DEBUG == 0,
        "snp.policy.debug",
        "debug off (bit 19)",
        &hexadecimal,
        "debug lets the host read the guest's memory: have the guest started without it",
    );
    findings.require(
        bits & POLICY_RESERVED == 0 && bits & POLICY_ONE != 0,
        "snp.policy.reserved",
        "bit 17 set, bits 26 to 63 clear",
        &hexadecimal,
        "a guest policy that this version does not know: use a newer version",
    );
    let Some(policy) = policy else {
        findings.add(
            "policy.snp",
            "a policy with a section [snp]",
            "none: what it does not name is refused",
            "if such environments are to be trusted, describe them in the policy (blindsmith policy init)",
        );
        return;
    };
    // A bit of the guest's policy or of the platform, whether it has to be set, whether the policy asks for that, and in which
    // field; in words.
    let platform = report.platform();
    for (part, word, bit, set, asked, field, words) in [
        ("policy", bits, 16, false, !policy.smt, "smt", "no hyper-threading"),
        ("policy", bits, 18, false, !policy.migration, "migration", "no migration agent"),
        ("policy", bits, 20, true, policy.single_socket, "single_socket", "one socket alone"),
        ("policy", bits, 21, false, !policy.cxl, "cxl", "no memory of CXL devices"),
        ("policy", bits, 22, true, policy.aes_256_xts, "aes_256_xts", "AES-256-XTS"),
        ("policy", bits, 23, true, policy.rapl_disabled, "rapl_disabled", "no measurement of power (RAPL)"),
        ("policy", bits, 24, true, policy.hiding_demanded, "hiding_demanded", "hidden ciphertexts"),
        ("policy", bits, 25, true, policy.page_swap_disabled, "page_swap_disabled", "no moves of pages"),
        ("platform", platform, 4, true, policy.ciphertext_hiding, "ciphertext_hiding", "hidden ciphertexts"),
        ("platform", platform, 5, true, policy.alias_check, "alias_check", "memory checked for aliases"),
    ] {
        findings.require(
            !asked || (word >> bit) & 1 == u64::from(set),
            &format!("snp.{part}.{field}"),
            format_args!("{words} (bit {bit} {})", if set { "set" } else { "clear" }),
            format_args!("{word:#x}"),
            format_args!("have {part} or firmware changed, or set {field} = {} in the owner's policy", !set),
        );
    }
    let found = Guest { measurement: Bytes(report.measurement()), host_data: Bytes(report.host_data()) };
    let words = |g: &Guest| format!("measurement {} with host data {}", g.measurement, g.host_data);
    findings.require(
        policy.guests.contains(&found),
        "snp.guest",
        one_of(policy.guests.iter().map(words)),
        words(&found),
        "add the guest to [[snp.guests]] if you built its image yourself and trust it",
    );
    findings.require(
        report.vmpl() <= policy.maximum_vmpl,
        "snp.vmpl",
        format_args!("{} or less", policy.maximum_vmpl),
        report.vmpl(),
        "ask for the report from a more privileged level, or raise maximum_vmpl",
    );
    findings.require(
        report.guest_svn() >= policy.minimum_guest_svn,
        "snp.guest_svn",
        format_args!("{} or more", policy.minimum_guest_svn),
        report.guest_svn(),
        "have a newer version of the guest started",
    );
    if let Platforms::Listed(machines) = &policy.machines {
        let chip = report.chip_id();
        findings.require(
            // A masked identifier is that of no machine, even if a list names it.
            chip != [0; 64] && machines.iter().any(|machine| machine.0 == chip),
            "platform.machine",
            one_of(machines),
            hex::encode(chip),
            "add the chip to machines if you know who has hands on it",
        );
    }
}

/// Checks the platform's firmware, as versions of the product that the chain of certificates proves.
fn platform(report: &Report, product: Product, policy: Option<&SnpPolicy>, findings: &mut Findings) {
    if let Some((family, model)) = report.processor() {
        findings.require(
            product.has(family, model),
            "snp.processor",
            format_args!("a processor of {product}"),
            format_args!("family {family:#x}, model {model:#x}"),
            "the certificate is of another product than the report's: fetch that of this chip",
        );
    }
    let raw = [
        ("launch", report.launch_tcb()),
        ("reported", report.reported_tcb()),
        ("committed", report.committed_tcb()),
        ("current", report.current_tcb()),
    ];
    for (name, bytes) in raw {
        findings.require(
            bytes[product.reserved_tcb()].iter().all(|byte| *byte == 0),
            "snp.tcb.reserved",
            format_args!("zeros between the versions of the {name} TCB"),
            hex::encode(bytes),
            "firmware that this version does not know: use a newer version",
        );
    }
    let [launch, reported, committed, current] = raw.map(|(_, bytes)| tcb(bytes, product));
    findings.require(
        current.reaches(&committed) && committed.reaches(&reported) && current.reaches(&launch),
        "snp.tcb.order",
        "reported up to committed up to current versions, and launch up to current ones",
        format_args!(
            "reported ({reported}), committed ({committed}), current ({current}), launch ({launch})"
        ),
        "no sound firmware says this: do not trust the platform",
    );
    let Some(policy) = policy else { return };
    let least = match product {
        Product::Milan => policy.minimum_tcb.milan,
        Product::Genoa => policy.minimum_tcb.genoa,
        Product::Turin => policy.minimum_tcb.turin,
    };
    let Some(least) = least else {
        findings.add(
            "snp.product",
            "a product with a section under [snp.minimum_tcb]",
            product,
            "if such machines are to be trusted, give their least versions in the policy",
        );
        return;
    };
    for (claim, versions) in [("snp.tcb.reported", reported), ("snp.tcb.launch", launch)] {
        findings.require(
            versions.reaches(&least),
            claim,
            format_args!("{least}, or later"),
            versions,
            "have the platform's firmware updated and the guest launched again",
        );
    }
}

/// Reads versions, whose order differs between products.
fn tcb(bytes: [u8; 8], product: Product) -> SnpTcb {
    match product {
        Product::Milan | Product::Genoa => {
            SnpTcb { fmc: 0, bootloader: bytes[0], tee: bytes[1], snp: bytes[6], microcode: bytes[7] }
        }
        Product::Turin => {
            SnpTcb { fmc: bytes[0], bootloader: bytes[1], tee: bytes[2], snp: bytes[3], microcode: bytes[7] }
        }
    }
}
