//! The same requests to Azurite and to this service: whatever petctl reads of an answer is the same. And petctl's own
//! way to blob storage on top of it.

#![cfg(test)]

mod blobs;
mod blocks;
mod conditions;
mod containers;
mod listings;
mod names;
mod ranges;
mod refusals;
mod scenario;
mod service;
mod stack;
mod told;
mod wire;
