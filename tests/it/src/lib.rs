//! petctl-test-it
