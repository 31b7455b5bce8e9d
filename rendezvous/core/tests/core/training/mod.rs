//! Promises of training: who trains, when it starts again and at what cost, what is never forgotten.

mod causes;
mod checkpoints;
mod forming;
mod harness;
mod membership;
mod places;
mod recovery;
mod stages;
