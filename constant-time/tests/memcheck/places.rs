//! Where a jump may depend on secrets: what it decides is meant to be public. One line of source each; a report from
//! any other line fails the test.

/// A line of source.
pub struct Place {
    /// The file; of an external crate without its version.
    pub file: &'static str,
    /// What the line holds; of ours no other line of the file does.
    pub line: &'static str,
    /// Why its outcome may be seen.
    pub why: &'static str,
}

pub const PLACES: [Place; 11] = [
    Place {
        file: "tcb/ring/src/sample.rs",
        line: "if backend::active().is_canonical(out) {",
        why: "masks are public, their seed comes from a secret key; of secret scalars it shows how many candidates \
              were refused, which says nothing of those that were not",
    },
    Place {
        file: "tcb/keys/src/check.rs",
        line: "match bool::from(sum.ct_eq(&expected)) {",
        why: "whether a product is the right one: once for all of it, after all was looked at",
    },
    Place {
        file: "tcb/learn/src/loss.rs",
        line: "if (loss == Loss::MeanSquaredError) | !weights_in_range(class_weights) {",
        why: "a recipe is refused",
    },
    Place {
        file: "tcb/learn/src/loss.rs",
        line: "if bad == 0 { Ok(()) }",
        why: "labels are refused: once for all rows, after all were looked at",
    },
    Place { file: "tcb/learn/src/trainer.rs", line: "if !loss.is_finite() {", why: "training diverged" },
    Place {
        file: "tcb/learn/src/trainer.rs",
        line: "if !(squares as f32).is_finite() {",
        why: "training diverged",
    },
    Place {
        file: "tcb/learn/src/activation.rs",
        line: "_ => z.is_finite().then_some(z),",
        why: "training diverged: weights that are not finite bound nothing",
    },
    Place {
        file: "aes-gcm/src/lib.rs",
        line: "if expected_tag[..TagSize::to_usize()].ct_eq(tag).into() {",
        why: "whether a sealed message opens; the comparison itself takes constant time",
    },
    Place {
        file: "aead/src/lib.rs",
        line: "self.decrypt_inout_detached(nonce, associated_data, msg.into(), &tag)?;",
        why: "the same, handed on",
    },
    Place { file: "hpke/src/aead.rs", line: "if decrypt_res.is_err() {", why: "the same, handed on" },
    Place {
        file: "hpke/src/dhkex/x25519.rs",
        line: "if res.as_bytes().ct_eq(&[0u8; 32]).into() {",
        why: "whether a release came under a point of small order, which RFC 9180 (7.1.4) has refused",
    },
];
