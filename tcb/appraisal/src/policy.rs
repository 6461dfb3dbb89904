//! The policy file: which software on which platforms is trusted. Nothing has a default that accepts.

use std::fmt;

use dcap_qvl::TcbStatus;
use serde::{Deserialize, Deserializer};

use super::Unusable;

/// Longest policy file, in bytes.
pub const MAX_POLICY: usize = 256 << 10;

/// A policy file that explains every field. As it stands it accepts nothing: its measurements are those of no software.
pub const EXAMPLE: &str = include_str!("policy.example.toml");

/// What is trusted. The default trusts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Whether simulated environments are accepted, which prove nothing.
    pub accept_simulated: bool,
    /// Enclaves of Intel SGX; refused where absent.
    pub sgx: Option<SgxPolicy>,
    /// Guests of Intel TDX; refused where absent.
    pub tdx: Option<TdxPolicy>,
    /// Guests of AMD SEV-SNP; refused where absent.
    pub snp: Option<SnpPolicy>,
}

/// Which enclaves are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgxPolicy {
    /// The enclaves: one has to match.
    pub enclaves: Vec<Enclave>,
    /// Attributes (flags, then XFRM), compared under the mask. Debug is refused whatever they say.
    #[serde(default = "SgxPolicy::attributes")]
    pub attributes: Bytes<16>,
    /// The bits of the attributes that are compared.
    #[serde(default = "SgxPolicy::attributes_mask")]
    pub attributes_mask: Bytes<16>,
    /// What the platform has to be.
    pub platform: IntelPlatform,
}

impl SgxPolicy {
    /// INIT and MODE64BIT.
    fn attributes() -> Bytes<16> {
        let mut bits = [0; 16];
        bits[0] = 0x05;
        Bytes(bits)
    }

    /// All flags, no bit of XFRM.
    fn attributes_mask() -> Bytes<16> {
        let mut bits = [0; 16];
        bits[..8].fill(0xff);
        Bytes(bits)
    }
}

/// An enclave, by what it is or by who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "EnclaveFields")]
pub enum Enclave {
    /// Exactly this code and initial data.
    Measured {
        /// MRENCLAVE.
        mrenclave: Bytes<32>,
    },
    /// Whatever this key signed, of one product, from one version on.
    Signed {
        /// MRSIGNER: the SHA-256 of the key.
        mrsigner: Bytes<32>,
        /// ISVPRODID.
        product_id: u16,
        /// Least ISVSVN.
        minimum_svn: u16,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnclaveFields {
    mrenclave: Option<Bytes<32>>,
    mrsigner: Option<Bytes<32>>,
    product_id: Option<u16>,
    minimum_svn: Option<u16>,
}

impl TryFrom<EnclaveFields> for Enclave {
    type Error = &'static str;

    fn try_from(fields: EnclaveFields) -> Result<Self, Self::Error> {
        let EnclaveFields { mrenclave, mrsigner, product_id, minimum_svn } = fields;
        match (mrenclave, mrsigner, product_id, minimum_svn) {
            (Some(mrenclave), None, None, None) => Ok(Enclave::Measured { mrenclave }),
            (None, Some(mrsigner), Some(product_id), Some(minimum_svn)) => {
                Ok(Enclave::Signed { mrsigner, product_id, minimum_svn })
            }
            _ => Err("an enclave is given by mrenclave alone, or by mrsigner, product_id and minimum_svn"),
        }
    }
}

/// Which TDX guests are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxPolicy {
    /// The guests: one has to match in all fields.
    pub guests: Vec<TdxGuest>,
    /// MRSEAM of the TDX modules that are trusted. Absent: any module that Intel signed and whose version Intel's TCB
    /// info covers.
    #[serde(default)]
    pub mrseam: Option<Vec<Bytes<48>>>,
    /// TD attributes, compared under the mask. Debug, profiling and migration are refused whatever they say.
    #[serde(default = "TdxPolicy::attributes")]
    pub attributes: Bytes<8>,
    /// The bits of the attributes that are compared.
    #[serde(default = "TdxPolicy::attributes_mask")]
    pub attributes_mask: Bytes<8>,
    /// What the platform has to be.
    pub platform: IntelPlatform,
}

impl TdxPolicy {
    /// SEPT_VE_DISABLE.
    fn attributes() -> Bytes<8> {
        Bytes([0, 0, 0, 0x10, 0, 0, 0, 0])
    }

    fn attributes_mask() -> Bytes<8> {
        Bytes([0xff; 8])
    }
}

/// A TDX guest: what it booted with. The registers are matched together, so that parts of different images do not mix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxGuest {
    /// MRTD: the initial contents, in practice the firmware.
    pub mrtd: Bytes<48>,
    /// RTMR0 to RTMR3: what firmware, boot loader and system measured.
    pub rtmrs: [Bytes<48>; 4],
    /// MRCONFIGID.
    #[serde(default)]
    pub mrconfigid: Bytes<48>,
    /// MROWNER.
    #[serde(default)]
    pub mrowner: Bytes<48>,
    /// MROWNERCONFIG.
    #[serde(default)]
    pub mrownerconfig: Bytes<48>,
}

/// Which platforms of Intel are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntelPlatform {
    /// The TCB statuses that are accepted, by Intel's names.
    pub tcb_statuses: Vec<TcbStatus>,
    /// The advisories that may be open on the platform.
    #[serde(default)]
    pub advisories: Vec<String>,
    /// Least evaluation number of the collateral (TCB info and QE identity): older ones do not know newer flaws.
    pub minimum_evaluation_number: u32,
    /// The machines, by PPID or platform instance (16 bytes).
    pub machines: Platforms<16>,
    /// Whether platforms may have packages added after their registration.
    #[serde(default)]
    pub dynamic_platform: bool,
    /// Whether the platform's keys may be cached at Intel's registration service.
    #[serde(default)]
    pub cached_keys: bool,
    /// Whether hyper-threading may be on.
    #[serde(default)]
    pub smt: bool,
}

/// Which machines are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms<const N: usize> {
    /// Any genuine one.
    Any,
    /// These.
    Listed(Vec<Bytes<N>>),
}

impl<'de, const N: usize> Deserialize<'de> for Platforms<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "any" => Ok(Platforms::Any),
            Written::Word(word) => {
                Err(serde::de::Error::custom(format!("{word:?} is neither \"any\" nor a list")))
            }
            Written::List(list) => {
                let listed = list.into_iter().map(|text| text.try_into().map_err(serde::de::Error::custom));
                Ok(Platforms::Listed(listed.collect::<Result<_, _>>()?))
            }
        }
    }
}

/// Which SNP guests are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPolicy {
    /// The guests: one has to match in all fields.
    pub guests: Vec<Guest>,
    /// Least versions of firmware, of each product that is trusted.
    pub minimum_tcb: SnpTcbs,
    /// The machines, by chip identifier.
    pub machines: Platforms<64>,
    /// Highest privilege level (VMPL) that may have asked for the report: 0 is the most privileged.
    #[serde(default)]
    pub maximum_vmpl: u32,
    /// Least security version of the guest.
    #[serde(default)]
    pub minimum_guest_svn: u32,
    /// Providers whose keys (VLEK) may sign instead of a chip's, as their certificates name them.
    #[serde(default)]
    pub vlek_providers: Vec<String>,
    /// Whether collateral has to have a revocation list of the product's root.
    #[serde(default)]
    pub revocation_list: bool,
    /// Whether the guest's policy may allow hyper-threading.
    #[serde(default)]
    pub smt: bool,
    /// Whether the guest's policy may allow a migration agent.
    #[serde(default)]
    pub migration: bool,
    /// Whether the guest's policy has to keep the guest on one socket.
    #[serde(default)]
    pub single_socket: bool,
    /// Whether the guest's policy may allow memory of CXL devices.
    #[serde(default)]
    pub cxl: bool,
    /// Whether the guest's policy has to demand that memory is encrypted with AES-256-XTS.
    #[serde(default)]
    pub aes_256_xts: bool,
    /// Whether the guest's policy has to demand that the host cannot measure power (RAPL).
    #[serde(default)]
    pub rapl_disabled: bool,
    /// Whether the guest's policy has to demand what `ciphertext_hiding` asks of the platform.
    #[serde(default)]
    pub hiding_demanded: bool,
    /// Whether the guest's policy has to forbid that the firmware moves and swaps pages.
    #[serde(default)]
    pub page_swap_disabled: bool,
    /// Whether the platform has to have checked its memory for aliases.
    #[serde(default = "yes")]
    pub alias_check: bool,
    /// Whether the platform has to hide ciphertexts from the host.
    #[serde(default)]
    pub ciphertext_hiding: bool,
}

fn yes() -> bool {
    true
}

/// An SNP guest: what it was launched with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// The launch measurement.
    pub measurement: Bytes<48>,
    /// HOST_DATA.
    #[serde(default)]
    pub host_data: Bytes<32>,
}

/// Least versions of firmware, by product. Products that are absent are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnpTcbs {
    /// Third generation (family 19h, models 00h to 0Fh).
    pub milan: Option<SnpTcb>,
    /// Fourth generation (family 19h, models 10h to 1Fh and A0h to AFh).
    pub genoa: Option<SnpTcb>,
    /// Fifth generation (family 1Ah, models 00h to 1Fh).
    pub turin: Option<SnpTcb>,
}

/// Versions of SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpTcb {
    /// The management controller's firmware; of Turin only.
    #[serde(default)]
    pub fmc: u8,
    /// The boot loader of the secure processor.
    pub bootloader: u8,
    /// The operating system of the secure processor.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The microcode.
    pub microcode: u8,
}

impl SnpTcb {
    /// Whether every version is at least that of `least`.
    pub fn reaches(&self, least: &SnpTcb) -> bool {
        self.fmc >= least.fmc
            && self.bootloader >= least.bootloader
            && self.tee >= least.tee
            && self.snp >= least.snp
            && self.microcode >= least.microcode
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = self;
        if *fmc != 0 {
            write!(f, "fmc {fmc}, ")?;
        }
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

/// Bytes, written as 2 N hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Bytes([0; N])
    }
}

impl<const N: usize> TryFrom<String> for Bytes<N> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; N];
        match hex::decode_to_slice(&text, &mut bytes) {
            Ok(()) => Ok(Bytes(bytes)),
            Err(_) => Err(format!("{} hexadecimal digits were expected", 2 * N)),
        }
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Policy {
    /// Reads a policy file. A field that is unknown, missing or out of range is an error, never a default that accepts.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        if text.len() > MAX_POLICY {
            return Err(Unusable::TooLarge { what: "policy", limit: MAX_POLICY });
        }
        let policy: Policy =
            toml::from_str(text).map_err(|e| Unusable::Policy(e.to_string().trim_end().into()))?;
        let platforms = [policy.sgx.as_ref().map(|p| &p.platform), policy.tdx.as_ref().map(|p| &p.platform)];
        for platform in platforms.into_iter().flatten() {
            if platform.tcb_statuses.contains(&TcbStatus::Revoked) {
                return Err(Unusable::Policy("tcb_statuses names Revoked, which is never accepted".into()));
            }
        }
        if policy.snp.as_ref().is_some_and(|p| p.maximum_vmpl > 3) {
            return Err(Unusable::Policy("maximum_vmpl is 0 to 3".into()));
        }
        Ok(policy)
    }
}
