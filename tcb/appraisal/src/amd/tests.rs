//! The roots that are pinned, and lists of what a root revoked.

use std::time::Duration;

use der::Encode;
use der::asn1::{OctetString, UtcTime};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PSS_SHA384;
use x509_cert::certificate::Version;
use x509_cert::crl::{RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::*;

#[test]
fn the_pinned_roots_are_those_of_amd_and_sign_what_lies_beside_them() {
    // SHA-256 of the DER, as other verifiers pin them.
    let roots = [
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
    ];
    for ((product, pem), digest_of_root) in PRODUCTS.into_iter().zip(roots) {
        let certificates = Certificate::from_pem(pem.as_bytes()).unwrap();
        let [ask, ark, asvk] = <[Certificate; 3]>::try_from(certificates).unwrap();
        assert_eq!(hex::encode(digest(&SHA256, &ark.der)), digest_of_root, "{product}");
        assert!(ark.is_signed_by(&ark), "{product}");
        for intermediate in [&ask, &asvk] {
            assert!(intermediate.is_signed_by(&ark) && intermediate.is_authority(), "{product}");
        }
    }
}

const NOW: u64 = 1_800_000_000;

fn time(seconds: u64) -> Time {
    Time::UtcTime(UtcTime::from_unix_duration(Duration::from_secs(seconds)).unwrap())
}

/// A root of these tests, and an authority that it signed.
fn chain_of_the_tests() -> [Certificate; 3] {
    let [root, authority] = [
        include_bytes!("../../tests/revocation/root.der").as_slice(),
        include_bytes!("../../tests/revocation/authority.der"),
    ]
    .map(|der| Certificate::from_der(der).unwrap());
    assert!(root.is_signed_by(&root) && authority.is_signed_by(&root));
    [authority.clone(), authority, root]
}

/// A sound list of the root, changed by `change`, then signed by it.
fn list(change: impl Fn(&mut TbsCertList)) -> Vec<u8> {
    let [_, _, root] = chain_of_the_tests();
    let mut tbs = TbsCertList {
        version: Version::V2,
        signature: root.parts.signature_algorithm().clone(),
        issuer: root.subject().clone(),
        this_update: time(NOW - 10),
        next_update: Some(time(NOW + 10)),
        revoked_certificates: None,
        crl_extensions: None,
    };
    change(&mut tbs);
    let signed = tbs.to_der().unwrap();
    let key = KeyPair::from_der(include_bytes!("../../tests/revocation/root-key.der")).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &signed, &mut signature).unwrap();
    let parts = CertificateList {
        signature_algorithm: root.parts.signature_algorithm().clone(),
        tbs_cert_list: tbs,
        signature: BitString::from_bytes(&signature).unwrap(),
    };
    parts.to_der().unwrap()
}

fn revoked(serial: &[u8]) -> RevokedCert {
    RevokedCert {
        serial_number: SerialNumber::new(serial).unwrap(),
        revocation_date: time(NOW - 20),
        crl_entry_extensions: None,
    }
}

fn critical() -> Vec<Extension> {
    // Of an issuing distribution point: such a list may be about some certificates alone.
    let extn_id = ObjectIdentifier::new_unwrap("2.5.29.28");
    vec![Extension { extn_id, critical: true, extn_value: OctetString::new(vec![0x30, 0]).unwrap() }]
}

/// What is refused of lists, by its claim.
fn refused(lists: &[Vec<u8>]) -> Vec<String> {
    let mut collateral = Collateral::default();
    lists.iter().for_each(|list| collateral.add(list).unwrap());
    assert_eq!((collateral.lists.len(), collateral.certificates.len()), (lists.len(), 0));
    let mut findings = Findings::default();
    revocation(&collateral.lists, &chain_of_the_tests(), NOW, &mut findings);
    findings.refusals.into_iter().map(|refusal| refusal.claim).collect()
}

#[test]
fn lists_that_revoke_something_else_refuse_nothing() {
    let other = list(|tbs| tbs.revoked_certificates = Some(vec![revoked(&[1, 0, 2]), revoked(&[1])]));
    assert_eq!(refused(&[list(|_| {}), other]), [""; 0]);
}

#[test]
fn attack_an_authority_that_amd_revoked() {
    let authority = [1, 0, 1];
    let revoking = list(|tbs| tbs.revoked_certificates = Some(vec![revoked(&[9]), revoked(&authority)]));
    assert_eq!(refused(std::slice::from_ref(&revoking)), ["collateral.amd.revoked"]);
    assert_eq!(
        refused(&[list(|_| {}), revoking]),
        ["collateral.amd.revoked"],
        "the other list says nothing of it"
    );
}

#[test]
fn attack_lists_that_the_root_did_not_issue_or_that_are_over() {
    let foreign = |change: fn(&mut TbsCertList)| {
        // A signature over something else.
        let mut list = list(change);
        *list.last_mut().unwrap() ^= 1;
        list
    };
    let revocation = "collateral.amd.revocation";
    for (defect, list, claim) in [
        ("the signature", foreign(|_| {}), revocation),
        (
            "the signature of a list that revokes",
            foreign(|tbs| tbs.revoked_certificates = Some(vec![])),
            revocation,
        ),
        ("the issuer", list(|tbs| tbs.issuer = chain_of_the_tests()[1].subject().clone()), revocation),
        ("the algorithm", list(|tbs| tbs.signature.parameters = None), revocation),
        ("a critical extension", list(|tbs| tbs.crl_extensions = Some(critical())), revocation),
        (
            "a critical extension of an entry",
            list(|tbs| {
                let entry = RevokedCert { crl_entry_extensions: Some(critical()), ..revoked(&[7]) };
                tbs.revoked_certificates = Some(vec![entry]);
            }),
            revocation,
        ),
        ("it is over", list(|tbs| tbs.next_update = Some(time(NOW - 1))), "collateral.amd.time"),
        ("it is not yet valid", list(|tbs| tbs.this_update = time(NOW + 1)), "collateral.amd.time"),
        ("it has no end", list(|tbs| tbs.next_update = None), "collateral.amd.time"),
    ] {
        assert_eq!(refused(&[list]), [claim], "{defect}");
    }
}
