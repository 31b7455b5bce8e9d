//! petctl-test-sim
