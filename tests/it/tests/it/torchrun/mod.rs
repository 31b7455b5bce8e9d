//! `petctl torchrun`.

mod machines;
mod nodes;
mod scripts;

use petctl_test_it::{Background, Petctl, World, kill, wait_for, wait_until};
use std::fs;
use std::net::TcpListener;

/// Says who it is, and waits for the gate; SIGTERM is noted.
const WAITS: &str = r#"
trap 'echo "$RANK" >> told; exit 0' TERM
echo "$RANK $WORLD_SIZE $GROUP_RANK $TORCHELASTIC_RESTART_COUNT $$ $MASTER_ADDR:$MASTER_PORT" >> said
while [ ! -e gates/all ]; do sleep 0.02; done
"#;

/// A run of several nodes at one endpoint.
struct Run<'w> {
    world: &'w World,
    port: u16,
    flags: Vec<String>,
}

impl<'w> Run<'w> {
    fn new(world: &'w World, nnodes: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let endpoint = format!("--rdzv-endpoint=localhost:{port}");
        let flags = [
            "--no-python",
            "--rdzv-backend=c10d",
            "--rdzv-id=run",
            &endpoint,
        ];
        let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
        flags.push(format!("--nnodes={nnodes}"));
        Self { world, port, flags }
    }

    fn with(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn node(&self, more: &[&str]) -> Petctl<'w> {
        torchrun(self.world).args(&self.flags).args(more)
    }

    fn start(&self, script: &str) -> Background {
        self.node(&[script]).spawn()
    }

    /// The process that runs their coordinator; `None`: there is none.
    fn coordinator(&self) -> Option<u32> {
        let listen = format!(":{}", self.port);
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains("torchrun-coordinator") && line.trim_end().ends_with(&listen)
            })
    }

    fn finish(&self) {
        wait_until("end of the coordinator", || self.coordinator().is_none());
    }

    /// A coordinator whose run has not ended stays for a minute.
    fn finish_or_kill(&self) {
        if let Some(pid) = self.coordinator() {
            kill(pid);
        }
        self.finish();
    }
}

fn torchrun(world: &World) -> Petctl<'_> {
    world.petctl().arg("torchrun").env("OMP_NUM_THREADS", "1")
}

/// Lines that the script has written.
fn lines(world: &World, file: &str) -> Vec<String> {
    let text = fs::read_to_string(world.job_folder().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for so many lines, and answers the last of them, sorted.
fn said(world: &World, in_all: usize, last: usize) -> Vec<Vec<String>> {
    let all = wait_for("what the scripts say", || {
        let lines = lines(world, "said");
        (lines.len() >= in_all).then_some(lines)
    });
    assert_eq!(all.len(), in_all, "{all:?}");
    let mut said: Vec<Vec<String>> = all[in_all - last..]
        .iter()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    said.sort();
    said
}

fn column(said: &[Vec<String>], at: usize) -> Vec<&str> {
    said.iter().map(|words| words[at].as_str()).collect()
}
