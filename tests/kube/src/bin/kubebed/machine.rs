//! The nodes: each is the process tree of one `join.sh`, and ends as a whole when that process is killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::instance::remove_group;
use crate::plane::{Plane, bound, log_into};

const JOIN: &str = include_str!("join.sh");
const NODE: &str = include_str!("node.sh");

/// One node.
pub(crate) struct Machine {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// 1 and up: the last parts of its addresses.
    number: usize,
    process: Option<Child>,
}

/// Writes what nodes run into the bed's folder.
pub(crate) fn prepare(bed: &Path) -> Result<(), String> {
    for (name, text) in [("join.sh", JOIN), ("node.sh", NODE)] {
        fs::write(bed.join(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

impl Machine {
    /// A node that is off.
    pub(crate) fn new(number: usize) -> Self {
        Self {
            name: name(number),
            number,
            process: None,
        }
    }

    /// Gives the node its disk: a container runtime's folder with the images in it.
    ///
    /// The files of images never change, neither in the runtime's store nor under a container, so they are the
    /// installed ones by another name. Its databases do change, and are copied.
    pub(crate) fn furnish(&self, bed: &Path, images: &Path) -> Result<(), String> {
        let own = bed.join(&self.name);
        fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        let script = "cp -al \"$1\" \"$2/containerd\" 2>/dev/null || \
                      { rm -rf \"$2/containerd\"; cp -a --reflink=auto \"$1\" \"$2/containerd\"; }
                      find \"$2/containerd\" -name '*.db' -path '*/io.containerd.*' -exec cp -p {} {}.own \\; \
                      -exec mv {}.own {} \\;";
        let mut command = Command::new("bash");
        command.args(["-euc", script, "furnish"]);
        run(command.arg(images).arg(&own))
    }

    /// Switches it on. The thread that does must not end before the node.
    pub(crate) fn start(&mut self, plane: &Plane, bed: &Path, tools: &Path) -> Result<(), String> {
        if self.process.is_some() {
            return Err(format!("{} is on", self.name));
        }
        let mut command = bound(Command::new("bash"));
        command
            .arg(bed.join("join.sh"))
            .arg(&self.name)
            .arg(bed)
            .arg(plane.holder().to_string())
            .arg(tools)
            .arg(self.number.to_string())
            .stdin(Stdio::null());
        log_into(&mut command, bed, &self.name)?;
        let started = command.spawn();
        self.process = Some(started.map_err(|error| format!("{}: {error}", self.name))?);
        Ok(())
    }

    /// Cuts its power. Returns when none of its processes is left.
    pub(crate) fn kill(&mut self, bed: &Path) -> Result<(), String> {
        self.kill_soon()?;
        let groups = self.groups(bed);
        let until = Instant::now() + Duration::from_secs(20);
        // A machine that comes up again has no control groups of before; the kubelet would look into each for seconds.
        while groups.iter().any(|group| group.exists()) {
            if Instant::now() > until {
                return Err(format!("{} has processes that can't be killed", self.name));
            }
            for group in &groups {
                remove_group(group, false);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Cuts its power, and doesn't look back.
    pub(crate) fn kill_soon(&mut self) -> Result<(), String> {
        let mut process = self
            .process
            .take()
            .ok_or_else(|| format!("{} is off", self.name))?;
        drop(process.kill());
        drop(process.wait());
        Ok(())
    }

    /// Whether its first process has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| process.try_wait().ok().flatten().is_some())
    }

    /// Takes its cable out, or puts it in again.
    pub(crate) fn cable(&self, plane: &Plane, plugged: bool) -> Result<(), String> {
        if self.process.is_none() {
            return Err(format!("{} is off", self.name));
        }
        let mut link = plane.inside("ip");
        link.args([
            "link",
            "set",
            &self.name,
            if plugged { "up" } else { "down" },
        ]);
        run(&mut link)?;
        if plugged {
            // The kernel forgets the ways over a cable that is out.
            let (pods, node) = (format!("10.78.{}.0/24", self.number), self.address());
            let mut route = plane.inside("ip");
            route.args(["route", "replace", &pods, "via", &node, "dev", &self.name]);
            run(&mut route)?;
        }
        Ok(())
    }

    /// Loads an image into the node's container runtime; does nothing if the node is off.
    pub(crate) fn loader(&self, image: &Path) -> Option<Command> {
        let first = first_child(self.process.as_ref()?.id())?;
        let image = File::open(image).ok()?;
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &first.to_string(), "--mount", "--pid", "--net"])
            .args(["ctr", "--namespace", "k8s.io", "images", "import", "-"])
            .stdin(image);
        Some(command)
    }

    fn address(&self) -> String {
        format!("10.77.0.{}", 10 + self.number)
    }

    fn groups(&self, bed: &Path) -> Vec<PathBuf> {
        let recorded = fs::read_to_string(bed.join("cgroups")).unwrap_or_default();
        let end = format!("-{}", self.name);
        let own = recorded.lines().filter(|line| line.ends_with(&end));
        own.map(PathBuf::from).collect()
    }
}

/// The name of a node.
pub(crate) fn name(number: usize) -> String {
    format!("n{number}")
}

/// Runs a command to its end; its complaints, if it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, said.trim()))
}

/// The child of `unshare`, which is the first process of the node.
fn first_child(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it is in brackets, and may hold anything.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let parent_of = fields.and_then(|fields| fields.split(' ').nth(1)?.parse::<u32>().ok());
        parent_of == Some(parent)
    })
}
