//! Tiles, scales and encrypted matrices: public material only
