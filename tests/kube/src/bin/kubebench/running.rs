//! Pods that run, as the API server tells of them.

use crate::place::Place;
use crate::time::now;
use anyhow::{Context, Result};
use petctl_test_kube::Bed;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
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

/// Watches them: one request, and another one whenever the API server ends the last, as it does with who is too slow.
pub(crate) struct Running {
    watch: Arc<Mutex<Option<Child>>>,
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
        let (bed, namespace, label) = (
            place.bed,
            place.namespace.name().to_owned(),
            label.to_owned(),
        );
        let (first, mut lines) = ask(bed, &namespace, &label)?;
        let watch = Arc::new(Mutex::new(Some(first)));
        let seen: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let (noted, held) = (Arc::clone(&seen), Arc::clone(&watch));
        thread::spawn(move || {
            loop {
                for line in lines.by_ref().lines().map_while(Result::ok) {
                    let words: Vec<&str> = line.split_ascii_whitespace().collect();
                    let [job, name, index, node] = words[..] else {
                        continue;
                    };
                    let at = now();
                    // It is told again when it changes, when it goes, and when all are listed again.
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
                let mut held = lock(&held);
                let Some(mut ended) = held.take() else { return };
                drop(ended.wait());
                let Ok((next, more)) = ask(bed, &namespace, &label) else {
                    return;
                };
                *held = Some(next);
                lines = more;
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
        if let Some(mut watch) = lock(&self.watch).take() {
            drop(watch.kill());
            drop(watch.wait());
        }
    }
}

/// kubectl, which lists those that run and then tells of more, and what it prints.
fn ask(bed: &Bed, namespace: &str, label: &str) -> Result<(Child, BufReader<ChildStdout>)> {
    let columns = "custom-columns=JOB:.metadata.labels.petctl\\.io/job,NAME:.metadata.name,\
                   INDEX:.metadata.annotations.batch\\.kubernetes\\.io/job-completion-index,NODE:.spec.nodeName";
    let mut command = bed.kubectl_command();
    command
        .args([
            "--namespace",
            namespace,
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
    let lines = watch.stdout.take().context("read from kubectl")?;
    Ok((watch, BufReader::new(lines)))
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
