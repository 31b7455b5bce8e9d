//! petctl-rendezvous
