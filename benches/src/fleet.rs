//! Workers that answer every lease at once: petctl's own, with [`Execution::Nothing`], all in one process.

use crate::client::Client;
use crate::coordinator::Coordinator;
use crate::jobs;
use anyhow::{Context, Result, bail};
use petctl_text::Secret;
use petctl_tls::Trust;
use petctl_worker::{Execution, Options, Shutdown};
use std::fs;
use std::process::{Child, Command, Stdio};
use tokio::task::JoinSet;

/// More than any stage asks for.
const PLENTY: u32 = 1_000_000_000;

/// How many workers, and where they go.
#[derive(Clone, Debug)]
pub(crate) struct FleetOptions {
    address: String,
    token_file: String,
    workers: u32,
    slots: u32,
    ca_file: Option<String>,
}

impl FleetOptions {
    /// First argument of the process that the workers are in.
    pub(crate) const FLAG: &str = "--answer-nothing";

    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut next = |what: &str| {
            arguments
                .next()
                .with_context(|| format!("{} needs {what}", Self::FLAG))
        };
        Ok(Self {
            address: next("an address")?,
            token_file: next("a token file")?,
            workers: next("a number of workers")?
                .parse()
                .context("read the number of workers")?,
            slots: next("a number of slots")?
                .parse()
                .context("read the number of slots")?,
            ca_file: arguments.next(),
        })
    }

    /// Is the workers, until killed.
    pub(crate) fn serve(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("start tokio")?;
        runtime.block_on(self.serve_all())
    }

    async fn serve_all(self) -> Result<()> {
        let token = fs::read_to_string(&self.token_file).context("read the token")?;
        let trust = self.ca_file.as_ref().map(Trust::file).transpose()?;
        let mut workers = JoinSet::new();
        for index in 0..self.workers {
            let mut options = Options::new(&self.address, format!("nothing-{index}"));
            options.token = Some(Secret::new(token.trim()));
            options.trust = trust.clone();
            options.slots = self.slots;
            options.cpu_milli = Some(PLENTY);
            options.memory_mib = Some(u64::from(PLENTY));
            options.execution = Execution::Nothing;
            workers.spawn(petctl_worker::run(options, Shutdown::default()));
        }
        match workers.join_next().await {
            Some(ended) => bail!("a worker ended: {:?}", ended.context("join it")?),
            None => Ok(()),
        }
    }
}

/// The process with the workers; dies with this value.
pub(crate) struct Fleet {
    child: Child,
    workers: u32,
    slots: u32,
}

impl Fleet {
    /// Starts them and waits until the coordinator has them all.
    pub(crate) async fn join(
        coordinator: &Coordinator,
        client: &mut Client,
        workers: u32,
        slots: u32,
    ) -> Result<Self> {
        let child = Command::new(std::env::current_exe().context("find this program")?)
            .args([FleetOptions::FLAG, coordinator.address()])
            .arg(coordinator.token_file())
            .args([workers.to_string(), slots.to_string()])
            .args(coordinator.ca_file())
            .stdin(Stdio::null())
            .spawn()
            .context("start the workers")?;
        let fleet = Self {
            child,
            workers,
            slots,
        };
        // A job that can't start without any of them: when it has ended, all are there.
        let shards = u64::from(workers) * u64::from(slots);
        let job = jobs::flat(fleet.job("warm-up", coordinator), shards);
        client
            .run(&job, shards)
            .await
            .with_context(|| format!("warm up; {}", coordinator.diagnostics()))?;
        Ok(fleet)
    }

    /// A job without stages for all of these workers.
    pub(crate) fn job(&self, name: &str, coordinator: &Coordinator) -> petctl_spec::JobSpec {
        jobs::job(name, self.workers, self.slots, &coordinator.output(name))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // They may have ended by themselves; then there is nothing to end.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
