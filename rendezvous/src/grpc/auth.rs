//! Every call shows a token.

use super::status::refused;
use petctl_codes::Code;
use petctl_proto::TOKEN_METADATA_KEY;
use petctl_text::Secret;
use tonic::service::Interceptor;
use tonic::{Request, Status};

const SCHEME: &[u8] = b"Bearer ";

/// Refuses calls without the coordinator's token.
#[derive(Clone, Debug)]
pub(super) struct Auth {
    token: Secret,
}

impl Auth {
    pub(super) fn new(token: Secret) -> Self {
        Self { token }
    }
}

impl Interceptor for Auth {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(shown) = request.metadata().get(TOKEN_METADATA_KEY) else {
            return Err(refused(
                Code::TokenMissing,
                tonic::Code::Unauthenticated,
                "the call shows no token; give the one in the file `token` of the coordinator's state \
                 folder (--token-file, or PETCTL_TOKEN_FILE)",
            ));
        };
        let right = shown
            .as_bytes()
            .strip_prefix(SCHEME)
            .is_some_and(|token| self.token.matches(token));
        if right {
            return Ok(request);
        }
        Err(refused(
            Code::TokenWrong,
            tonic::Code::Unauthenticated,
            "the token is not this coordinator's; give the one in the file `token` of its state folder \
             (--token-file, or PETCTL_TOKEN_FILE), and look whether this is the coordinator you mean",
        ))
    }
}
