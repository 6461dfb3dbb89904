//! The refinery: the untrusted store and accelerator
