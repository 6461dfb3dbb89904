//! Tests of training, from elementary functions to whole rounds.

mod elementary;
mod gradients;
mod losses;
mod metrics;
mod naive;
mod networks;
mod optimisers;
mod products;
mod recipes;
mod rounds;
mod samplers;
