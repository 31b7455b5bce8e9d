//! Inputs and needed outputs in blob storage are here when a command starts.

use std::fs;

use petctl_proto::v1::{Lease, Outcome};
use petctl_spec::{ShardDetail, ShardSource, StageKind};

use crate::cloud::{Cloud, entries, told};
use crate::disk_full::SmallDisk;
use crate::fake::{lease, until};

const COPIES: &str = "cat $PETCTL_INPUT > $PETCTL_OUTPUT/copy";
/// Says that it runs, and ends once the file `go` is there.
const WAITS: &str = "touch started-$PETCTL_LEASE; until [ -e go ]; do sleep 0.01; done";

fn with_inputs(lease: Lease, inputs: &[&str]) -> Lease {
    let detail = ShardDetail {
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        ..ShardDetail::default()
    };
    Lease {
        detail_json: serde_json::to_string(&detail).unwrap(),
        ..lease
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_input_reaches_the_command_under_its_name() {
    let cloud = Cloud::new().await;
    cloud.input("k0", "hello").await;
    let script =
        "cat $PETCTL_INPUT > $PETCTL_OUTPUT/copy; basename $PETCTL_INPUT > $PETCTL_OUTPUT/name";
    let mut bench = cloud.bench(script).await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!(cloud.output("work", "k0", "copy").await, "hello");
    assert_eq!(cloud.output("work", "k0", "name").await, "k0\n");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_names_the_inputs_and_the_first_is_the_input() {
    let cloud = Cloud::new().await;
    cloud.input("a/x.txt", "1").await;
    cloud.input("b/x.txt", "2").await;
    let script = r#"cat "$@" > $PETCTL_OUTPUT/all; cat $PETCTL_INPUT > $PETCTL_OUTPUT/first"#;
    let mut bench = cloud
        .bench_with(script, |spec| {
            spec.stages[0].kind =
                StageKind::Shards(ShardSource::Manifest("/shards.jsonl".to_owned()));
            spec.stages[0]
                .command
                .extend(["sh".to_owned(), "{inputs}".to_owned()]);
        })
        .await;
    let lease = with_inputs(lease(1, 0), &["b/x.txt", "a/x.txt"]);
    bench.session.lease([lease]).await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!(cloud.output("work", "k0", "all").await, "21");
    assert_eq!(cloud.output("work", "k0", "first").await, "2");
    bench.end().await;
}

/// What a folder holds, under its own name.
const TELLS_FOLDER: &str =
    r#"cd "$PETCTL_INPUT/.." && find "$(basename "$PETCTL_INPUT")" | sort > $PETCTL_OUTPUT/all"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_an_input_with_all_that_is_below_it() {
    let cloud = Cloud::new().await;
    for name in ["bags/k0/metadata.yaml", "bags/k0/deep/k0_0.db3"] {
        cloud.input(name, "12345").await;
    }
    cloud.input("bags/k0/empty/", "").await;
    // Neither is in it.
    cloud.input("bags/k0.txt", "1").await;
    cloud.input("bags/k00/x", "1").await;
    // A folder that holds nothing.
    cloud.input("bags/k1/", "").await;
    // Too large, and not there.
    cloud.input("bags/k2/a", vec![b'x'; 600]).await;
    cloud.input("bags/k2/b", vec![b'x'; 600]).await;
    let mut bench = cloud
        .bench_with(TELLS_FOLDER, |spec| {
            spec.storage.stage_bytes = 1_000;
            spec.stages[0].kind = StageKind::Shards(ShardSource::Glob("bags/*/".to_owned()));
        })
        .await;
    let bag = |lease_id, shard| Lease {
        key: format!("bags/k{shard}"),
        ..lease(lease_id, shard)
    };
    bench
        .session
        .lease([bag(1, 0), bag(2, 1), bag(3, 2), bag(4, 3)])
        .await;
    let results = bench.session.results(4).await;
    assert_eq!(
        results[&1].outcome(),
        Outcome::Committed,
        "{:?}",
        results[&1]
    );
    assert_eq!(
        results[&2].outcome(),
        Outcome::Committed,
        "{:?}",
        results[&2]
    );
    assert_eq!(told(&results[&3]), ("Failed".to_owned(), "INPUT_TOO_LARGE"));
    assert_eq!(told(&results[&4]), ("Failed".to_owned(), "INPUT_MISSING"));
    assert_eq!(
        cloud.output("work", "bags/k0", "all").await,
        "k0\nk0/deep\nk0/deep/k0_0.db3\nk0/empty\nk0/metadata.yaml\n"
    );
    assert_eq!(cloud.output("work", "bags/k1", "all").await, "k1\n");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_names_folders_beside_files() {
    let cloud = Cloud::new().await;
    cloud.input("bags/a/x.db3", "of the bag").await;
    cloud.input("map.txt", "map").await;
    cloud.input("nothing.txt", "").await;
    cloud.input("empty/", "").await;
    let script = r#"cat "$1"/x.db3 "$2" "$3" > $PETCTL_OUTPUT/all; ls -d "$4"/"#;
    let mut bench = cloud
        .bench_with(script, |spec| {
            spec.stages[0].kind =
                StageKind::Shards(ShardSource::Manifest("/shards.jsonl".to_owned()));
            spec.stages[0]
                .command
                .extend(["sh".to_owned(), "{inputs}".to_owned()]);
        })
        .await;
    let inputs = ["bags/a", "map.txt", "nothing.txt", "empty"];
    bench
        .session
        .lease([with_inputs(lease(1, 0), &inputs)])
        .await;
    let result = bench.session.results(1).await.remove(&1).unwrap();
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!(cloud.output("work", "k0", "all").await, "of the bagmap");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_inputs_are_staged_while_one_runs() {
    let cloud = Cloud::new().await;
    for key in ["k0", "k1", "k2"] {
        cloud.input(key, key).await;
    }
    let mut bench = cloud.worker(1, 60_000, WAITS, |_| {}).await;
    bench
        .session
        .lease([lease(1, 0), lease(2, 1), lease(3, 2)])
        .await;
    let started = bench.root().join("started-1");
    until("the first runs", || started.exists()).await;
    until("the others are staged", || {
        cloud.cached() == ["k0", "k1", "k2"]
    })
    .await;
    assert!(!bench.root().join("started-2").exists());
    fs::write(bench.root().join("go"), "").unwrap();
    assert_eq!(bench.session.results(3).await.len(), 3);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_shared_and_stays_within_its_bound() {
    let cloud = Cloud::new().await;
    for name in ["a", "b", "c", "d"] {
        cloud.input(name, vec![b'x'; 1_000]).await;
    }
    let mut bench = cloud
        .bench_with(COPIES, |spec| {
            spec.storage.stage_bytes = 2_500;
            spec.stages[0].kind =
                StageKind::Shards(ShardSource::Manifest("/shards.jsonl".to_owned()));
        })
        .await;
    let leases = ["a", "a", "b", "c", "a", "d", "b"];
    let leases = leases
        .iter()
        .zip(0_u32..)
        .map(|(name, shard)| with_inputs(lease(u64::from(shard) + 1, shard), &[name]));
    bench.session.lease(leases).await;
    for result in bench.session.results(7).await.values() {
        assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    }
    let cached = cloud.cached();
    assert!((1..=2).contains(&cached.len()), "{cached:?}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_already_is_not_fetched_again_by_the_next_worker() {
    let cloud = Cloud::new().await;
    cloud.input("k0", "from the storage").await;
    let mut bench = cloud.bench(COPIES).await;
    assert_eq!(bench.run_one().await.outcome(), Outcome::Committed);
    bench.end().await;
    let file = entries(&entries(&cloud.local("cache"))[0]).remove(0);
    // Nothing else would tell it from what is in the storage.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "what is here").unwrap();
    let mut bench = cloud.bench(COPIES).await;
    bench
        .session
        .lease([Lease {
            key: "k0".to_owned(),
            ..lease(2, 1)
        }])
        .await;
    let result = bench.session.results(1).await.remove(&2).unwrap();
    assert_eq!(result.committed_lease_id, 1, "{result:?}");
    let detail = with_inputs(lease(3, 5), &["k0"]);
    bench.session.lease([detail]).await;
    bench.session.results(1).await;
    assert_eq!(cloud.output("work", "k5", "copy").await, "what is here");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_not_there_or_too_large_fails_its_shard_alone() {
    let cloud = Cloud::new().await;
    cloud.input("k1", vec![b'x'; 5_000]).await;
    cloud.input("k2", "small").await;
    let mut bench = cloud
        .bench_with(COPIES, |spec| spec.storage.stage_bytes = 1_000)
        .await;
    bench
        .session
        .lease([lease(1, 0), lease(2, 1), lease(3, 2)])
        .await;
    let results = bench.session.results(3).await;
    assert_eq!(told(&results[&1]), ("Failed".to_owned(), "INPUT_MISSING"));
    assert!(
        results[&1].message.contains("/in/k0"),
        "{:?}",
        results[&1].message
    );
    assert_eq!(told(&results[&2]), ("Failed".to_owned(), "INPUT_TOO_LARGE"));
    assert_eq!(results[&3].outcome(), Outcome::Committed);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_wants_the_input_folder_finds_all_of_it() {
    let cloud = Cloud::new().await;
    cloud.input("k0", "0").await;
    cloud.input("sub/map.txt", "map").await;
    let mut bench = cloud
        .bench_with("", |spec| {
            let script = "cat $1/k0 $1/sub/map.txt $PETCTL_INPUT > $PETCTL_OUTPUT/copy";
            spec.stages[0].command = ["/bin/sh", "-c", script, "sh", "{input_root}"]
                .map(str::to_owned)
                .to_vec();
        })
        .await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!(cloud.output("work", "k0", "copy").await, "0map0");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_needed_stages_are_staged_and_own_ones_are_kept() {
    let cloud = Cloud::new().await;
    let change = |per_shard: bool| {
        move |spec: &mut petctl_spec::JobSpec| {
            let script = "cat $1/work/k*/copy > $PETCTL_OUTPUT/copies";
            Cloud::add_stage(spec, per_shard, script);
        }
    };
    for key in ["k0", "k1", "k2"] {
        cloud.input(key, key).await;
    }
    let mut maker = cloud.bench_with(COPIES, change(true)).await;
    maker.session.lease([lease(1, 0), lease(2, 1)]).await;
    for result in maker.session.results(2).await.values() {
        assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    }
    // In the cache: its bytes are here, and its manifest says whose they are.
    let kept = cloud.local("test-7/work/k0");
    assert_eq!(fs::read_to_string(kept.join("copy")).unwrap(), "k0");
    let manifest = petctl_output::manifest::Manifest::read(&kept).unwrap();
    assert_eq!(manifest.manifest.lease_id, 1);

    let after = |lease_id, shard| Lease {
        stage: 1,
        ..lease(lease_id, shard)
    };
    maker.session.lease([after(3, 0)]).await;
    maker.session.results(1).await;
    let own = cloud.output("after", "k0", "copies").await;
    assert_eq!(own, "k0k1", "both are kept here, so both are seen");
    maker.end().await;

    let mut other = cloud.bench_with(COPIES, change(true)).await;
    other.session.lease([after(4, 1)]).await;
    other.session.results(1).await;
    let of_shard = cloud.output("after", "k1", "copies").await;
    assert_eq!(of_shard, "k1", "only its own shard's");
    other.end().await;

    let mut whole = cloud.bench_with(COPIES, change(false)).await;
    whole.session.lease([after(5, 2)]).await;
    whole.session.results(1).await;
    assert_eq!(cloud.output("after", "k2", "copies").await, "k0k1");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_stage_is_stopped_with_the_lease() {
    let cloud = Cloud::new().await;
    cloud.input("k0", vec![b'x'; 1_000]).await;
    cloud.input("k1", vec![b'x'; 1_000]).await;
    let mut bench = cloud
        .bench_with(WAITS, |spec| spec.storage.stage_bytes = 1_500)
        .await;
    // The second has a slot, and no room.
    bench.session.lease([lease(1, 0), lease(2, 1)]).await;
    let started = bench.root().join("started-1");
    until("the first runs", || started.exists()).await;
    bench.session.revoke([2]).await;
    let result = bench.session.results(1).await.remove(&2).unwrap();
    assert_eq!(result.outcome(), Outcome::Revoked, "{result:?}");
    fs::write(bench.root().join("go"), "").unwrap();
    assert_eq!(
        bench.session.results(1).await[&1].outcome(),
        Outcome::Committed
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_cache_is_told_as_such() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut cloud = Cloud::new().await;
    cloud.input("k0", vec![b'x'; 3_000_000]).await;
    cloud.scratch = tempfile::tempdir_in(disk.path()).unwrap();
    let mut bench = cloud.bench(COPIES).await;
    let result = bench.run_one().await;
    assert_eq!(told(&result), ("Infrastructure".to_owned(), "DISK_FULL"));
    assert!(
        result.message.contains(disk.path().to_str().unwrap()),
        "{}",
        result.message
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_container_is_read_where_it_is() {
    let cloud = Cloud::new().await;
    let mount = tempfile::tempdir().unwrap();
    fs::create_dir(mount.path().join("in")).unwrap();
    fs::write(mount.path().join("in/k0"), "mounted").unwrap();
    let path = mount.path().to_str().unwrap().to_owned();
    let mut bench = cloud
        .bench_with(COPIES, |spec| {
            spec.storage.mounts.insert(cloud.container.clone(), path);
        })
        .await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    assert_eq!(cloud.output("work", "k0", "copy").await, "mounted");
    assert!(cloud.cached().is_empty());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_may_be_staged_for_outputs_in_a_folder() {
    let cloud = Cloud::new().await;
    cloud.input("k0", "staged").await;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out").to_str().unwrap().to_owned();
    let mut bench = cloud
        .bench_with(COPIES, |spec| spec.storage.output = output)
        .await;
    let result = bench.run_one().await;
    assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
    let copy = fs::read_to_string(bench.committed(0).join("copy")).unwrap();
    assert_eq!(copy, "staged");
    bench.end().await;
}
