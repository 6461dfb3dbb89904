//! Secrets, encryption and opening
