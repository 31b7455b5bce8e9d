//! How a transfer is shown while it goes on: a bar on a terminal, lines at a bounded rate elsewhere.

use super::quantity;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// First distance of two lines of progress; it doubles up to [`MAX_LINE_DISTANCE`].
const MIN_LINE_DISTANCE: Duration = Duration::from_secs(2);
const MAX_LINE_DISTANCE: Duration = Duration::from_secs(30);
/// The rate is the mean over this long.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Width of the bar.
const BAR_STEPS: u64 = 1_000;

/// Counts what is moved, from many tasks.
#[derive(Debug, Default)]
pub struct Meter {
    files: AtomicU64,
    planned_files: AtomicU64,
    moved: AtomicU64,
    skipped: AtomicU64,
    taken_back: AtomicU64,
    planned_bytes: AtomicU64,
    doomed: AtomicU64,
    removed: AtomicU64,
}

impl Meter {
    /// Files that are there by now.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Files that are to be there.
    pub fn planned_files(&self) -> u64 {
        self.planned_files.load(Ordering::Relaxed)
    }

    /// Files that were removed by now.
    pub fn gone(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// How many files are to be removed in all, as far as that is known; `None`: nothing is removed yet.
    fn to_remove(&self) -> Option<u64> {
        let doomed = self.doomed.load(Ordering::Relaxed);
        (doomed > 0 || self.gone() > 0).then_some(doomed)
    }

    fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn done_bytes(&self) -> u64 {
        let told = self.moved_bytes() + self.skipped.load(Ordering::Relaxed);
        told.saturating_sub(self.taken_back.load(Ordering::Relaxed))
    }
}

impl petctl_transfer::Progress for Meter {
    fn planned(&self, files: u64, bytes: u64) {
        self.planned_files.store(files, Ordering::Relaxed);
        self.planned_bytes.store(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    fn skipped(&self, bytes: u64) {
        self.skipped.fetch_add(bytes, Ordering::Relaxed);
    }

    fn taken_back(&self, bytes: u64) {
        self.taken_back.fetch_add(bytes, Ordering::Relaxed);
    }

    fn file_done(&self, _name: &str) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    fn doomed(&self, names: u64) {
        self.doomed.store(names, Ordering::Relaxed);
    }

    fn removed(&self, names: u64) {
        self.removed.fetch_add(names, Ordering::Relaxed);
    }
}

/// Shows a [`Meter`] again and again.
pub struct TransferProgress {
    face: Face,
    /// What had been moved when, as far back as the rate goes; once files are removed, how many of them.
    samples: VecDeque<(Instant, u64)>,
    /// Files are removed now.
    removes: bool,
}

enum Face {
    Quiet,
    Lines { next: Instant, distance: Duration },
    Bar(ProgressBar),
}

impl TransferProgress {
    /// A bar on a terminal, lines elsewhere, nothing when quiet.
    pub fn new(quiet: bool, terminal: bool) -> Self {
        let now = Instant::now();
        let face = match (quiet, terminal) {
            (true, _) => Face::Quiet,
            (false, true) => Face::Bar(bar()),
            (false, false) => Face::Lines {
                next: now + MIN_LINE_DISTANCE,
                distance: MIN_LINE_DISTANCE,
            },
        };
        Self {
            face,
            samples: VecDeque::from([(now, 0)]),
            removes: false,
        }
    }

    /// What has been transferred by now.
    pub fn update(&mut self, meter: &Meter) {
        let now = Instant::now();
        let to_remove = meter.to_remove();
        if to_remove.is_some() && !self.removes {
            // Another thing is counted from here on.
            self.removes = true;
            self.samples = VecDeque::from([(now, 0)]);
        }
        let sample = if self.removes {
            meter.gone()
        } else {
            meter.moved_bytes()
        };
        self.samples.push_back((now, sample));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now - *at > RATE_WINDOW)
        {
            self.samples.pop_front();
        }
        let text = self.text(meter);
        match &mut self.face {
            Face::Quiet => {}
            Face::Bar(bar) => {
                let (done, total) = match to_remove {
                    Some(doomed) => (meter.gone(), doomed),
                    None => (
                        meter.done_bytes(),
                        meter.planned_bytes.load(Ordering::Relaxed),
                    ),
                };
                // Of a total that nobody knows nothing is done.
                let done = done.min(total);
                bar.set_position(done * BAR_STEPS / total.max(1));
                bar.set_message(text);
            }
            Face::Lines { next, distance } => {
                if now >= *next && (meter.planned_files() > 0 || self.removes) {
                    *distance = (*distance * 2).min(MAX_LINE_DISTANCE);
                    *next = now + *distance;
                    // A terminal that was closed takes nothing more; the transfer goes on.
                    let _closed = writeln!(io::stderr().lock(), "{text}");
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
        self.face = Face::Quiet;
    }

    fn text(&self, meter: &Meter) -> String {
        if let Some(doomed) = meter.to_remove() {
            return self.removal_text(meter.gone(), doomed);
        }
        let total = meter.planned_bytes.load(Ordering::Relaxed);
        let planned = meter.planned_files();
        if planned == 0 {
            return "looking at both sides".to_owned();
        }
        let done = meter.done_bytes();
        let mut text = format!(
            "{} of {}, {} of {}",
            quantity::thousands(meter.files()),
            quantity::count(planned, "file", "files"),
            quantity::bytes(done),
            quantity::bytes(total)
        );
        let per_s = self.per_s();
        if per_s > 0 {
            text.push_str(&format!(", {}/s", quantity::bytes(per_s)));
            let left_ms = total.saturating_sub(done).saturating_mul(1_000) / per_s;
            text.push_str(&format!(", about {} left", quantity::duration(left_ms)));
        }
        text
    }

    fn removal_text(&self, gone: u64, doomed: u64) -> String {
        let mut text = match doomed {
            0 => format!("{} removed", quantity::count(gone, "file", "files")),
            doomed => format!(
                "{} of {} removed",
                quantity::thousands(gone),
                quantity::count(doomed, "file", "files")
            ),
        };
        let per_s = self.per_s();
        if per_s > 0 {
            text.push_str(&format!(", {}/s", quantity::thousands(per_s)));
        }
        let left = doomed.saturating_sub(gone);
        if per_s > 0 && left > 0 {
            let left_ms = left.saturating_mul(1_000) / per_s;
            text.push_str(&format!(", about {} left", quantity::duration(left_ms)));
        }
        text
    }

    fn per_s(&self) -> u64 {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back())
        else {
            return 0;
        };
        let ms = to.duration_since(*from).as_millis();
        if ms < 500 {
            return 0;
        }
        let moved = u128::from(after.saturating_sub(*before));
        u64::try_from(moved * 1_000 / ms).unwrap_or(u64::MAX)
    }
}

fn bar() -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("[{bar:30}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("##-"));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_transfer::Progress;

    #[test]
    fn a_transfer_says_how_much_is_there_how_fast_and_how_long() {
        let meter = Meter::default();
        let mut progress = TransferProgress::new(true, false);
        assert_eq!(progress.text(&meter), "looking at both sides");
        meter.planned(40, 4 << 20);
        meter.skipped(1 << 20);
        meter.moved(2 << 20);
        meter.taken_back(1 << 20);
        meter.file_done("a");
        assert_eq!(progress.text(&meter), "1 of 40 files, 2.0 MiB of 4.0 MiB");
        let now = Instant::now();
        progress.samples = VecDeque::from([(now, 0), (now + Duration::from_secs(2), 2 << 20)]);
        assert_eq!(
            progress.text(&meter),
            "1 of 40 files, 2.0 MiB of 4.0 MiB, 1.0 MiB/s, about 2.0 s left"
        );
    }

    #[test]
    fn a_removal_says_how_many_went_and_of_how_many_where_that_is_known() {
        let meter = Meter::default();
        let mut progress = TransferProgress::new(true, false);
        meter.planned(1, 10);
        meter.moved(10);
        progress.update(&meter);
        meter.removed(1_500);
        progress.update(&meter);
        assert_eq!(progress.text(&meter), "1,500 files removed");
        meter.doomed(4_500);
        let now = Instant::now();
        progress.samples = VecDeque::from([(now, 0), (now + Duration::from_secs(2), 1_500)]);
        assert_eq!(
            progress.text(&meter),
            "1,500 of 4,500 files removed, 750/s, about 4.0 s left"
        );
    }
}
