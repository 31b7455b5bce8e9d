//! Every call shows a token, and each token opens what it is for.

use super::incoming::Peer;
use super::status::refused;
use crate::worker_token::{is_one, verified};
use petctl_codes::Code;
use petctl_core::Hello;
use petctl_proto::TOKEN_METADATA_KEY;
use petctl_text::Secret;
use std::sync::Arc;
use tonic::service::Interceptor;
use tonic::{Request, Status};

const SCHEME: &[u8] = b"Bearer ";

/// Refuses calls without a token of the coordinator, and says of the others whose it is.
#[derive(Clone, Debug)]
pub(super) struct Auth {
    token: Secret,
    /// Nothing of the service is for workers.
    clients_only: bool,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Whoever has the coordinator's own token: it opens everything.
    Client,
    /// A worker of the job of this name, and of nothing else.
    Worker(Arc<str>),
}

impl Auth {
    pub(super) fn new(token: Secret) -> Self {
        Self {
            token,
            clients_only: false,
        }
    }

    /// For a service of which no worker needs anything.
    pub(super) fn for_clients(&self) -> Self {
        Self {
            clients_only: true,
            ..self.clone()
        }
    }

    fn caller(&self, shown: &[u8]) -> Result<Caller, Status> {
        if self.token.matches(shown) {
            return Ok(Caller::Client);
        }
        if let Some(job) = verified(&self.token, shown) {
            return Ok(Caller::Worker(job.into()));
        }
        let sentence = if is_one(shown) {
            "the worker's token is not of this coordinator, or the coordinator's own token is another one since; make a \
             new one (`petctl token --job JOB`), and look whether this is the coordinator you mean"
        } else {
            "the token is not this coordinator's; give the one in the file `token` of its state folder (--token-file, or \
             PETCTL_TOKEN_FILE), and look whether this is the coordinator you mean"
        };
        Err(refused(
            Code::TokenWrong,
            tonic::Code::Unauthenticated,
            sentence,
        ))
    }
}

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = request.extensions().get::<Peer>();
        if peer.is_none_or(|peer| peer.unsafe_wire) {
            return Err(refused(
                Code::TlsRequired,
                tonic::Code::FailedPrecondition,
                "this coordinator speaks TLS, and was called in plain text; write https:// and give its CA (--ca-file, \
                 or PETCTL_CA_FILE): tls/ca.pem in its state folder; others may have read the token that was shown",
            ));
        }
        let Some(shown) = request.metadata().get(TOKEN_METADATA_KEY) else {
            return Err(refused(
                Code::TokenMissing,
                tonic::Code::Unauthenticated,
                "the call shows no token; give the one in the file `token` of the coordinator's state \
                 folder (--token-file, or PETCTL_TOKEN_FILE)",
            ));
        };
        let shown = shown.as_bytes().strip_prefix(SCHEME).unwrap_or_default();
        let caller = self.caller(shown)?;
        if self.clients_only {
            caller.must_be_client()?;
        }
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

impl Caller {
    /// Who made this call.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let known = request.extensions().get::<Self>().cloned();
        // Every service is behind the interceptor.
        known.ok_or_else(|| {
            let what = "a call that nobody has looked at; please report it";
            refused(Code::CoordinatorBug, tonic::Code::Internal, what)
        })
    }

    /// Refuses workers.
    pub(super) fn must_be_client(&self) -> Result<(), Status> {
        match self {
            Self::Client => Ok(()),
            Self::Worker(job) => Err(refused(
                Code::TokenOfWorker,
                tonic::Code::PermissionDenied,
                format!(
                    "the token is that of workers of job `{job}`, and good for nothing else; give the coordinator's own: \
                     the file `token` of its state folder"
                ),
            )),
        }
    }

    /// Refuses a worker that wants to serve something else than what its token is for.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), Status> {
        let Self::Worker(job) = self else {
            return Ok(());
        };
        let not_its = |what: &str| {
            let what = format!("the token is that of workers of job `{job}`; {what}");
            refused(Code::TokenOfOtherJob, tonic::Code::PermissionDenied, what)
        };
        if hello.job != **job {
            return Err(not_its(
                "start this one with `--job` of that name, or make a token of its job (`petctl token --job JOB`)",
            ));
        }
        if hello.local_stages {
            return Err(not_its(
                "stages that run beside `petctl run` take the coordinator's own token",
            ));
        }
        Ok(())
    }
}
