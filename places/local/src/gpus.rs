//! GPUs of this machine, divided among its workers.

use std::fs;

/// The variable by which CUDA programs are told which GPUs are theirs.
pub(crate) const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// The GPUs that this process may use: those that it was given, else those of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gpus {
    devices: Vec<String>,
}

impl Gpus {
    pub(crate) fn find() -> Self {
        let given = std::env::var(VARIABLE).ok();
        let devices = given.map_or_else(of_machine, |given| {
            given
                .split(',')
                .map(|device| device.trim().to_owned())
                .filter(|device| !device.is_empty())
                .collect()
        });
        Self { devices }
    }

    /// What the worker with this number (from 0) is given; shared with others where there are too few. `None` where
    /// nothing is known of any.
    pub(crate) fn of_worker(&self, number: u32, each: u32) -> Option<String> {
        if each == 0 || self.devices.is_empty() {
            return None;
        }
        let first = u64::from(number) * u64::from(each);
        let chosen = (first..first + u64::from(each)).map(|at| {
            let at = usize::try_from(at % self.devices.len() as u64).unwrap_or(0);
            self.devices[at].as_str()
        });
        Some(
            chosen
                .take(self.devices.len())
                .collect::<Vec<_>>()
                .join(","),
        )
    }

    /// A warning where so many workers with so many GPUs each are more than there are.
    pub(crate) fn shortage(&self, workers: u32, each: u32) -> Option<String> {
        let wanted = u64::from(workers) * u64::from(each);
        let there = self.devices.len() as u64;
        (wanted > there).then(|| {
            format!("{workers} workers with {each} GPUs each want {wanted} GPUs, and this machine has {there}: they share them")
        })
    }
}

fn of_machine() -> Vec<String> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("nvidia")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_own_while_there_are_enough() {
        let gpus = Gpus {
            devices: ["4", "5", "6", "7"].map(str::to_owned).to_vec(),
        };
        assert_eq!(gpus.of_worker(0, 2).as_deref(), Some("4,5"));
        assert_eq!(gpus.of_worker(1, 2).as_deref(), Some("6,7"));
        assert_eq!(gpus.of_worker(2, 2).as_deref(), Some("4,5"));
        assert_eq!(gpus.of_worker(0, 9).as_deref(), Some("4,5,6,7"));
        assert_eq!(gpus.of_worker(0, 0), None);
        assert_eq!(gpus.shortage(2, 2), None);
        assert!(gpus.shortage(3, 2).is_some());
        assert_eq!(
            Gpus {
                devices: Vec::new()
            }
            .of_worker(0, 1),
            None
        );
    }
}
