//! Both kinds of store against one table of promises, and blob stores against a real Azurite and its refusals.

#![cfg(test)]

mod azurite;
mod commit;
mod contract;
mod docs;
mod faults;
mod refusals;
mod service;
mod transfer;
