//! The warden: the trusted training loop
