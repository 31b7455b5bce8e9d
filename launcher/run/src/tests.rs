//! The run flow in a place in memory: a coordinator and workers that are tasks of this process, and shards that need no
//! process. So what is tested is the flow, in milliseconds.

use crate::admission::{Admission, Before};
use crate::flow::{Host, Run, Settings, Watcher, grace};
use crate::gain::Gain;
use petctl_client::Client;
use petctl_core::Rerun;
use petctl_job::content::HashCache;
use petctl_job::{Context, JobFile, Preparation, PreparedJob};
use petctl_places::{Ended, Place, Stop, Wanted, Worker, WorkerState};
use petctl_rendezvous::{Coordinator, Engine, Handle, Options};
use petctl_text::Secret;
use petctl_ui::signals::Signals;
use petctl_ui::terminal::Output;
use petctl_ui::{Code, Error, Exit, Result};
use petctl_worker::{Execution, Shutdown};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

const JOB: &str = r#"
[job]
name = "flow"
[workers]
min = 1
max = 3
[storage]
output = "out"
[[stage]]
name = "work"
kind = "shards"
shards = { range = [0, 40] }
command = ["true", "{output}"]
"#;

/// What a test learns of its place after the run.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Workers that are tasks of this process.
struct MemoryPlace {
    handle: Handle,
    living: BTreeMap<String, Shutdown>,
    tasks: JoinSet<String>,
    wanted: Wanted,
    started: usize,
    log: Log,
    /// So many workers end at once instead of working.
    stillborn: usize,
}

impl MemoryPlace {
    fn new(handle: &Handle, log: Log) -> Self {
        Self {
            handle: handle.clone(),
            living: BTreeMap::new(),
            tasks: JoinSet::new(),
            wanted: Wanted::NOTHING,
            started: 0,
            log,
            stillborn: 0,
        }
    }

    fn start(&mut self) {
        self.started += 1;
        let name = format!("memory-{}", self.started);
        let shutdown = Shutdown::default();
        self.living.insert(name.clone(), shutdown.clone());
        if self.started <= self.stillborn {
            self.tasks.spawn(async move { name });
            return;
        }
        let address = format!("http://{}", self.handle.address());
        let mut options = petctl_worker::Options::new(address, name.clone());
        options.token = Some(Secret::new(self.handle.token().expose()));
        options.job = "flow".to_owned();
        options.execution = Execution::Nothing;
        self.tasks.spawn(async move {
            let _how = petctl_worker::run(options, shutdown).await;
            name
        });
    }
}

impl Place for MemoryPlace {
    type Error = Error;

    fn ensure(&mut self, wanted: Wanted) -> Result<()> {
        if wanted != self.wanted {
            self.log.push(format!("wanted {}", wanted.workers));
        }
        self.wanted = wanted;
        while self.living.len() < wanted.workers {
            self.start();
        }
        Ok(())
    }

    fn observe(&self) -> Vec<Worker> {
        let worker = |name: &String| Worker {
            name: name.clone(),
            state: WorkerState::Running,
            code: None,
            reason: String::new(),
        };
        self.living.keys().map(worker).collect()
    }

    async fn ended(&mut self) -> Result<Ended> {
        let Some(ended) = self.tasks.join_next().await else {
            return std::future::pending().await;
        };
        let worker = ended.map_err(|error| Error::new(Code::Bug, error.to_string()))?;
        self.living.remove(&worker);
        let is_missed = self.living.len() < self.wanted.workers;
        if is_missed {
            self.log.push(format!("{worker} is missed"));
            self.ensure(self.wanted)?;
        }
        Ok(Ended {
            unexpected: is_missed.then(|| format!("worker {worker} ended")),
            worker,
        })
    }

    fn gained(&mut self, _progress: u64) {}

    fn coordinator_stopped(&mut self) {
        self.log.push("coordinator stopped".to_owned());
    }

    fn stop(&mut self, how: Stop) {
        self.log.push(format!("{how:?}"));
        for shutdown in self.living.values() {
            match how {
                Stop::Leave => shutdown.drain.cancel(),
                Stop::Kill => shutdown.now.cancel(),
            }
        }
    }
}

async fn coordinator(folder: &Path) -> Handle {
    let mut options = Options::new(folder.join("coordinator"));
    options.engine = Engine::Memory;
    Coordinator::start(options).await.unwrap()
}

fn context(folder: &Path) -> Context {
    Context::new(Output::new(true, true), Some(folder.join("home")), "test")
}

async fn prepare(context: &Context, folder: &Path) -> PreparedJob {
    let path = folder.join("job.toml");
    fs::write(&path, JOB).unwrap();
    let file = JobFile::find(&path, &[]).unwrap();
    let spec = file.parse().unwrap();
    let preparation = Preparation {
        out: &context.out,
        workers: None,
        date: None,
        cache: HashCache::default(),
    };
    PreparedJob::prepare(file, spec, preparation).await.unwrap()
}

async fn run<'a>(
    context: &'a Context,
    handle: &Handle,
    job: PreparedJob,
    place: MemoryPlace,
    watcher: Watcher,
) -> Run<'a, MemoryPlace> {
    let before = Before::Here(None);
    let admission = Admission::look(&job, before, &Rerun::Changed)
        .await
        .unwrap();
    let address = format!("http://{}", handle.address());
    let client = Client::connect(&address, handle.token()).await.unwrap();
    Run {
        context,
        grace: grace(&job),
        job,
        settings: Settings {
            watcher,
            ..Settings::default()
        },
        admission,
        host: Host::ThisRun(handle.clone()),
        client,
        folder: None,
        holding: None,
        place: Some(place),
        adopted: 0,
        put_aside: 0,
        went_early: BTreeSet::new(),
        signals: Signals::listen().unwrap(),
        progress: context.out.progress(),
        gain: Gain::default(),
        ended: false,
    }
}

#[tokio::test]
async fn a_job_runs_to_its_verdict_and_all_workers_leave() {
    let folder = tempfile::tempdir().unwrap();
    let (context, log) = (context(folder.path()), Log::default());
    let handle = coordinator(folder.path()).await;
    let job = prepare(&context, folder.path()).await;
    let place = MemoryPlace::new(&handle, log.clone());
    let flow = run(&context, &handle, job, place, Watcher::Terminal).await;
    assert_eq!(flow.run().await.unwrap(), Exit::Success);
    // One that is released may be gone before the status says that the job has ended.
    let mut said = log.said();
    said.retain(|what| !what.ends_with("is missed"));
    assert_eq!(
        said,
        ["wanted 3", "wanted 0"],
        "they are released, and need not be told to leave"
    );
    handle.shutdown();
    handle.stopped().await;
}

#[tokio::test]
async fn workers_that_end_while_they_are_wanted_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (context, log) = (context(folder.path()), Log::default());
    let handle = coordinator(folder.path()).await;
    let job = prepare(&context, folder.path()).await;
    let mut place = MemoryPlace::new(&handle, log.clone());
    place.stillborn = 3;
    let flow = run(&context, &handle, job, place, Watcher::Terminal).await;
    assert_eq!(flow.run().await.unwrap(), Exit::Success);
    for stillborn in 1..=3 {
        let missed = format!("memory-{stillborn} is missed");
        assert!(log.said().contains(&missed), "{:?}", log.said());
    }
    handle.shutdown();
    handle.stopped().await;
}

#[tokio::test]
async fn a_coordinator_that_stops_by_itself_is_the_reason_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (context, log) = (context(folder.path()), Log::default());
    let handle = coordinator(folder.path()).await;
    let job = prepare(&context, folder.path()).await;
    let mut place = MemoryPlace::new(&handle, log.clone());
    // Nobody ever works, so the job can't end before its coordinator does.
    place.stillborn = usize::MAX;
    let flow = run(&context, &handle, job, place, Watcher::Terminal).await;
    let stopping = handle.clone();
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        stopping.shutdown();
    });
    let error = flow.run().await.unwrap_err();
    assert!(error.is(Code::CoordinatorStopped), "{error}");
    assert!(
        log.said().contains(&"coordinator stopped".to_owned()),
        "{:?}",
        log.said()
    );
}

#[tokio::test]
async fn an_output_of_another_job_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let job = prepare(&context, folder.path()).await;
    let own = folder.path().join("out/.petctl");
    fs::create_dir_all(&own).unwrap();
    fs::write(
        own.join("job.json"),
        r#"{"job": "other", "fingerprint": "00"}"#,
    )
    .unwrap();
    for rerun in [Rerun::Changed, Rerun::All] {
        for before in [Before::Here(None), Before::There(None)] {
            let refused = Admission::look(&job, before, &rerun).await.unwrap_err();
            assert!(refused.is(Code::OutputInUse), "{refused}");
        }
    }
}

#[tokio::test]
async fn outputs_that_nobody_could_mark_are_the_jobs_own_where_its_coordinator_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let job = prepare(&context, folder.path()).await;
    fs::create_dir_all(folder.path().join("out/work/0")).unwrap();
    let here = job.spec.storage.output.clone();
    for (has, code) in [
        (Some(here), None),
        (Some("/elsewhere".to_owned()), Some(Code::OutputInUse)),
        (None, Some(Code::OutputInUse)),
    ] {
        let before = Before::There(has.clone());
        let refused = Admission::look(&job, before, &Rerun::Changed).await.err();
        let is_as_expected = match (&refused, code) {
            (Some(error), Some(code)) => error.is(code),
            (refused, code) => refused.is_none() && code.is_none(),
        };
        assert!(is_as_expected, "{has:?}: {refused:?}");
    }
}

#[tokio::test]
async fn what_a_dry_run_says_is_what_admission_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let job = prepare(&context, folder.path()).await;
    let look = async |rerun| {
        Admission::look(&job, Before::Here(None), &rerun)
            .await
            .unwrap()
    };
    let all = look(Rerun::All).await;
    assert!(all.forgets_all());
    assert_eq!(
        all.to_string(),
        "would run all of it; earlier results give way one by one"
    );
    let changed = look(Rerun::Changed).await;
    assert!(!changed.forgets_all());
    assert_eq!(changed.to_string(), "");
}
