//! `--numa-binding`: the CPUs near each local rank's GPU, as the kernel describes the machine in /proc and /sys.

use super::arguments::NumaBinding;
use super::devices;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Cpus = BTreeSet<usize>;

/// For each local rank a list of CPUs, as `taskset -c` takes it; empty: no rank is bound.
pub(super) fn bindings(
    binding: Option<NumaBinding>,
    count: u32,
) -> Result<Vec<Option<String>>, String> {
    let Some(binding) = binding else {
        return Ok(Vec::new());
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let machine = Machine {
        root: PathBuf::from("/"),
        allowed: allowed(),
    };
    machine
        .bindings(binding, count, visible.as_deref())
        .map_err(|why| format!("--numa-binding: {why}"))
}

struct Machine {
    /// Where /proc and /sys are.
    root: PathBuf,
    /// CPUs that this process may use.
    allowed: Cpus,
}

impl Machine {
    fn bindings(
        &self,
        binding: NumaBinding,
        count: u32,
        visible: Option<&str>,
    ) -> Result<Vec<Option<String>>, String> {
        let nodes = self.numa_nodes(visible)?;
        (0..count as usize)
            .map(|rank| {
                let node = nodes.get(rank).ok_or_else(|| {
                    format!("local rank {rank} has no GPU: {} can be seen", nodes.len())
                })?;
                // Of the GPUs at its NUMA node, the how many-th it is, and of how many.
                let place = nodes
                    .iter()
                    .take(rank)
                    .filter(|other| *other == node)
                    .count();
                let of = nodes.iter().filter(|other| *other == node).count();
                let cpus = self.cpus(binding, *node, place, of)?;
                if cpus.is_empty() {
                    return Err(format!(
                        "no CPU near the GPU of local rank {rank} may be used"
                    ));
                }
                Ok(Some(list(&cpus)))
            })
            .collect()
    }

    fn cpus(
        &self,
        binding: NumaBinding,
        node: usize,
        place: usize,
        of: usize,
    ) -> Result<Cpus, String> {
        let near = self.of_node(node)?;
        match binding {
            NumaBinding::Node => Ok(near),
            NumaBinding::Socket => {
                let packages: BTreeSet<String> = near
                    .iter()
                    .map(|cpu| self.package(*cpu))
                    .collect::<Result<_, _>>()?;
                let mut all = Cpus::new();
                for cpu in &self.allowed {
                    if packages.contains(&self.package(*cpu)?) {
                        all.insert(*cpu);
                    }
                }
                Ok(all)
            }
            NumaBinding::Exclusive => {
                let cores = self.grouped(&near, |cpu| self.siblings(cpu))?;
                if cores.len() < of {
                    return Err(format!(
                        "{} cores near {of} GPUs are too few for `exclusive`; use node",
                        cores.len()
                    ));
                }
                // The first GPUs get one more where the cores can't be shared evenly.
                let first = place * (cores.len() / of) + place.min(cores.len() % of);
                let share = cores.len() / of + usize::from(place < cores.len() % of);
                Ok(cores
                    .into_values()
                    .skip(first)
                    .take(share)
                    .flatten()
                    .collect())
            }
            NumaBinding::CoreComplex => {
                let mut caches: Vec<Cpus> = self
                    .grouped(&near, |cpu| self.cache(cpu))?
                    .into_values()
                    .collect();
                caches.sort_by_key(|cpus| (std::cmp::Reverse(cpus.len()), cpus.first().copied()));
                let chosen = place % caches.len().max(1);
                Ok(caches.into_iter().nth(chosen).unwrap_or_default())
            }
        }
    }

    /// The NUMA node of each GPU that can be seen, in the order of local ranks.
    fn numa_nodes(&self, visible: Option<&str>) -> Result<Vec<usize>, String> {
        let folder = self.root.join("proc/driver/nvidia/gpus");
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut buses: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        // CUDA numbers equal GPUs by their place on the bus.
        buses.sort_unstable();
        if buses.is_empty() {
            return Err("no NVIDIA GPU is there".to_owned());
        }
        let all = || {
            (0..buses.len())
                .filter_map(|number| u32::try_from(number).ok())
                .collect()
        };
        devices::gpus(visible, all)
            .iter()
            .map(|device| {
                let bus = device
                    .parse()
                    .ok()
                    .and_then(|number: usize| buses.get(number));
                let bus = bus.ok_or_else(|| {
                    format!(
                        "GPU `{}` of CUDA_VISIBLE_DEVICES is not known by its number",
                        petctl_ui::terminal::printable(device)
                    )
                })?;
                let file = format!("sys/bus/pci/devices/{}/numa_node", bus.to_ascii_lowercase());
                // -1: the machine has one node only.
                Ok(self.read(&file)?.parse().unwrap_or(0))
            })
            .collect()
    }

    fn of_node(&self, node: usize) -> Result<Cpus, String> {
        let text = self.read(&format!("sys/devices/system/node/node{node}/cpulist"))?;
        Ok(parse(&text).intersection(&self.allowed).copied().collect())
    }

    fn package(&self, cpu: usize) -> Result<String, String> {
        self.read(&format!(
            "sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"
        ))
    }

    fn siblings(&self, cpu: usize) -> Result<String, String> {
        self.read(&format!(
            "sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        ))
    }

    /// Who shares the largest cache.
    fn cache(&self, cpu: usize) -> Result<String, String> {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache");
        let mut largest = (0, String::new());
        for index in 0..16 {
            let Ok(level) = self.read(&format!("{folder}/index{index}/level")) else {
                break;
            };
            let level: u32 = level.parse().unwrap_or(0);
            if level > largest.0 {
                let shared = self.read(&format!("{folder}/index{index}/shared_cpu_list"))?;
                largest = (level, shared);
            }
        }
        Ok(largest.1)
    }

    /// CPUs that share something, by the first of them.
    fn grouped(
        &self,
        cpus: &Cpus,
        shared: impl Fn(usize) -> Result<String, String>,
    ) -> Result<BTreeMap<usize, Cpus>, String> {
        let mut groups = BTreeMap::<usize, Cpus>::new();
        for cpu in cpus {
            let first = parse(&shared(*cpu)?).first().copied().unwrap_or(*cpu);
            groups.entry(first).or_default().insert(*cpu);
        }
        Ok(groups)
    }

    fn read(&self, file: &str) -> Result<String, String> {
        let path = self.root.join(Path::new(file));
        fs::read_to_string(&path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| format!("can't read {}: {error}", path.display()))
    }
}

fn allowed() -> Cpus {
    let set = rustix::thread::sched_getaffinity(None);
    set.map(|set| {
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect()
    })
    .unwrap_or_default()
}

/// Reads `0-3,8`.
fn parse(text: &str) -> Cpus {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
        })
        // No machine has more.
        .flat_map(|range| range.take(65_536))
        .collect()
}

/// Writes `0-3,8`.
fn list(cpus: &Cpus) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets of two NUMA nodes each, four cores of two threads per node, a cache for each two cores; two GPUs at
    /// node 1, one at node 3.
    fn machine() -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        let write = |file: String, text: String| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for node in 0..4 {
            let (low, high) = (node * 4, 16 + node * 4);
            let cpus = format!("{low}-{},{high}-{}\n", low + 3, high + 3);
            write(format!("sys/devices/system/node/node{node}/cpulist"), cpus);
        }
        for cpu in 0..32 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            let core = cpu % 16;
            let pair = core / 2 * 2;
            write(
                format!("{folder}/topology/physical_package_id"),
                (core / 8).to_string(),
            );
            let siblings = format!("{core},{}", core + 16);
            write(
                format!("{folder}/topology/thread_siblings_list"),
                siblings.clone(),
            );
            write(format!("{folder}/cache/index0/level"), "1".to_owned());
            write(format!("{folder}/cache/index0/shared_cpu_list"), siblings);
            let shared = format!("{pair}-{},{}-{}", pair + 1, pair + 16, pair + 17);
            write(format!("{folder}/cache/index1/level"), "3".to_owned());
            write(format!("{folder}/cache/index1/shared_cpu_list"), shared);
        }
        for (bus, node) in [
            ("0000:0A:00.0", 1),
            ("0000:0b:00.0", 1),
            ("0000:0c:00.0", 3),
        ] {
            fs::create_dir_all(root.path().join("proc/driver/nvidia/gpus").join(bus)).unwrap();
            let file = format!("sys/bus/pci/devices/{}/numa_node", bus.to_ascii_lowercase());
            write(file, format!("{node}\n"));
        }
        let machine = Machine {
            root: root.path().to_owned(),
            allowed: (0..32).collect(),
        };
        (root, machine)
    }

    fn of(binding: NumaBinding, count: u32, visible: Option<&str>) -> Result<Vec<String>, String> {
        let (_root, machine) = machine();
        let bindings = machine.bindings(binding, count, visible)?;
        Ok(bindings.into_iter().flatten().collect())
    }

    #[test]
    fn ranks_get_the_cpus_near_their_gpus() {
        let node = of(NumaBinding::Node, 3, None).unwrap();
        assert_eq!(node, ["4-7,20-23", "4-7,20-23", "12-15,28-31"]);
        let socket = of(NumaBinding::Socket, 3, None).unwrap();
        assert_eq!(socket, ["0-7,16-23", "0-7,16-23", "8-15,24-31"]);
        let exclusive = of(NumaBinding::Exclusive, 3, None).unwrap();
        assert_eq!(exclusive, ["4-5,20-21", "6-7,22-23", "12-15,28-31"]);
        let complex = of(NumaBinding::CoreComplex, 3, None).unwrap();
        assert_eq!(complex, ["4-5,20-21", "6-7,22-23", "12-13,28-29"]);
    }

    #[test]
    fn only_visible_gpus_count() {
        let second = of(NumaBinding::Exclusive, 1, Some("2")).unwrap();
        assert_eq!(second, ["12-15,28-31"]);
        assert!(
            of(NumaBinding::Node, 2, Some("2"))
                .unwrap_err()
                .contains("local rank 1")
        );
        assert!(
            of(NumaBinding::Node, 1, Some("GPU-x"))
                .unwrap_err()
                .contains("GPU-x")
        );
    }

    #[test]
    fn without_a_gpu_it_says_so() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine {
            root: root.path().to_owned(),
            allowed: Cpus::new(),
        };
        let error = machine.bindings(NumaBinding::Node, 1, None).unwrap_err();
        assert_eq!(error, "no NVIDIA GPU is there");
    }

    #[test]
    fn lists_of_cpus_are_read_and_written() {
        assert_eq!(list(&parse("8,0-3\n")), "0-3,8");
        assert!(parse("").is_empty());
    }
}
