//! Quotes of Intel SGX and TDX. Signatures, certificates and collateral: `dcap-qvl`; what the policy asks: here.

use dcap_qvl::quote::{EnclaveReport, Report, TDAttributes, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuotePolicy};

use super::evidence::IntelQuote;
use super::policy::{Enclave, IntelPlatform, SgxPolicy, TdxPolicy};
use super::text::{line, one_of};
use super::{Claims, Collateral, Findings, Platforms, Policy};

/// The flag of a debug enclave, in the first byte of its attributes.
const SGX_DEBUG: u8 = 0x02;
/// The flag of a TD under debug, in the first byte of its attributes.
const TD_DEBUG: u8 = 0x01;

/// Appraises a quote.
pub fn appraise(
    quote: &IntelQuote,
    collateral: &Collateral,
    policy: &Policy,
    at: u64,
    findings: &mut Findings,
) -> Claims {
    let (mut claims, platform) = match &quote.parts.report {
        Report::SgxEnclave(report) => {
            (sgx(report, policy.sgx.as_ref(), findings), policy.sgx.as_ref().map(|p| &p.platform))
        }
        Report::TD10(report) => {
            (tdx(report, policy.tdx.as_ref(), findings), policy.tdx.as_ref().map(|p| &p.platform))
        }
        Report::TD15(report) => {
            (tdx(&report.base, policy.tdx.as_ref(), findings), policy.tdx.as_ref().map(|p| &p.platform))
        }
        Report::TD15Ex(report) => {
            (tdx(&report.base.base, policy.tdx.as_ref(), findings), policy.tdx.as_ref().map(|p| &p.platform))
        }
    };
    if let Some(verified) = verify(quote, collateral, at, findings) {
        claims.verified = true;
        claims.tcb_status = Some(verified.tcb.status.to_string());
        if let Some(platform) = platform {
            platform_of(&verified, platform, findings);
        }
    }
    claims
}

/// Verifies signatures, certificates, revocation and collateral as of `at`.
fn verify(
    quote: &IntelQuote,
    collateral: &Collateral,
    at: u64,
    findings: &mut Findings,
) -> Option<QuoteClaims> {
    let Some(intel) = &collateral.intel else {
        findings.add(
            "collateral.intel",
            "TCB info, QE identity and revocation lists of Intel",
            "none",
            "fetch them for the platform's FMSPC, from Intel's or the cloud's provisioning service",
        );
        return None;
    };
    // The library's own policy would stop at the first fault and name no field: it is asked for the claims only.
    // Debug and service TDs it refuses by itself.
    let verified =
        QuoteVerifier::new_prod().verify_with_policy(&quote.raw, intel, at, &QuotePolicy::claims_only(at));
    match verified {
        Ok(claims) => {
            findings.require(
                at <= claims.earliest_expiration_date,
                "collateral.expiry",
                format_args!("collateral and certificates valid at {at}"),
                format_args!("expired after {}", claims.earliest_expiration_date),
                "fetch fresh collateral",
            );
            Some(claims)
        }
        Err(error) => {
            let message = line(&format!("{error:#}"));
            let (claim, advice) = kind_of(&message);
            findings.add(
                claim,
                format_args!("a quote whose signatures, certificates and collateral hold at {at}"),
                message,
                advice,
            );
            None
        }
    }
}

/// Which claim a message of the library is about, and what helps. A message that no line fits is about the quote.
fn kind_of(message: &str) -> (&'static str, &'static str) {
    const KINDS: [(&str, &str, &str); 11] = [
        ("Debug mode", "quote.debug", "have the software started without debugging"),
        ("TD profiling", "quote.debug", "have the guest started without profiling"),
        ("migration is enabled", "tdx.attributes", "have the guest started without migration"),
        ("service TD", "tdx.service_td", "have the guest started without service TDs"),
        ("SERVTD_EXT", "tdx.service_td", "have the guest started without service TDs"),
        ("in the future", "collateral.time", "check the clock: the collateral was issued after it"),
        ("xpired", "collateral.time", "fetch fresh collateral, or check the clock"),
        ("Revoked", "quote.revoked", "do not use this platform: Intel revoked its keys"),
        (
            "TCB level",
            "quote.tcb",
            "have the platform's firmware updated: Intel knows no such state, or too old a one",
        ),
        ("Fmspc mismatch", "collateral.platform", "fetch collateral for this platform's FMSPC"),
        (
            "TCB info in the collateral",
            "collateral.platform",
            "fetch collateral for this kind of environment",
        ),
    ];
    let found = KINDS.iter().find(|(part, ..)| message.contains(part));
    found.map_or(
        ("quote.verification", "ask for a new quote; if that fails too, do not trust who sends it"),
        |(_, claim, advice)| (claim, advice),
    )
}

fn no_section(tee: &str, findings: &mut Findings) {
    findings.add(
        &format!("policy.{tee}"),
        format_args!("a policy with a section [{tee}]"),
        "none: what it does not name is refused",
        "if such environments are to be trusted, describe them in the policy (blindsmith policy init)",
    );
}

fn sgx(report: &EnclaveReport, policy: Option<&SgxPolicy>, findings: &mut Findings) -> Claims {
    let attributes = report.attributes;
    findings.require(
        attributes[0] & SGX_DEBUG == 0,
        "sgx.attributes.debug",
        "debug off",
        "debug on: the host reads the enclave's memory",
        "have a production enclave started",
    );
    if let Some(policy) = policy {
        let known = policy.enclaves.iter().any(|enclave| match enclave {
            Enclave::Measured { mrenclave } => mrenclave.0 == report.mr_enclave,
            Enclave::Signed { mrsigner, product_id, minimum_svn } => {
                mrsigner.0 == report.mr_signer
                    && *product_id == report.isv_prod_id
                    && *minimum_svn <= report.isv_svn
            }
        });
        findings.require(
            known,
            "sgx.enclave",
            one_of(policy.enclaves.iter().map(|enclave| match enclave {
                Enclave::Measured { mrenclave } => format!("MRENCLAVE {mrenclave}"),
                Enclave::Signed { mrsigner, product_id, minimum_svn } => {
                    format!("MRSIGNER {mrsigner}, product {product_id}, version {minimum_svn} or later")
                }
            })),
            format_args!(
                "MRENCLAVE {}, MRSIGNER {}, product {}, version {}",
                hex::encode(report.mr_enclave),
                hex::encode(report.mr_signer),
                report.isv_prod_id,
                report.isv_svn
            ),
            "add the enclave to [[sgx.enclaves]] if you built it yourself and trust it",
        );
        masked("sgx.attributes", &attributes, &policy.attributes.0, &policy.attributes_mask.0, findings);
    } else {
        no_section("sgx", findings);
    }
    Claims {
        tee: "sgx",
        tcb_status: None,
        measurement: Some(hex::encode(report.mr_enclave)),
        report_data: Some(hex::encode(report.report_data)),
        verified: false,
    }
}

fn tdx(report: &TDReport10, policy: Option<&TdxPolicy>, findings: &mut Findings) -> Claims {
    findings.require(
        report.td_attributes[0] & TD_DEBUG == 0,
        "tdx.attributes.debug",
        "debug off",
        "debug on: the host reads the guest's memory",
        "have the guest started without debugging",
    );
    let migratable = TDAttributes::parse(report.td_attributes).is_ok_and(|a| a.sec.migratable);
    findings.require(
        !migratable,
        "tdx.attributes.migratable",
        "migration off",
        "migration on: a migration TD moves the guest's memory to other machines",
        "have the guest started without migration",
    );
    if let Some(policy) = policy {
        let rtmrs = [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3];
        let known = policy.guests.iter().any(|guest| {
            guest.mrtd.0 == report.mr_td
                && guest.rtmrs.map(|rtmr| rtmr.0) == rtmrs
                && guest.mrconfigid.0 == report.mr_config_id
                && guest.mrowner.0 == report.mr_owner
                && guest.mrownerconfig.0 == report.mr_owner_config
        });
        let words = |mrtd: &[u8], rtmrs: [[u8; 48]; 4], rest: [&[u8]; 3]| {
            format!(
                "MRTD {}, RTMRs {}, MRCONFIGID {}, MROWNER {}, MROWNERCONFIG {}",
                hex::encode(mrtd),
                rtmrs.map(hex::encode).join(" "),
                hex::encode(rest[0]),
                hex::encode(rest[1]),
                hex::encode(rest[2])
            )
        };
        findings.require(
            known,
            "tdx.guest",
            one_of(policy.guests.iter().map(|g| {
                words(&g.mrtd.0, g.rtmrs.map(|r| r.0), [&g.mrconfigid.0, &g.mrowner.0, &g.mrownerconfig.0])
            })),
            words(&report.mr_td, rtmrs, [&report.mr_config_id, &report.mr_owner, &report.mr_owner_config]),
            "add the guest to [[tdx.guests]] if you built its image yourself and trust it",
        );
        if let Some(modules) = &policy.mrseam {
            findings.require(
                modules.iter().any(|module| module.0 == report.mr_seam),
                "tdx.mrseam",
                one_of(modules),
                hex::encode(report.mr_seam),
                "add the TDX module to mrseam if you trust it",
            );
        }
        masked(
            "tdx.attributes",
            &report.td_attributes,
            &policy.attributes.0,
            &policy.attributes_mask.0,
            findings,
        );
    } else {
        no_section("tdx", findings);
    }
    Claims {
        tee: "tdx",
        tcb_status: None,
        measurement: Some(hex::encode(report.mr_td)),
        report_data: Some(hex::encode(report.report_data)),
        verified: false,
    }
}

fn masked(claim: &str, found: &[u8], expected: &[u8], mask: &[u8], findings: &mut Findings) {
    let equal =
        found.iter().zip(expected).zip(mask).all(|((found, expected), mask)| (found ^ expected) & mask == 0);
    findings.require(
        equal,
        claim,
        format_args!("{} where the mask {} has bits", hex::encode(expected), hex::encode(mask)),
        hex::encode(found),
        "start the software without the additional attributes, or change attributes and attributes_mask",
    );
}

fn platform_of(claims: &QuoteClaims, policy: &IntelPlatform, findings: &mut Findings) {
    let (tcb, pck) = (&claims.tcb, &claims.platform.pck);
    findings.require(
        policy.tcb_statuses.contains(&tcb.status),
        "platform.tcb_status",
        one_of(&policy.tcb_statuses),
        tcb.status,
        "have the platform's firmware and settings updated, or accept the status in tcb_statuses",
    );
    for advisory in tcb.advisory_ids.iter().filter(|open| !policy.advisories.contains(open)) {
        findings.add(
            "platform.advisories",
            if policy.advisories.is_empty() { "none open".into() } else { one_of(&policy.advisories) },
            line(advisory),
            "have the platform updated, or list the advisory in advisories once you know why it does not matter",
        );
    }
    findings.require(
        tcb.eval_data_number >= policy.minimum_evaluation_number,
        "collateral.evaluation_number",
        format_args!("{} or more", policy.minimum_evaluation_number),
        tcb.eval_data_number,
        "fetch newer collateral",
    );
    if let Platforms::Listed(machines) = &policy.machines {
        let instance = pck.platform_instance_id;
        let known = machines
            .iter()
            .any(|id| id.0[..] == pck.ppid[..] || instance.is_some_and(|instance| instance == id.0));
        findings.require(
            known,
            "platform.machine",
            one_of(machines),
            format_args!(
                "PPID {}, platform instance {}",
                hex::encode(&pck.ppid),
                instance.map_or_else(|| "none".into(), hex::encode)
            ),
            "add the machine to machines if you know who has hands on it",
        );
    }
    // Undefined: certificates of the processor CA, whose platforms have one package that was never registered.
    for (claim, flag, allowed, name) in [
        ("platform.dynamic_platform", pck.dynamic_platform, policy.dynamic_platform, "dynamic_platform"),
        ("platform.cached_keys", pck.cached_keys, policy.cached_keys, "cached_keys"),
        ("platform.smt", pck.smt_enabled, policy.smt, "smt"),
    ] {
        findings.require(
            allowed || flag != PckCertFlag::True,
            claim,
            "off",
            "on",
            format_args!("use a platform without it, or set {name} = true in the policy"),
        );
    }
}
