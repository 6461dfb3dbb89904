//! AMD's certificates: from a root that is pinned here, over ASK or ASVK, to the key that signed a report.

use std::fmt;
use std::ops::Range;

use der::asn1::{Any, BitString, ObjectIdentifier};
use der::{Decode, Document, Reader, SliceReader};
use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::snp::Report;
use super::text::line;
use super::{Collateral, Findings, Unusable};

/// The products, with their ASK, ARK and ASVK, as AMD publishes them (kdsintf.amd.com).
const PRODUCTS: [(Product, &str); 3] = [
    (Product::Milan, include_str!("amd/milan-ask-ark-asvk.pem")),
    (Product::Genoa, include_str!("amd/genoa-ask-ark-asvk.pem")),
    (Product::Turin, include_str!("amd/turin-ask-ark-asvk.pem")),
];

/// RSASSA-PSS.
const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
/// The versions for which a key was derived: their extension, and their bytes in a report. Before Turin, and of Turin.
const TCB: [(&str, usize); 8] = [
    ("1.3.6.1.4.1.3704.1.3.1", 0),
    ("1.3.6.1.4.1.3704.1.3.2", 1),
    ("1.3.6.1.4.1.3704.1.3.4", 2),
    ("1.3.6.1.4.1.3704.1.3.5", 3),
    ("1.3.6.1.4.1.3704.1.3.6", 4),
    ("1.3.6.1.4.1.3704.1.3.7", 5),
    ("1.3.6.1.4.1.3704.1.3.3", 6),
    ("1.3.6.1.4.1.3704.1.3.8", 7),
];
const TURIN_TCB: [(&str, usize); 5] = [
    ("1.3.6.1.4.1.3704.1.3.9", 0),
    ("1.3.6.1.4.1.3704.1.3.1", 1),
    ("1.3.6.1.4.1.3704.1.3.2", 2),
    ("1.3.6.1.4.1.3704.1.3.3", 3),
    ("1.3.6.1.4.1.3704.1.3.8", 7),
];

/// A product line, each with a root of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Milan,
    Genoa,
    Turin,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Product {
    /// Whether a processor of this family and model is of this product.
    pub fn has(self, family: u8, model: u8) -> bool {
        match self {
            Product::Milan => family == 0x19 && model <= 0x0f,
            Product::Genoa => family == 0x19 && matches!(model, 0x10..=0x1f | 0xa0..=0xaf),
            Product::Turin => family == 0x1a && model <= 0x1f,
        }
    }

    /// The bytes of a TCB that hold no version.
    pub fn reserved_tcb(self) -> Range<usize> {
        match self {
            Product::Milan | Product::Genoa => 2..6,
            Product::Turin => 4..7,
        }
    }

    /// Bytes of the chip's identifier that a certificate names; zeros follow them in the report.
    fn hardware_id_len(self) -> usize {
        if self == Product::Turin { 8 } else { 64 }
    }

    fn tcb_extensions(self) -> &'static [(&'static str, usize)] {
        if self == Product::Turin { &TURIN_TCB } else { &TCB }
    }
}

/// Whose key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedBy {
    /// The chip's own, a VCEK.
    Chip,
    /// One that AMD gave to a provider for its machines, a VLEK.
    Provider,
}

impl SignedBy {
    /// The name of the key's certificate.
    fn subject(self) -> &'static str {
        match self {
            SignedBy::Chip => "SEV-VCEK",
            SignedBy::Provider => "SEV-VLEK",
        }
    }

    /// The name of the certificate that signs it.
    fn issuer(self, product: Product) -> String {
        match self {
            SignedBy::Chip => format!("SEV-{product}"),
            SignedBy::Provider => format!("SEV-VLEK-{product}"),
        }
    }
}

/// What AMD signed: its bytes, of which the signature is checked, and its parts.
#[derive(Debug, Clone)]
pub struct Signed<T> {
    der: Vec<u8>,
    /// The range that is signed, in `der`.
    signed: Range<usize>,
    parts: T,
}

/// A certificate.
pub type Certificate = Signed<x509_cert::Certificate>;
/// What a root revoked.
pub type RevocationList = Signed<CertificateList>;

impl<T: for<'a> Decode<'a, Error = der::Error>> Signed<T> {
    /// Reads one.
    pub fn from_der(der: &[u8]) -> Result<Self, Unusable> {
        let read = || -> der::Result<Self> {
            let parts = T::from_der(der)?;
            let mut reader = SliceReader::new(der)?;
            let signed = reader.sequence(|reader| {
                let start = usize::try_from(reader.position())?;
                let signed = reader.tlv_bytes()?;
                reader.drain(reader.remaining_len())?;
                Ok::<_, der::Error>(start..start + signed.len())
            })?;
            Ok(Signed { der: der.to_vec(), signed, parts })
        };
        read().map_err(|e| Unusable::Collateral(format!("a certificate or a list: {}", line(&e.to_string()))))
    }
}

impl Certificate {
    /// Reads certificates that follow each other in PEM, with nothing but space between them.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, Unusable> {
        const END: &str = "-----END CERTIFICATE-----";
        let unusable = |what: &str| Unusable::Collateral(format!("a certificate in PEM: {}", line(what)));
        let text = std::str::from_utf8(pem).map_err(|_| unusable("not text"))?;
        let parts = text.split_inclusive(END).map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (label, document) = Document::from_pem(part).map_err(|e| unusable(&e.to_string()))?;
                if label != "CERTIFICATE" {
                    return Err(unusable(label));
                }
                Certificate::from_der(document.as_bytes())
            })
            .collect()
    }

    fn subject(&self) -> &Name {
        self.parts.tbs_certificate().subject()
    }

    fn issuer(&self) -> &Name {
        self.parts.tbs_certificate().issuer()
    }

    fn is_authority(&self) -> bool {
        let tbs = self.parts.tbs_certificate();
        let signs = match tbs.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        signs && matches!(tbs.get_extension::<BasicConstraints>(), Ok(Some((_, basic))) if basic.ca)
    }

    fn public_key(&self) -> &[u8] {
        self.parts.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes()
    }

    /// Whether `issuer` signed this.
    fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let (parts, tbs) = (&self.parts, self.parts.tbs_certificate());
        self.issuer() == issuer.subject()
            && issuer.signs(self, [parts.signature_algorithm(), tbs.signature()], parts.signature())
    }

    /// Whether its key signed this, with the one algorithm that AMD uses; it is named twice.
    fn signs<T>(&self, of: &Signed<T>, named: [&AlgorithmIdentifierOwned; 2], signature: &BitString) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, self.public_key());
        named[0].oid == PSS
            && named[0] == named[1]
            && key.verify(&of.der[of.signed.clone()], signature.raw_bytes()).is_ok()
    }

    /// First and last second of its validity.
    fn validity(&self) -> (u64, u64) {
        let validity = self.parts.tbs_certificate().validity();
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }

    /// The value of an extension that comes once.
    fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut found =
            self.parts.tbs_certificate().extensions().into_iter().flatten().filter(|e| e.extn_id == oid);
        let value = found.next()?.extn_value.as_bytes();
        found.next().is_none().then_some(value)
    }

    fn version_extension(&self, oid: &str) -> Option<u8> {
        u8::from_der(self.extension(ObjectIdentifier::new(oid).ok()?)?).ok()
    }

    /// A text extension, which AMD encodes as an ASN.1 string.
    fn text_extension(&self, oid: ObjectIdentifier) -> Option<String> {
        let any = Any::from_der(self.extension(oid)?).ok()?;
        std::str::from_utf8(any.value()).ok().map(line)
    }
}

fn common_name(name: &Name) -> Option<&str> {
    let attributes = name.iter_rdn().flat_map(|rdn| rdn.iter());
    let found =
        attributes.filter(|attribute| attribute.oid == COMMON_NAME).map(|a| a.value.value()).next()?;
    std::str::from_utf8(found).ok()
}

/// A key that signs reports, proven by its chain.
pub struct SigningKey {
    pub product: Product,
    pub public_key: Vec<u8>,
    /// The provider that a VLEK was made for.
    pub provider: Option<String>,
}

/// Finds the certificate of the key that signed `report` and verifies its chain as of `at`, and that the key is of the
/// report's chip and versions. None if there is no chain from a pinned root.
pub fn verify(
    report: &Report,
    collateral: &Collateral,
    by: SignedBy,
    at: u64,
    findings: &mut Findings,
) -> Option<SigningKey> {
    let fetch =
        "fetch the certificate of this chip and reported TCB from AMD (kdsintf.amd.com) or from the host";
    let (authorities, leaves): (Vec<_>, Vec<_>) =
        collateral.certificates.iter().partition(|certificate| certificate.is_authority());
    let mut candidates = leaves.into_iter().filter(|leaf| common_name(leaf.subject()) == Some(by.subject()));
    let Some(leaf) = candidates.next() else {
        findings.add("collateral.amd", format_args!("a certificate of {}", by.subject()), "none", fetch);
        return None;
    };
    if candidates.next().is_some() {
        findings.add("collateral.amd", format_args!("one certificate of {}", by.subject()), "several", fetch);
        return None;
    }

    let (product, chain) = chain(leaf, &authorities, by, findings)?;
    revocation(&collateral.lists, &chain, at, findings);
    for certificate in &chain {
        let (from, to) = certificate.validity();
        findings.require(
            (from..=to).contains(&at),
            "collateral.amd.time",
            format_args!("certificates valid at {at}"),
            format_args!("{} is valid from {from} to {to}", line(&certificate.subject().to_string())),
            "fetch a fresh certificate, or check the clock",
        );
    }

    let name = leaf.text_extension(PRODUCT_NAME).unwrap_or_else(|| "no name".into());
    findings.require(
        name.split('-').next() == Some(&product.to_string()),
        "collateral.amd.product",
        product,
        &name,
        fetch,
    );
    let reported = report.reported_tcb();
    let certified: Vec<_> = product
        .tcb_extensions()
        .iter()
        .map(|(oid, at)| (leaf.version_extension(oid), reported[*at]))
        .collect();
    findings.require(
        certified.iter().all(|(certified, reported)| *certified == Some(*reported)),
        "collateral.amd.tcb",
        format_args!("a key for the reported versions {}", words(certified.iter().map(|(_, r)| Some(*r)))),
        words(certified.iter().map(|(c, _)| *c)),
        fetch,
    );
    if by == SignedBy::Chip {
        let chip = report.chip_id();
        let (identifier, rest) = chip.split_at(product.hardware_id_len());
        let hardware = leaf.extension(HARDWARE_ID).unwrap_or_default();
        findings.require(
            hardware == identifier && rest.iter().all(|byte| *byte == 0),
            "collateral.amd.chip",
            format_args!("a key of the chip {}", hex::encode(chip)),
            if hardware.is_empty() { "a key of no chip".into() } else { hex::encode(hardware) },
            fetch,
        );
    }
    let key = leaf.parts.tbs_certificate().subject_public_key_info();
    findings.require(
        key.algorithm.oid == EC_PUBLIC_KEY && leaf.public_key().len() == 97,
        "collateral.amd.key",
        "a key on the curve P-384",
        line(&key.algorithm.oid.to_string()),
        fetch,
    );
    Some(SigningKey {
        product,
        public_key: leaf.public_key().to_vec(),
        provider: (by == SignedBy::Provider).then(|| leaf.text_extension(PROVIDER)).flatten(),
    })
}

/// Checks that each list is of the chain's root, that it is valid as of `at`, and that it does not revoke the authority.
fn revocation(lists: &[RevocationList], chain: &[Certificate; 3], at: u64, findings: &mut Findings) {
    let [_, authority, root] = chain;
    let serial = authority.parts.tbs_certificate().serial_number();
    for list in lists {
        let (parts, tbs) = (&list.parts, &list.parts.tbs_cert_list);
        let mut revoked = tbs.revoked_certificates.iter().flatten();
        let more = revoked.clone().filter_map(|entry| entry.crl_entry_extensions.as_ref());
        let mut extensions = tbs.crl_extensions.iter().chain(more).flatten();
        // One without an end is valid never.
        let [from, to] = [Some(tbs.this_update), tbs.next_update]
            .map(|time| time.map_or(0, |time| time.to_unix_duration().as_secs()));
        let signed = tbs.issuer == *root.subject()
            && root.signs(list, [&parts.signature_algorithm, &tbs.signature], &parts.signature);
        let (claim, found) = if !signed || extensions.any(|extension| extension.critical) {
            ("collateral.amd.revocation", "one that the root did not sign, or of an unknown form".into())
        } else if !(from..=to).contains(&at) {
            ("collateral.amd.time", format!("one that is valid from {from} to {to}"))
        } else if revoked.any(|entry| entry.serial_number == *serial) {
            ("collateral.amd.revoked", "one that revokes it".into())
        } else {
            continue;
        };
        findings.add(
            claim,
            format_args!("valid lists of AMD's root without {}", line(&authority.subject().to_string())),
            found,
            "fetch the list of this product from AMD (kdsintf.amd.com); do not use a platform that it revokes",
        );
    }
}

fn words(versions: impl Iterator<Item = Option<u8>>) -> String {
    let words: Vec<_> = versions.map(|v| v.map_or_else(|| "none".into(), |v| v.to_string())).collect();
    words.join(".")
}

/// The product, and the certificates from `leaf` to its pinned root. Authorities that came as collateral are used
/// instead of those known here, and all of them have to hold: a forged one beside a true one is a sign of an attack.
fn chain(
    leaf: &Certificate,
    authorities: &[&Certificate],
    by: SignedBy,
    findings: &mut Findings,
) -> Option<(Product, [Certificate; 3])> {
    let mut known = Vec::new();
    for (product, pem) in PRODUCTS {
        // These are read in a test. If they could not be read, no chain would end here.
        let Ok(certificates) = Certificate::from_pem(pem.as_bytes()) else { continue };
        let Ok([ask, ark, asvk]) = <[Certificate; 3]>::try_from(certificates) else { continue };
        known.push((product, ark, [ask, asvk]));
    }
    for authority in authorities {
        let pinned = known.iter().any(|(_, ark, _)| ark.der == authority.der);
        let signed = || {
            known
                .iter()
                .any(|(_, ark, _)| authority.is_signed_by(ark) && authority.subject() != ark.subject())
        };
        if !pinned && !signed() {
            findings.add(
                "collateral.amd.authority",
                "AMD's roots for Milan, Genoa and Turin, and what they signed",
                line(&authority.subject().to_string()),
                "do not trust who sent this certificate: it is not AMD's",
            );
            return None;
        }
    }
    for (product, ark, intermediates) in known {
        let wanted = by.issuer(product);
        let own = intermediates.iter().filter(|_| authorities.is_empty());
        let mut candidates = own
            .chain(authorities.iter().copied())
            .filter(|c| common_name(c.subject()) == Some(&wanted) && c.subject() == leaf.issuer());
        let Some(intermediate) = candidates.next() else { continue };
        if !(intermediate.is_authority() && intermediate.is_signed_by(&ark) && ark.is_authority()) {
            findings.add(
                "collateral.amd.authority",
                format_args!("{wanted}, signed by AMD's root for {product}"),
                line(&intermediate.subject().to_string()),
                "do not trust who sent this certificate: it is not AMD's",
            );
            return None;
        }
        if !leaf.is_signed_by(intermediate) {
            findings.add(
                "collateral.amd.signature",
                format_args!("a certificate of {} signed by {wanted}", by.subject()),
                "a signature that does not verify",
                "the certificate was altered or forged: fetch it from AMD (kdsintf.amd.com)",
            );
            return None;
        }
        return Some((product, [leaf.clone(), intermediate.clone(), ark]));
    }
    findings.add(
        "collateral.amd.authority",
        format_args!(
            "an issuer that AMD's roots signed: {}",
            PRODUCTS.map(|(product, _)| by.issuer(product)).join(", ")
        ),
        line(&leaf.issuer().to_string()),
        "give the ASK or ASVK of this product, or none: those of Milan, Genoa and Turin are known",
    );
    None
}

#[cfg(test)]
mod tests;
