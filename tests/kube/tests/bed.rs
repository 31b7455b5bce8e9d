//! Tests of the bed itself.
