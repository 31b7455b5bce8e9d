//! How many processes this node has, and which GPUs it sees.

use super::arguments::ProcessCount;

/// How many processes. The error says why not.
pub(super) fn count(wanted: ProcessCount) -> Result<u32, String> {
    let gpus = gpus(
        std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(),
        of_machine,
    );
    let gpus = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    let count = match wanted {
        ProcessCount::Number(number) => number,
        ProcessCount::Cpu => cpus,
        ProcessCount::Gpu if gpus == 0 => {
            return Err(
                "--nproc-per-node gpu: no GPU is there, or CUDA_VISIBLE_DEVICES hides them all"
                    .to_owned(),
            );
        }
        ProcessCount::Gpu => gpus,
        ProcessCount::Auto if gpus > 0 => gpus,
        ProcessCount::Auto => cpus,
    };
    Ok(count.clamp(1, petctl_spec::MAX_PROCESSES))
}

/// GPUs that CUDA would show: all of the machine's, or those named, up to the first that is none.
pub(super) fn gpus(visible: Option<&str>, of_machine: impl FnOnce() -> Vec<u32>) -> Vec<String> {
    match visible {
        None => of_machine().iter().map(u32::to_string).collect(),
        Some(list) => list
            .split(',')
            .map(str::trim)
            .take_while(|device| !device.is_empty() && !device.starts_with('-'))
            .map(str::to_owned)
            .collect(),
    }
}

/// Numbers of the machine's GPUs.
pub(super) fn of_machine() -> Vec<u32> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix("nvidia")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_counted_as_cuda_shows_them() {
        let of_machine = || vec![0, 1];
        assert_eq!(gpus(None, of_machine), ["0", "1"]);
        assert_eq!(gpus(Some("GPU-abc, 3"), of_machine), ["GPU-abc", "3"]);
        assert_eq!(gpus(Some("0,-1,1"), of_machine), ["0"]);
        assert!(gpus(Some(""), of_machine).is_empty());
    }

    #[test]
    fn a_count_is_at_least_one() {
        assert_eq!(count(ProcessCount::Number(3)), Ok(3));
        assert!(count(ProcessCount::Cpu).unwrap() >= 1);
    }
}
