//! The driver's rules around the real core: one durable commit per batch, and nothing leaves before it.

use petctl_core::{Config, Core, Effect, Input, Millis, Record, State};

/// A log that survives crashes, and perhaps a snapshot of the state at its start.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The state at the last compaction, encoded as the real storage encodes it.
    pub snapshot: Option<Vec<u8>>,
    /// Encoded records since then.
    pub log: Vec<Vec<u8>>,
}

impl Disk {
    /// Makes records durable.
    pub fn append(&mut self, records: &[Record]) {
        self.log.extend(
            records
                .iter()
                .map(|r| postcard::to_allocvec(r).unwrap_or_default()),
        );
    }

    /// Replays what is durable.
    ///
    /// # Errors
    /// If a record can't be decoded, with its position.
    pub fn replay(&self) -> Result<State, String> {
        let mut state = match &self.snapshot {
            Some(bytes) => postcard::from_bytes(bytes).map_err(|e| format!("snapshot: {e}"))?,
            None => State::default(),
        };
        for (index, bytes) in self.log.iter().enumerate() {
            let record: Record =
                postcard::from_bytes(bytes).map_err(|e| format!("record {index}: {e}"))?;
            state.apply(&record);
        }
        Ok(state)
    }

    /// Replaces the log by a snapshot.
    ///
    /// # Errors
    /// As [`Disk::replay`].
    pub fn compact(&mut self) -> Result<(), String> {
        let state = self.replay()?;
        self.snapshot = Some(postcard::to_allocvec(&state).map_err(|e| format!("snapshot: {e}"))?);
        self.log.clear();
        Ok(())
    }
}

/// A running coordinator.
#[derive(Debug)]
pub struct Coordinator {
    /// The real thing.
    pub core: Core,
    /// Effects that wait for the commit under way.
    pub held: Vec<Effect>,
    /// When that commit is durable.
    pub commit_at: Option<u64>,
    /// Inputs that came meanwhile.
    pub waiting: Vec<Input>,
}

impl Coordinator {
    /// Starts on what is durable. Its first effects wait for a commit.
    #[must_use]
    pub fn start(state: State, seed: u64, now: u64) -> Self {
        let config = Config {
            max_prefetch: 8,
            ..Config::default()
        };
        let mut core = Core::new(config, state, seed, Millis(now));
        let held = core.drain();
        Self {
            core,
            held,
            commit_at: Some(now),
            waiting: Vec::new(),
        }
    }

    /// Takes all that waits into the core; its effects wait for a commit.
    pub fn take_batch(&mut self, now: u64, commit_ms: u64) {
        for input in std::mem::take(&mut self.waiting) {
            self.core.handle(Millis(now), input);
        }
        if self
            .core
            .poll_deadline()
            .is_some_and(|(at, _)| at <= Millis(now))
        {
            self.core.handle(Millis(now), Input::Tick);
        }
        self.held = self.core.drain();
        if !self.held.is_empty() {
            self.commit_at = Some(now + commit_ms);
        }
    }

    /// The records that the commit under way makes durable.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let records = self.held.iter().filter_map(|e| match e {
            Effect::Persist(record) => Some((**record).clone()),
            Effect::Send { .. }
            | Effect::Close { .. }
            | Effect::Reply(..)
            | Effect::Changed(_)
            | Effect::Ended(_)
            | Effect::Drained => None,
        });
        records.collect()
    }
}
