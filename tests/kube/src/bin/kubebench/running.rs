//! Pods that run, as the API server tells of them.

use crate::place::Place;
use crate::time::now;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A pod that has begun to run.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) job: String,
    pub(crate) name: String,
    pub(crate) index: String,
    pub(crate) node: String,
}

/// Watches them: one request.
pub(crate) struct Running {
    watch: Child,
    /// When each was first heard of.
    seen: Arc<Mutex<BTreeMap<String, f64>>>,
}

impl Running {
    /// Those of a place with this label, from now on.
    pub(crate) fn watch(
        place: &Place,
        label: &str,
        mut started: impl FnMut(&Started) + Send + 'static,
    ) -> Result<Self> {
        let columns = "custom-columns=JOB:.metadata.labels.petctl\\.io/job,NAME:.metadata.name,\
                       INDEX:.metadata.annotations.batch\\.kubernetes\\.io/job-completion-index,NODE:.spec.nodeName";
        let mut command = place.bed.kubectl_command();
        command
            .args([
                "--namespace",
                place.namespace.name(),
                "get",
                "pods",
                "--watch",
                "-l",
                label,
            ])
            .args([
                "--field-selector=status.phase=Running",
                "--no-headers",
                "-o",
                columns,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut watch = command.spawn().context("start kubectl")?;
        let lines = BufReader::new(watch.stdout.take().context("read from kubectl")?);
        let seen: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let [job, name, index, node] = words[..] else {
                    continue;
                };
                let at = now();
                // It is told again when it changes, and when it goes.
                let known = lock(&noted).contains_key(name);
                if !known {
                    lock(&noted).insert(name.to_owned(), at);
                    started(&Started {
                        job: job.to_owned(),
                        name: name.to_owned(),
                        index: index.to_owned(),
                        node: node.to_owned(),
                    });
                }
            }
        });
        Ok(Self { watch, seen })
    }

    /// When each of them was heard of, by name.
    pub(crate) fn seen(&self) -> BTreeMap<String, f64> {
        lock(&self.seen).clone()
    }

    /// When the last of so many was; none while there are fewer.
    pub(crate) fn last_of(&self, count: usize) -> Option<f64> {
        let mut times: Vec<f64> = lock(&self.seen).values().copied().collect();
        times.sort_by(f64::total_cmp);
        times.get(count.checked_sub(1)?).copied()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.watch.kill());
        drop(self.watch.wait());
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
