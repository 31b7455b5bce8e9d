//! petctl
