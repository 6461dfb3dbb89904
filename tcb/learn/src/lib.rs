//! Layers, losses, optimisers and metrics in plain floating point
