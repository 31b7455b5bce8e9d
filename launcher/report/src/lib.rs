//! What is said of jobs and their results: JSON for programs ([`model`]) and CSV for spreadsheets ([`csv`]), tables and
//! the end of a run for people ([`shards`], [`summary`]), what a submission reuses ([`reuse`]), and the command that runs
//! one shard again ([`reproduce`]).

pub mod csv;
pub mod model;
pub mod reproduce;
pub mod reuse;
pub mod shards;
pub mod summary;
