//! petctl-worker
