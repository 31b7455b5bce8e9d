//! What a worker has for jobs in blob storage: threads, a scratch folder, the stager. Made when the first such job comes.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use petctl_codes::Code;
use petctl_proto::v1::Assignment;
use petctl_spec::JobSpec;
use petctl_transfer::Tuning;
use tokio::runtime::{Handle, Runtime};

use crate::job::RemoteJob;
use crate::problem::Problem;
use crate::scratch::Scratch;
use crate::stager::Stager;

/// Bytes that are kept staged where the job file does not say.
const STAGE_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// Threads that move data. They are not the agent's, so that nothing delays its heartbeats.
const THREADS: usize = 2;

/// Opens jobs.
#[derive(Debug)]
pub struct Host {
    scratch: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    engine: Option<Arc<Engine>>,
    /// The last job: a worker that reconnects may be assigned to it anew.
    last: Option<(u64, String, Weak<RemoteJob>)>,
}

#[derive(Debug)]
pub(crate) struct Engine {
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    scratch: Arc<Scratch>,
    stager: Arc<Stager>,
    tuning: Tuning,
}

impl Host {
    /// `scratch`: where to work, if somebody chose.
    pub fn new(scratch: Option<PathBuf>) -> Self {
        Self {
            scratch,
            state: Mutex::default(),
        }
    }

    /// The job's part in blob storage; `None` where it has none.
    ///
    /// # Errors
    /// [`Problem`]: the storage or the scratch folder can't be used.
    pub fn open(
        &self,
        assignment: &Assignment,
        spec: &JobSpec,
    ) -> Result<Option<Arc<RemoteJob>>, Problem> {
        if !spec.storage.is_remote() {
            return Ok(None);
        }
        let mut state = self.lock();
        if let Some((job_id, spec_json, last)) = &state.last
            && *job_id == assignment.job_id
            && *spec_json == assignment.spec_json
            && let Some(job) = last.upgrade()
        {
            return Ok(Some(job));
        }
        let engine = match &state.engine {
            Some(engine) => Arc::clone(engine),
            None => {
                let engine = Arc::new(Engine::start(self.scratch.as_deref())?);
                Arc::clone(state.engine.insert(engine))
            }
        };
        let bytes = match spec.storage.stage_bytes {
            0 => STAGE_BYTES,
            bytes => bytes,
        };
        engine.stager.set_limit(bytes);
        let job = Arc::new(RemoteJob::open(engine, assignment.job_id, spec)?);
        state.last = Some((
            assignment.job_id,
            assignment.spec_json.clone(),
            Arc::downgrade(&job),
        ));
        Ok(Some(job))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    fn start(scratch: Option<&std::path::Path>) -> Result<Self, Problem> {
        let scratch = Arc::new(Scratch::open(scratch)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("petctl-storage")
            .enable_all()
            .build()
            .map_err(|error: io::Error| Problem {
                outcome: petctl_proto::v1::Outcome::Infrastructure,
                code: Code::SpawnFailed,
                message: format!("can't start the threads that move data: {error}"),
            })?;
        let handle = runtime.handle().clone();
        Ok(Self {
            runtime: Some(runtime),
            stager: Stager::new(Arc::clone(&scratch), handle.clone()),
            handle,
            scratch,
            tuning: Tuning::default(),
        })
    }

    pub(super) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    pub(super) fn stager(&self) -> &Arc<Stager> {
        &self.stager
    }

    /// For what is sent; what is fetched has its own.
    pub(super) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// From a slot's thread.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be on one of its own threads, or on the agent's.
            runtime.shutdown_background();
        }
    }
}
