//! Calls that were refused, by the code of the refusal.

use super::counts::Tally;
use petctl_core::Code;
use petctl_proto::Refusal;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;
use tonic::codegen::http::Response;

/// Counted where answers leave the server, whoever refused.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Tally>>);

impl Refusals {
    /// Counts an answer that is a refusal of petctl's, and hands it on. A stream that ends later is no refused call.
    pub fn counted<B>(&self, answer: Response<B>) -> Response<B> {
        if let Some(status) = Status::from_header_map(answer.headers())
            && let Some(code) = Refusal::of(&status).and_then(|refusal| refusal.known())
        {
            self.add(code);
        }
        answer
    }

    fn add(&self, code: Code) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(code.as_str());
    }

    pub(super) fn tally(&self) -> Tally {
        let tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.clone()
    }
}
