//! Walks through all orders in which attempts can take their steps, over the real code.
//!
//! Every system call of the folders' commit and every request of the blobs' is a step. The [walk](engine) holds each
//! attempt before each of its steps and goes through all orders, depth first. Three things keep that small and none of
//! them leaves a state out: of two steps that touch nothing in common only one order is gone (sleep sets); a state that
//! was seen is not walked again, where a state is all that is stored and all that each attempt has learnt; and a pause
//! for ever needs no step of its own, since whatever must hold must hold in every state.
//!
//! **In every state** what is there is judged ([`folder`], [`blob`]): what a reader finds is whole, nothing good is lost
//! or taken for damaged, nobody is told what is not so. And from every state that can be stored, as it is and after a
//! power cut, an attempt that comes afresh and fences must succeed.
//!
//! **Taken out.** Every protection is taken out once, and the walk must find what it was for.

mod actors;
mod blob;
mod engine;
mod folder;
