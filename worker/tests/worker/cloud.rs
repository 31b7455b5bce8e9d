//! A worker whose job has its inputs and outputs in Azurite.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use petctl_azurite::{Azurite, AzuriteOptions};
use petctl_commit::{BlobCommitter, Commit};
use petctl_proto::v1::AttemptResult;
use petctl_spec::{JobSpec, Need, ShardSource, StageKind, StorageRoot, StorageSpec};
use petctl_storage::{Condition, PutOutcome, SharedStore};
use petctl_worker::{Ended, Options, Shutdown, run};
use tempfile::TempDir;

use crate::fake::{Bench, Fake, job, within};

/// One for all tests; each has a container of its own.
pub(crate) fn azurite() -> &'static Azurite {
    static AZURITE: OnceLock<Azurite> = OnceLock::new();
    AZURITE.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Its parent is a thread that stays: workers kill what is re-parented to the process.
        std::thread::spawn(move || {
            sender
                .send(Azurite::start(AzuriteOptions::default()).unwrap())
                .unwrap();
            loop {
                std::thread::park();
            }
        });
        receiver.recv().unwrap()
    })
}

/// A container with `in/` and `out/`, and workers that know it.
pub(crate) struct Cloud {
    pub(crate) container: String,
    pub(crate) scratch: TempDir,
    pub(crate) inputs: SharedStore,
    pub(crate) outputs: SharedStore,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let container = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let access = tokio::task::spawn_blocking(|| azurite().access())
            .await
            .unwrap();
        let open = |place: String| {
            petctl_storage::open(&StorageRoot::read(&place).unwrap(), &access).unwrap()
        };
        let whole = open(format!("az://{container}"));
        whole.create().await.unwrap();
        Self {
            scratch: tempfile::tempdir().unwrap(),
            inputs: open(format!("az://{container}/in")),
            outputs: open(format!("az://{container}/out")),
            container,
        }
    }

    /// Puts an input there.
    pub(crate) async fn input(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes: Vec<u8> = bytes.into();
        let put = self.inputs.put(name, bytes.into(), &Condition::None).await;
        assert!(matches!(put.unwrap(), PutOutcome::Done(_)));
    }

    /// Shards are inputs, and outputs go to the container.
    pub(crate) fn fit(&self, spec: &mut JobSpec) {
        spec.storage = StorageSpec {
            input: Some(format!("az://{}/in", self.container)),
            output: format!("az://{}/out", self.container),
            access: azurite().access(),
            ..StorageSpec::default()
        };
        spec.stages[0].kind = StageKind::Shards(ShardSource::Glob("*".to_owned()));
    }

    /// A second stage, `after`, that is given all outputs of the first.
    pub(crate) fn add_stage(spec: &mut JobSpec, per_shard: bool, script: &str) {
        let mut stage = spec.stages[0].clone();
        stage.name = "after".to_owned();
        stage.needs = vec![Need {
            stage: 0,
            per_shard,
        }];
        stage.command = ["/bin/sh", "-c", script, "sh", "{output_root}", "{key}"]
            .map(str::to_owned)
            .to_vec();
        spec.stages.push(stage);
    }

    pub(crate) async fn bench(&self, script: &str) -> Bench {
        self.bench_with(script, |_| {}).await
    }

    pub(crate) async fn bench_with(
        &self,
        script: &str,
        change: impl FnOnce(&mut JobSpec),
    ) -> Bench {
        self.worker(2, 60_000, script, change).await
    }

    /// A worker with so many slots, and a heartbeat timeout of so many ms.
    pub(crate) async fn worker(
        &self,
        slots: u32,
        timeout_ms: u32,
        script: &str,
        change: impl FnOnce(&mut JobSpec),
    ) -> Bench {
        let scratch = self.scratch.path().to_owned();
        self.worker_in(scratch, slots, timeout_ms, script, change)
            .await
    }

    /// With that scratch folder.
    pub(crate) async fn worker_in(
        &self,
        scratch: PathBuf,
        slots: u32,
        timeout_ms: u32,
        script: &str,
        change: impl FnOnce(&mut JobSpec),
    ) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = job(folder.path(), script);
        self.fit(&mut spec);
        spec.workers.slots = slots;
        change(&mut spec);
        let mut fake = Fake::start().await;
        let shutdown = Shutdown::default();
        let options = Options {
            slots,
            scratch: Some(scratch),
            ..fake.options()
        };
        let worker = tokio::spawn(run(options, shutdown.clone()));
        let session = fake.session().await;
        session.welcome(timeout_ms, &[]).await;
        session.assign(&spec).await;
        Bench {
            folder,
            spec,
            fake,
            session,
            worker,
            shutdown,
        }
    }

    pub(crate) fn committer(&self) -> BlobCommitter {
        BlobCommitter::new(self.outputs.clone())
    }

    pub(crate) async fn commit(&self, stage: &str, key: &str) -> Option<Commit> {
        self.committer().committed(stage, key).await.unwrap()
    }

    /// A committed file.
    pub(crate) async fn output(&self, stage: &str, key: &str, file: &str) -> String {
        let commit = self.commit(stage, key).await.unwrap();
        read(&self.outputs, &format!("{}{file}", commit.data)).await
    }

    /// Names below `out/`.
    pub(crate) async fn names(&self) -> Vec<String> {
        let (mut names, mut mark) = (Vec::new(), None);
        loop {
            let page = self.outputs.list("", mark.as_deref()).await.unwrap();
            names.extend(page.entries.into_iter().map(|entry| entry.name));
            mark = page.mark;
            if mark.is_none() {
                return names;
            }
        }
    }

    /// Comes back when that many names below `out/` start so.
    pub(crate) async fn until_names(&self, prefix: &str, count: usize) {
        let there = async {
            loop {
                let names = self.names().await;
                if names.iter().filter(|name| name.starts_with(prefix)).count() == count {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        within(there).await;
    }

    /// Below the part of the first worker.
    pub(crate) fn local(&self, name: &str) -> PathBuf {
        self.scratch.path().join("0").join(name)
    }

    /// Staged inputs, by name.
    pub(crate) fn cached(&self) -> Vec<String> {
        let folders = entries(&self.local("cache"));
        let mut names: Vec<_> = folders
            .iter()
            .flat_map(|folder| entries(folder))
            .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

pub(crate) async fn read(store: &SharedStore, name: &str) -> String {
    use futures::TryStreamExt;
    let body = store.get(name, None, None).await.unwrap();
    let pieces: Vec<_> = body.bytes.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// The log that was sent of an attempt at shard `key` of stage `work`.
pub(crate) fn log_name(key: &str, lease_id: u64) -> String {
    format!(".petctl/logs/work/{key}/1-0000000000000007-{lease_id:016x}.log")
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// `(outcome, code)` as text.
pub(crate) fn told(result: &AttemptResult) -> (String, &str) {
    (format!("{:?}", result.outcome()), result.code.as_str())
}

impl Bench {
    /// Ends it with SIGTERM's meaning, and waits.
    pub(crate) async fn leave(mut self) {
        self.shutdown.drain.cancel();
        while self.session.next().await.is_some() {}
        self.session.cut();
        assert_eq!(within(self.worker).await.unwrap().unwrap(), Ended::Left);
    }
}
