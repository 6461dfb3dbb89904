//! Training in the clear: the twin of the encrypted run
