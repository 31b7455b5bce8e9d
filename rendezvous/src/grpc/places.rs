//! PlaceService: where workers run, and the code that they bring there.

use super::auth::Caller;
use super::bounds::{MAX_PLACE_BYTES, WAITING_PAGES};
use super::decode::line;
use super::jobs::Parts;
use super::server::Server;
use super::status::{bad, refused, status_of};
use crate::driver::View;
use crate::folder::{NewArchive, NotKept, is_digest};
use petctl_codes::Code;
use petctl_proto::v1;
use petctl_proto::v1::place_service_server::PlaceService;
use std::collections::BTreeSet;
use std::io::Read;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of an archive in one message.
const PIECE: usize = 256 * 1024;

pub(super) struct Places {
    server: Server,
}

impl Places {
    pub(super) fn new(server: Server) -> Self {
        Self { server }
    }

    /// Whether a job's commands run in this code.
    async fn is_code_of(&self, job: &str, digest: &str) -> Result<bool, Status> {
        let (job, digest) = (job.to_owned(), digest.to_owned());
        let named = move |view: &View<'_>| {
            let mut jobs = view.core.state().jobs.values();
            jobs.any(|known| {
                let folder = known.spec.folder.rsplit('/').next();
                known.spec.name == job && folder == Some(digest.as_str())
            })
        };
        Ok(self.server.client.query(named).await?)
    }

    /// Archives that jobs name which have not ended: commands run in a folder that bears the digest.
    async fn needed(&self) -> Result<BTreeSet<String>, Status> {
        let folders = |view: &View<'_>| {
            let jobs = view.core.state().jobs.values();
            let open = jobs.filter(|job| job.end.is_none());
            let names = open.filter_map(|job| job.spec.folder.rsplit('/').next());
            names.map(str::to_owned).collect()
        };
        Ok(self.server.client.query(folders).await?)
    }
}

#[tonic::async_trait]
impl PlaceService for Places {
    type FetchCodeStream = Parts<v1::FetchCodeResponse>;

    async fn use_place(
        &self,
        request: Request<v1::UsePlaceRequest>,
    ) -> Result<Response<v1::UsePlaceResponse>, Status> {
        Caller::of(&request)?.must_be_client()?;
        let v1::UsePlaceRequest { job, place_json } = request.into_inner();
        line("job", &job)?;
        if place_json.len() > MAX_PLACE_BYTES {
            let why = format!("a place has at most {MAX_PLACE_BYTES} bytes");
            return Err(bad(Code::BadMessage, why));
        }
        let Some(keeper) = &self.server.keeper else {
            return Err(refused(
                Code::NoPlace,
                tonic::Code::FailedPrecondition,
                "this coordinator starts no workers: it was not installed into a cluster by `petctl setup`",
            ));
        };
        let kept = keeper.use_place(&job, &place_json).await;
        kept.map_err(|refusal| status_of(&refusal))?;
        Ok(Response::new(v1::UsePlaceResponse {}))
    }

    async fn has_code(
        &self,
        request: Request<v1::HasCodeRequest>,
    ) -> Result<Response<v1::HasCodeResponse>, Status> {
        Caller::of(&request)?.must_be_client()?;
        let digest = digest(request.into_inner().digest)?;
        let there = self.server.code.has(&digest);
        Ok(Response::new(v1::HasCodeResponse { there }))
    }

    async fn send_code(
        &self,
        request: Request<Streaming<v1::SendCodeRequest>>,
    ) -> Result<Response<v1::SendCodeResponse>, Status> {
        Caller::of(&request)?.must_be_client()?;
        let mut parts = request.into_inner();
        let Some(first) = parts.message().await? else {
            return Err(bad(Code::BadMessage, "an archive begins with its digest"));
        };
        let digest = digest(first.digest)?;
        if self.server.code.has(&digest) {
            return Ok(Response::new(v1::SendCodeResponse {}));
        }
        let mut archive = self
            .server
            .code
            .begin(&digest)
            .map_err(|e| kept(&e.into()))?;
        archive = write(archive, first.data).await?;
        while let Some(part) = parts.message().await? {
            archive = write(archive, part.data).await?;
        }
        let needed = self.needed().await?;
        let folder = self.server.code.clone();
        let done = tokio::task::spawn_blocking(move || {
            archive.keep()?;
            Ok::<_, NotKept>(folder.prune(&needed)?)
        });
        done.await.map_err(|_| panicked())?.map_err(|e| kept(&e))?;
        Ok(Response::new(v1::SendCodeResponse {}))
    }

    async fn fetch_code(
        &self,
        request: Request<v1::FetchCodeRequest>,
    ) -> Result<Response<Self::FetchCodeStream>, Status> {
        let caller = Caller::of(&request)?;
        let digest = digest(request.into_inner().digest)?;
        if let Caller::Worker(job) = &caller
            && !self.is_code_of(job, &digest).await?
        {
            let what = format!(
                "a worker's token of job `{job}` was shown for code that is not that job's"
            );
            return Err(refused(
                Code::TokenOfOtherJob,
                tonic::Code::PermissionDenied,
                what,
            ));
        }
        let mut file = self.server.code.open(&digest).map_err(|error| {
            let what =
                format!("the code {digest} is not here ({error}); run the job again to send it");
            refused(Code::NoCode, tonic::Code::NotFound, what)
        })?;
        let (parts, receiver) = mpsc::channel(WAITING_PAGES);
        self.server.tasks.spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            loop {
                let part = match file.read(&mut piece) {
                    Ok(0) => return,
                    Ok(read) => Ok(v1::FetchCodeResponse {
                        data: piece.get(..read).unwrap_or_default().to_vec(),
                    }),
                    Err(error) => Err(kept(&error.into())),
                };
                let failed = part.is_err();
                if parts.blocking_send(part).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A slow disk holds up nobody else.
async fn write(mut archive: NewArchive, data: Vec<u8>) -> Result<NewArchive, Status> {
    let written = tokio::task::spawn_blocking(move || archive.write(&data).map(|()| archive));
    written.await.map_err(|_| panicked())?.map_err(|e| kept(&e))
}

fn digest(text: String) -> Result<String, Status> {
    if is_digest(&text) {
        return Ok(text);
    }
    Err(bad(
        Code::BadMessage,
        "an archive is named by its SHA-256: 64 hex digits",
    ))
}

fn kept(error: &NotKept) -> Status {
    let code = match error {
        NotKept::TooLarge => tonic::Code::ResourceExhausted,
        NotKept::Other(_) => tonic::Code::DataLoss,
        NotKept::System(_) => tonic::Code::Unavailable,
    };
    refused(Code::CodeNotKept, code, error)
}

fn panicked() -> Status {
    let what = "keeping an archive panicked; please report it";
    refused(Code::CoordinatorBug, tonic::Code::Internal, what)
}
