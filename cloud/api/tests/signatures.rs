//! Signatures of requests against a vector made with OpenSSL, and every change of one.

use blindsmith_api::{
    EMPTY_QUERY, Parameters, Request, SignatureError, Signed, authority, content_digest,
    parse_content_digest, sign,
};
use blindsmith_identity::SigningKey;

const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const DIGEST: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
const SIGNATURE: &str =
    "16KHQP4tsL+Ha3v2PdUHiBOusml9sAc4S8LtRQsUa2vd0lLTkXVwVHCasrk3/2QfrKRE0kgHp7DUMBouK2GKCA==";
const CREATED: u64 = 1_700_000_000;
const NONCE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn request() -> Request<'static> {
    Request {
        method: "PATCH",
        authority: "refinery.example:8443",
        path: "/v1/projects/ab/uploads/cd",
        query: "?offset=4096",
        digest: DIGEST,
    }
}

fn input() -> String {
    format!(
        "blindsmith=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\");created={CREATED};\
         nonce=\"000102030405060708090a0b0c0d0e0f\";keyid=\"{PUBLIC}\";alg=\"ed25519\";tag=\"blindsmith-v1\""
    )
}

#[test]
fn the_signature_is_what_another_implementation_makes() {
    assert_eq!(content_digest(b"hello"), DIGEST);
    let signed = sign(&request(), CREATED, NONCE, &key());
    assert_eq!(signed.signature_input, input());
    assert_eq!(signed.signature, format!("blindsmith=:{SIGNATURE}:"));
    assert_eq!(signed.content_digest, DIGEST);
    let parsed = Signed::parse(&signed.signature_input, &signed.signature).unwrap();
    assert_eq!(parsed.parameters, Parameters { created: CREATED, nonce: NONCE, key: key().verifying() });
    assert_eq!(parsed.verify(&request()), Ok(()));
}

#[test]
fn the_base_is_that_of_the_standard() {
    let parameters = Parameters { created: CREATED, nonce: NONCE, key: key().verifying() };
    let expected = format!(
        "\"@method\": PATCH\n\"@authority\": refinery.example:8443\n\"@path\": /v1/projects/ab/uploads/cd\n\
         \"@query\": ?offset=4096\n\"content-digest\": {DIGEST}\n\"@signature-params\": {}",
        input().strip_prefix("blindsmith=").unwrap()
    );
    assert_eq!(parameters.base(&request()), expected);
}

#[test]
fn a_change_of_any_component_is_refused() {
    let headers = sign(&request(), CREATED, NONCE, &key());
    let signed = Signed::parse(&headers.signature_input, &headers.signature).unwrap();
    let other = content_digest(b"other");
    for changed in [
        Request { method: "POST", ..request() },
        Request { authority: "refinery.example", ..request() },
        Request { path: "/v1/projects/ab/uploads/ce", ..request() },
        Request { query: "?offset=4097", ..request() },
        Request { query: EMPTY_QUERY, ..request() },
        Request { digest: &other, ..request() },
    ] {
        assert_eq!(signed.verify(&changed), Err(SignatureError::Wrong), "{changed:?}");
    }
}

#[test]
fn a_change_of_any_parameter_is_refused() {
    let other = SigningKey::from_seed(&[8; 32]).verifying().to_string();
    for (from, to) in
        [("created=1700000000", "created=1700000001"), ("0c0d0e0f", "0c0d0e0e"), (PUBLIC, &other)]
    {
        let changed = input().replace(from, to);
        let signed = Signed::parse(&changed, &format!("blindsmith=:{SIGNATURE}:")).unwrap();
        assert_eq!(signed.verify(&request()), Err(SignatureError::Wrong), "{changed}");
    }
}

#[test]
fn another_way_to_write_the_parameters_is_refused() {
    let (good, upper) = (input(), PUBLIC.to_uppercase());
    for changed in [
        good.replace("blindsmith=", "sig1="),
        good.replace(" \"@query\"", ""),
        good.replace("\"@path\" \"@query\"", "\"@query\" \"@path\""),
        good.replace("created=", "created=0"),
        good.replace("created=", "created=+"),
        good.replace("created=1700000000", "created=17000000000000000000000"),
        good.replace("0a0b", "0A0B"),
        good.replace("000102", "0102"),
        good.replace(PUBLIC, &upper),
        good.replace("ed25519", "hmac-sha256"),
        good.replace("blindsmith-v1", "blindsmith-v2"),
        good.replace(";alg", "; alg"),
        format!("{good};expires=1800000000"),
        format!("{good}, {good}"),
        String::new(),
    ] {
        let parsed = Signed::parse(&changed, &format!("blindsmith=:{SIGNATURE}:"));
        assert_eq!(parsed, Err(SignatureError::Input), "{changed}");
    }
}

#[test]
fn malformed_signatures_and_digests_are_refused() {
    let short = &SIGNATURE[4..];
    for bad in [
        SIGNATURE.to_owned(),
        format!("blindsmith={SIGNATURE}"),
        format!("blindsmith=:{short}:"),
        format!("blindsmith=:{SIGNATURE}=:"),
        format!("blindsmith=:{SIGNATURE}:;a=1"),
        "blindsmith=::".to_owned(),
    ] {
        assert_eq!(Signed::parse(&input(), &bad), Err(SignatureError::Signature), "{bad}");
    }
    for bad in [
        "",
        "sha-256=",
        "sha-256=::",
        "sha-512=:AAAA:",
        &format!("{DIGEST}, {DIGEST}"),
        &DIGEST.replace(":", ""),
    ] {
        assert_eq!(parse_content_digest(bad), Err(SignatureError::Digest), "{bad}");
    }
    assert!(parse_content_digest(DIGEST).is_ok());
}

#[test]
fn the_schemes_own_port_is_left_out() {
    assert_eq!(authority("Refinery.Example:443", true), "refinery.example");
    assert_eq!(authority("refinery.example:80", true), "refinery.example:80");
    assert_eq!(authority("refinery.example:80", false), "refinery.example");
    assert_eq!(authority("refinery.example:8443", false), "refinery.example:8443");
}
