//! Appraisal of a warden's evidence
