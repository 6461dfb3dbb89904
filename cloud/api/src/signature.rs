//! Requests that are signed (RFC 9421), in one fixed form: the same components, in the same order, with the same
//! parameters, so that there is nothing to negotiate and one way to write a request.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blindsmith_identity::{PublicKey, SigningKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// What tells these signatures from others of the same key.
pub const TAG: &str = "blindsmith-v1";
/// The query component of a request that has none.
pub const EMPTY_QUERY: &str = "?";
/// Under this label signature and parameters travel.
const LABEL: &str = "blindsmith=";
const COMPONENTS: &str = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
/// Longest header that is looked at, in bytes: the one form has less.
const MAX_FIELD: usize = 512;

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// `Signature-Input` in another form.
    #[error(
        "Signature-Input must be blindsmith={COMPONENTS};created=SECONDS;nonce=\"32 hexadecimal digits\";\
         keyid=\"64 hexadecimal digits\";alg=\"ed25519\";tag=\"{TAG}\", and nothing else"
    )]
    Input,
    /// `Signature` in another form.
    #[error("Signature must be blindsmith=:BASE64 OF 64 BYTES:, and nothing else")]
    Signature,
    /// `Content-Digest` in another form.
    #[error("Content-Digest must be sha-256=:BASE64 OF 32 BYTES:, and nothing else")]
    Digest,
    /// Another request was signed, or by another key.
    #[error(
        "the signature does not fit the request: method, authority, path, query and content digest must be those \
         signed, and keyid the signing key's public half"
    )]
    Wrong,
}

/// The components of a request that its signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// In capitals, such as `GET`.
    pub method: &'a str,
    /// Host, and port if not the scheme's own, in small letters; see [`authority`].
    pub authority: &'a str,
    /// The path, as sent.
    pub path: &'a str,
    /// The query with its question mark; [`EMPTY_QUERY`] if there is none.
    pub query: &'a str,
    /// The value of `Content-Digest`; see [`content_digest`].
    pub digest: &'a str,
}

/// The parameters of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// When it was made, in seconds since 1970 (UTC).
    pub created: u64,
    /// Never used before by this key.
    pub nonce: [u8; 16],
    /// Who signed.
    pub key: PublicKey,
}

/// A signature as it came, before it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Its parameters.
    pub parameters: Parameters,
    signature: [u8; 64],
}

/// The headers of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeaders {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// The authority of a host and a port as it is signed: in small letters, without the scheme's own port.
pub fn authority(host: &str, https: bool) -> String {
    let host = host.to_ascii_lowercase();
    let port = if https { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(&host).to_owned()
}

/// The value of `Content-Digest` (RFC 9530) of a body, which may be empty.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// The SHA-256 in a `Content-Digest`.
///
/// # Errors
/// [`SignatureError::Digest`] if it is not one such digest in the one form.
pub fn parse_content_digest(value: &str) -> Result<[u8; 32], SignatureError> {
    byte_sequence(value, "sha-256=").ok_or(SignatureError::Digest)
}

/// The bytes of `PREFIX:BASE64:`, if there are so many.
fn byte_sequence<const N: usize>(value: &str, prefix: &str) -> Option<[u8; N]> {
    if value.len() > MAX_FIELD {
        return None;
    }
    let text = value.strip_prefix(prefix)?.strip_prefix(':')?.strip_suffix(':')?;
    // The standard engine takes canonical encodings alone.
    STANDARD.decode(text).ok()?.try_into().ok()
}

impl Parameters {
    fn text(&self) -> String {
        let mut text = format!("{COMPONENTS};created={};nonce=\"", self.created);
        self.nonce.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        _ = write!(text, "\";keyid=\"{}\";alg=\"ed25519\";tag=\"{TAG}\"", self.key);
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(COMPONENTS)?.strip_prefix(";created=")?;
        let (created, rest) = rest.split_once(";nonce=\"")?;
        let (nonce, rest) = rest.split_once("\";keyid=\"")?;
        let (key, _) = rest.split_once('"')?;
        if nonce.len() != 32 || !nonce.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, digits) in bytes.iter_mut().zip(nonce.as_bytes().as_chunks::<2>().0) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let parsed = Parameters { created: created.parse().ok()?, nonce: bytes, key: key.parse().ok()? };
        // One way to write it: whatever was read otherwise is not it.
        (parsed.text() == text).then_some(parsed)
    }

    /// The signature base (RFC 9421, section 2.5): the bytes that are signed.
    pub fn base(&self, request: &Request<'_>) -> String {
        let Request { method, authority, path, query, digest } = request;
        format!(
            "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": {query}\n\
             \"content-digest\": {digest}\n\"@signature-params\": {}",
            self.text()
        )
    }
}

/// Signs a request; `created` is in seconds since 1970, and no two requests of a key have the same `nonce`.
pub fn sign(request: &Request<'_>, created: u64, nonce: [u8; 16], key: &SigningKey) -> SignedHeaders {
    let parameters = Parameters { created, nonce, key: key.verifying() };
    let signature = key.sign(parameters.base(request).as_bytes());
    SignedHeaders {
        content_digest: request.digest.to_owned(),
        signature_input: format!("{LABEL}{}", parameters.text()),
        signature: format!("{LABEL}:{}:", STANDARD.encode(signature)),
    }
}

impl Signed {
    /// Reads the values of `Signature-Input` and `Signature`.
    ///
    /// # Errors
    /// [`SignatureError`] if they are not in the one form.
    pub fn parse(input: &str, signature: &str) -> Result<Self, SignatureError> {
        if input.len() > MAX_FIELD {
            return Err(SignatureError::Input);
        }
        let parameters =
            input.strip_prefix(LABEL).and_then(Parameters::parse).ok_or(SignatureError::Input)?;
        let signature = byte_sequence(signature, LABEL).ok_or(SignatureError::Signature)?;
        Ok(Signed { parameters, signature })
    }

    /// Verifies that the key in the parameters signed this request.
    ///
    /// # Errors
    /// [`SignatureError::Wrong`] if it did not.
    pub fn verify(&self, request: &Request<'_>) -> Result<(), SignatureError> {
        let base = self.parameters.base(request);
        let fits = self.parameters.key.verifies(base.as_bytes(), &self.signature);
        if fits { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}
