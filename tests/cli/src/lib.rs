//! petctl-test-cli
