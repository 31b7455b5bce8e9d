//! Process tests: faults and bad input, against the real program.

#![cfg(test)]

mod blob;
mod commands;
mod coordinator;
mod everything;
mod example;
mod homes;
mod killed;
mod leftovers;
mod liars;
mod network;
mod nonsense;
mod observed;
mod places;
mod scaling;
mod shipped;
mod stages;
mod storm;
mod submissions;
mod tenure;
mod tokens;
mod torchrun;
mod training;
mod wire;
mod workers;
