//! Warm processes: one takes shard after shard, and each way in which it can go wrong is told apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use petctl_output::layout::AttemptName;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{AttemptResult, GpuShare, Lease, Outcome, Release, Revocation, Verdict};
use petctl_spec::{JobSpec, ServeSpec};
use petctl_worker::Ended;

use crate::fake::{Bench, lease, names, until, within};

/// Does as the shard's parameter `do` says.
const SERVER: &str = r#"
import json, os, signal, sys, time
root = os.environ["ROOT"]
def say(message):
    print("@petctl " + json.dumps(message), flush=True)
def leave(*_):
    open(root + "/left", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("loading")
open(root + f"/process-{os.getpid()}", "w").close()
start = sys.argv[1]
if start == "die":
    print("no model", file=sys.stderr)
    sys.exit(4)
if start == "sleep":
    time.sleep(1000)
if start == "talk":
    print("@petctl hello", flush=True)
    time.sleep(1000)
stays = False
say({"ready": True})
for line in sys.stdin:
    shard = json.loads(line)
    do = shard["params"].get("do", "work")
    print("doing", do, shard["key"])
    print("on stderr", shard["key"], file=sys.stderr)
    answer = {"id": shard["id"], "ok": True}
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit":
        sys.exit(3)
    if do == "sleep":
        open(root + "/sleeping", "w").close()
        time.sleep(1000)
    if do == "garbage":
        print("@petctl not JSON", flush=True)
        time.sleep(1000)
    if do == "memory":
        taken = bytearray(200_000_000)
        time.sleep(1000)
    if do == "stay":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stays = True
    if do == "close":
        os.close(1)
        time.sleep(1000)
    if do == "other":
        answer["id"] = 99
    if do == "fail":
        answer.update(ok=False, message="no road")
    if do == "refuse":
        answer.update(ok=False, message="never", retry=False)
    if do == "flood":
        for number in range(2_000):
            print("line", number)
    if do == "skip":
        with open(shard["output"] + "/result.json", "w") as file:
            json.dump({"verdict": "skipped", "reasons": ["empty"]}, file)
    with open(shard["output"] + "/shard", "w") as file:
        json.dump({"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), **shard}, file)
    if do == "twice":
        line = "@petctl " + json.dumps(answer) + "\n"
        os.write(1, (line * 2).encode())
        continue
    say(answer)
    if do == "answer and die":
        os.kill(os.getpid(), signal.SIGKILL)
open(root + "/read to the end", "w").close()
while stays:
    time.sleep(1)
"#;

fn serves(spec: &mut JobSpec, start: &str) {
    let root = spec.folder.clone();
    let stage = &mut spec.stages[0];
    let script = SERVER.replace('{', "{{").replace('}', "}}");
    stage.command = ["python3", "-c", &script, start]
        .map(str::to_owned)
        .to_vec();
    stage.env = BTreeMap::from([("ROOT".to_owned(), root)]);
    stage.dispatch.serve = Some(ServeSpec {
        start_timeout_ms: 100_000,
    });
}

impl Bench {
    async fn serving(change: impl FnOnce(&mut JobSpec)) -> Self {
        Self::with_slots(1, "", 60_000, |spec| {
            serves(spec, "well");
            change(spec);
        })
        .await
    }

    async fn serve(&mut self, lease: Lease) -> AttemptResult {
        let lease_id = lease.lease_id;
        self.session.lease([lease]).await;
        self.session.results(1).await.remove(&lease_id).unwrap()
    }

    /// Runs a shard of its own under a lease of the same number.
    async fn asked(&mut self, number: u32, what: &str) -> AttemptResult {
        self.serve(ask(number, what)).await
    }

    fn shard_said(&self, number: u32) -> serde_json::Value {
        let text = fs::read(self.committed(number).join("shard")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn shard_log(&self, number: u32) -> String {
        let name = AttemptName {
            stage: "work",
            key: &format!("k{number}"),
            attempt: 1,
            lineage: 7,
            lease_id: number.into(),
        };
        let path = petctl_output::layout::Layout::new(self.output()).log(name);
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// How many processes were started.
    fn processes(&self) -> usize {
        let all = names(self.root());
        all.iter()
            .filter(|name| name.starts_with("process-"))
            .count()
    }

    fn living(&self) -> usize {
        let all = names(self.root());
        let pids = all.iter().filter_map(|name| name.strip_prefix("process-"));
        pids.filter(|pid| PathBuf::from(format!("/proc/{pid}")).exists())
            .count()
    }
}

fn ask(number: u32, what: &str) -> Lease {
    Lease {
        detail_json: format!("{{\"params\": {{\"do\": \"{what}\"}}, \"size\": 7}}"),
        ..lease(number.into(), number)
    }
}

#[track_caller]
fn expect(result: &AttemptResult, outcome: Outcome, code: &str, said: &str) {
    let got = (result.outcome(), result.code.as_str());
    assert_eq!(got, (outcome, code), "{result:?}");
    assert!(result.message.contains(said), "{result:?}");
}

#[tokio::test]
async fn one_process_takes_all_shards_and_each_has_its_own_outputs_and_log() {
    let mut bench = Bench::serving(|spec| {
        spec.stages[0]
            .params
            .insert("gap".to_owned(), "2".to_owned());
    })
    .await;
    for number in 1..=3 {
        expect(
            &bench.asked(number, "work").await,
            Outcome::Committed,
            "",
            "",
        );
    }
    assert_eq!(bench.processes(), 1);
    let said = bench.shard_said(2);
    assert_eq!(said["pid"], bench.shard_said(1)["pid"]);
    assert_eq!((&said["key"], &said["index"]), (&"k2".into(), &2.into()));
    assert_eq!((&said["attempt"], &said["size"]), (&1.into(), &7.into()));
    assert_eq!(
        said["params"],
        serde_json::json!({"gap": "2", "do": "work"})
    );
    assert_eq!(said["input"], serde_json::Value::Null);
    assert_eq!(bench.shard_log(1), "loading\ndoing work k1\non stderr k1");
    assert_eq!(bench.shard_log(2), "doing work k2\non stderr k2");
    let result = bench.asked(4, "skip").await;
    assert_eq!(result.verdict(), Verdict::Skipped, "{result:?}");
    let log = bench.asked(5, "flood").await;
    assert_eq!(log.outcome(), Outcome::Committed);
    assert!(bench.shard_log(5).contains("line 1999"));
    assert_eq!(bench.processes(), 1);
    assert_eq!(bench.attempt_folders(), Vec::<String>::new());
    let root = bench.root().to_owned();
    let folder = std::mem::replace(&mut bench.folder, tempfile::tempdir().unwrap());
    bench.end().await;
    assert!(
        root.join("read to the end").exists(),
        "it ends with its input"
    );
    drop(folder);
}

#[tokio::test]
async fn a_process_that_dies_fails_its_shard_and_a_new_one_takes_the_next() {
    let mut bench = Bench::serving(|_| {}).await;
    expect(&bench.asked(1, "work").await, Outcome::Committed, "", "");
    let killed = bench.asked(2, "kill").await;
    expect(&killed, Outcome::Failed, "SERVE_DIED", "killed by SIGKILL");
    assert_eq!((killed.signal, killed.exit_code), (9, None));
    assert!(killed.log_tail.contains("on stderr k2"), "{killed:?}");
    let exited = bench.asked(3, "exit").await;
    expect(&exited, Outcome::Failed, "SERVE_DIED", "exited with 3");
    assert_eq!(exited.exit_code, Some(3));
    expect(&bench.asked(4, "work").await, Outcome::Committed, "", "");
    assert_eq!(bench.processes(), 3);
    assert!(!bench.committed(2).exists());
    assert_eq!(names(&bench.output().join("work")), ["k1", "k4"]);
    bench.end().await;
}

#[tokio::test]
async fn a_death_between_two_shards_costs_neither_of_them() {
    let mut bench = Bench::serving(|_| {}).await;
    let result = bench.asked(1, "answer and die").await;
    expect(&result, Outcome::Committed, "", "");
    until("it is dead", || {
        let pid = bench.shard_said(1)["pid"].to_string();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    })
    .await;
    expect(&bench.asked(2, "work").await, Outcome::Committed, "", "");
    assert!(bench.shard_log(2).contains("ended while it had no shard"));
    bench.end().await;
}

#[tokio::test]
async fn nonsense_fails_the_shard_and_ends_the_process() {
    let mut bench = Bench::serving(|_| {}).await;
    let cases = [
        ("garbage", "not JSON"),
        ("other", "answered with the id 99"),
        ("close", "closed its stdout"),
    ];
    for (number, (what, said)) in (1..).zip(cases) {
        let result = bench.asked(number, what).await;
        expect(&result, Outcome::Failed, "SERVE_PROTOCOL", said);
        assert_eq!(bench.living(), 0, "{what}");
    }
    // Its second answer is of no shard.
    expect(&bench.asked(4, "twice").await, Outcome::Committed, "", "");
    expect(&bench.asked(5, "work").await, Outcome::Committed, "", "");
    assert!(bench.shard_log(5).contains("answered a shard twice"));
    bench.end().await;
}

#[tokio::test]
async fn a_failure_that_is_said_ends_no_process() {
    let mut bench = Bench::serving(|_| {}).await;
    let failed = bench.asked(1, "fail").await;
    expect(&failed, Outcome::Failed, "SERVE_FAILED", "no road");
    assert!(failed.log_tail.contains("doing fail"), "{failed:?}");
    expect(
        &bench.asked(2, "refuse").await,
        Outcome::Failed,
        "SERVE_REFUSED",
        "never",
    );
    expect(&bench.asked(3, "work").await, Outcome::Committed, "", "");
    assert_eq!(bench.processes(), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_process_that_is_not_ready_costs_the_shard_nothing_of_its_own() {
    for (start, said, timeout_ms) in [
        ("die", "exited with 4 before it was ready", 100_000),
        ("sleep", "longer than start_timeout = 300ms", 300),
    ] {
        let mut bench = Bench::with_slots(1, "", 60_000, |spec| {
            serves(spec, start);
            spec.stages[0].dispatch.serve = Some(ServeSpec {
                start_timeout_ms: timeout_ms,
            });
        })
        .await;
        let result = bench.asked(1, "work").await;
        expect(&result, Outcome::Infrastructure, "SERVE_NOT_READY", said);
        assert_eq!(bench.living(), 0);
        assert_eq!(
            start == "die",
            result.log_tail.contains("no model"),
            "{result:?}"
        );
        bench.end().await;
    }
    let mut bench = Bench::with_slots(1, "", 60_000, |spec| serves(spec, "talk")).await;
    let result = bench.asked(1, "work").await;
    expect(&result, Outcome::Failed, "SERVE_PROTOCOL", "hello");
    bench.end().await;
}

#[tokio::test]
async fn the_timeout_is_of_each_shard() {
    let mut bench = Bench::serving(|spec| spec.stages[0].timeout_ms = 3_000).await;
    expect(&bench.asked(1, "work").await, Outcome::Committed, "", "");
    let result = bench.asked(2, "sleep").await;
    expect(&result, Outcome::TimedOut, "TIMED_OUT", "timeout = 3s");
    assert!(bench.root().join("left").exists(), "SIGTERM comes first");
    expect(&bench.asked(3, "work").await, Outcome::Committed, "", "");
    assert_eq!(bench.processes(), 2);
    bench.end().await;
}

#[tokio::test]
async fn a_process_over_its_memory_is_killed_and_its_shard_named() {
    // Its strays are found by the number of the lease, which is another one in each test that takes memory.
    let mut bench = Bench::serving(|spec| spec.stages[0].memory_mib = 128).await;
    expect(
        &bench.asked(4_801, "work").await,
        Outcome::Committed,
        "",
        "",
    );
    let result = bench.asked(4_802, "memory").await;
    expect(
        &result,
        Outcome::Failed,
        "MEMORY_EXCEEDED",
        " of 128 MiB that the stage's `memory` allows",
    );
    assert_eq!(bench.living(), 0);
    expect(
        &bench.asked(4_803, "work").await,
        Outcome::Committed,
        "",
        "",
    );
    bench.end().await;
}

#[tokio::test]
async fn a_process_that_will_not_end_is_killed_with_its_worker() {
    let mut bench = Bench::serving(|_| {}).await;
    expect(&bench.asked(1, "stay").await, Outcome::Committed, "", "");
    bench.shutdown.now.cancel();
    let ended = within(&mut bench.worker).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Stopped);
    assert_eq!(bench.living(), 0);
}

#[tokio::test]
async fn a_shard_that_is_taken_back_takes_its_process_along() {
    let mut bench = Bench::serving(|_| {}).await;
    bench.session.lease([ask(1, "sleep")]).await;
    let sleeping = bench.root().join("sleeping");
    until("it sleeps", || sleeping.exists()).await;
    let order = Revocation {
        lease_ids: vec![1],
        code: "JOB_CANCELLED".to_owned(),
        message: "somebody cancelled the job".to_owned(),
        only_if_queued: false,
    };
    bench.session.send(Response::Revocation(order)).await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    expect(&result, Outcome::Revoked, "JOB_CANCELLED", "");
    assert_eq!(bench.living(), 0);
    expect(&bench.asked(2, "work").await, Outcome::Committed, "", "");
    bench.end().await;
}

#[tokio::test]
async fn a_slot_that_turns_to_another_stage_ends_the_process_first() {
    let mut bench = Bench::serving(|spec| {
        let mut other = spec.stages[0].clone();
        other.name = "other".to_owned();
        spec.stages.push(other);
    })
    .await;
    expect(&bench.asked(1, "work").await, Outcome::Committed, "", "");
    let other = Lease {
        stage: 1,
        ..ask(2, "work")
    };
    expect(&bench.serve(other).await, Outcome::Committed, "", "");
    assert_eq!((bench.processes(), bench.living()), (2, 1));
    assert!(bench.root().join("read to the end").exists());
    bench.end().await;
}

#[tokio::test]
async fn a_job_that_leaves_takes_its_processes_along() {
    let mut bench = Bench::serving(|_| {}).await;
    expect(&bench.asked(1, "work").await, Outcome::Committed, "", "");
    assert_eq!(bench.living(), 1);
    let release = Release {
        code: "JOB_SUCCEEDED".to_owned(),
        message: "the job has succeeded".to_owned(),
    };
    bench.session.send(Response::Release(release)).await;
    until("no process is left", || bench.living() == 0).await;
    bench.end().await;
}

#[tokio::test]
async fn a_shard_with_other_gpus_has_a_process_that_sees_them() {
    let mut bench = Bench::serving(|_| {}).await;
    let with = |number, device| Lease {
        gpus: vec![GpuShare {
            device,
            milli: 1_000,
        }],
        ..ask(number, "work")
    };
    for (number, device) in [(1, 0), (2, 0), (3, 1)] {
        let result = bench.serve(with(number, device)).await;
        expect(&result, Outcome::Committed, "", "");
        assert_eq!(bench.shard_said(number)["gpus"], device.to_string());
    }
    assert_eq!(bench.processes(), 2);
    bench.end().await;
}

#[tokio::test]
async fn the_python_helper_serves() {
    let script = "import sys; sys.path.insert(0, sys.argv[1])\n\
        from petctl_serve import serve\n\
        def run(shard):\n    print('half', end='')\n    if shard.key == 'k2': raise ValueError('no road')\n    \
        open(shard.output + '/key', 'w').write(shard.key)\n\
        serve(run)";
    let helper = format!(
        "{}/../examples",
        std::env::var("CARGO_MANIFEST_DIR").unwrap()
    );
    let mut bench = Bench::with_slots(1, "", 60_000, |spec| {
        serves(spec, "");
        spec.stages[0].command = ["python3", "-c", script, &helper]
            .map(str::to_owned)
            .to_vec();
    })
    .await;
    expect(&bench.asked(1, "").await, Outcome::Committed, "", "");
    let failed = bench.asked(2, "").await;
    expect(
        &failed,
        Outcome::Failed,
        "SERVE_FAILED",
        "ValueError: no road",
    );
    assert!(failed.log_tail.contains("Traceback"), "{failed:?}");
    expect(&bench.asked(3, "").await, Outcome::Committed, "", "");
    assert_eq!(fs::read(bench.committed(3).join("key")).unwrap(), b"k3");
    assert_eq!(bench.shard_log(3), "half");
    bench.end().await;
}
