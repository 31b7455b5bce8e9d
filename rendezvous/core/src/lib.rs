//! petctl-core
