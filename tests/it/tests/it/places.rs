//! Folders and ports that can't be used.

use petctl_test_it::{Coordinator, Job, Stage, World, verify_commits, verify_outputs, wait_until};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Takes all the space of a file system but so many KiB.
fn fill(folder: &Path, leave_kib: u64) {
    let space = rustix::fs::statvfs(folder).unwrap();
    let bytes = (space.f_bavail * space.f_frsize).saturating_sub(leave_kib * 1024);
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    let chunk = vec![b'x'; 4096];
    for _ in 0..bytes / 4096 {
        file.write_all(&chunk).unwrap();
    }
}

#[test]
fn a_full_output_disk_is_not_the_shards_fault_and_the_job_goes_on_when_there_is_space() {
    let world = World::new();
    let Some(disk) = world.mount("job/out", 4 * 1024) else {
        return world.finish();
    };
    let body = "head -c 900000 /dev/zero > \"$PETCTL_OUTPUT/large\"";
    let stage = Stage::script(8, body).with("backoff = \"10ms\"\nbudgets = { infrastructure = 1 }");
    let file = Job::new("full").stage(stage).write(&world);
    world.run(&file).run().exits(1).says("free");
    let rows = world.ask().report("full");
    let done: Vec<String> = rows
        .iter()
        .filter(|row| row["state"] == "done")
        .map(|row| row["shard"].as_str().unwrap().to_owned())
        .collect();
    assert!(!done.is_empty() && done.len() < 8, "{done:?}");
    for row in rows.iter().filter(|row| row["state"] == "failed") {
        assert_eq!(row["error"]["code"], "DISK_FULL", "{row}");
        assert_eq!(
            (
                &row["failures"]["infrastructure"],
                &row["failures"]["failed"]
            ),
            (&2.into(), &0.into()),
            "{row}"
        );
    }
    verify_outputs(&world.output(), "work", &done);

    disk.grow(64 * 1024);
    world.run(&file).run().exits(0);
    let keys = Stage::keys(8);
    verify_commits(
        &world.ask().events("full"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world.finish();
}

#[test]
fn a_full_disk_under_the_logs_of_attempts_cuts_the_logs_and_fails_no_shard() {
    let world = World::new();
    let Some(_disk) = world.mount("job/out/.petctl/logs", 64) else {
        return world.finish();
    };
    let body =
        "yes 'a line of a long log' | head -c 1000000\necho done > \"$PETCTL_OUTPUT/data.txt\"";
    let file = Job::new("cut").stage(Stage::script(4, body)).write(&world);
    world.run(&file).run().exits(0);
    let keys = Stage::keys(4);
    verify_commits(
        &world.ask().events("cut"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world
        .petctl()
        .args(["logs", "cut"])
        .run()
        .exits(0)
        .says("a line of a long log");
    world.finish();
}

#[test]
fn a_full_disk_under_the_event_log_stops_the_run_and_nothing_acknowledged_is_lost() {
    let world = World::new();
    let Some(disk) = world.mount("home", 32 * 1024) else {
        return world.finish();
    };
    world.expect_warning("space");
    world.expect_warning("STATE_DISK_FULL");
    world.allow_warning("a worker is lost");
    // A long reason makes each commit take room in the log.
    let body = r#"echo "$PETCTL_SHARD_KEY $$ $PETCTL_ATTEMPT" >> starts
while [ ! -e gates/all ] && [ "$PETCTL_SHARD_INDEX" -ge 4 ]; do sleep 0.02; done
reason=$(head -c 400 /dev/zero | tr '\0' x)
printf '{"verdict": "pass", "reasons": ["%s"]}' "$reason" > "$PETCTL_OUTPUT/result.json""#;
    let file = Job::new("nolog")
        .workers(1, 1, 4)
        .stage(Stage::script(600, body))
        .write(&world);
    let running = world.run(&file).spawn();
    let ask = world.ask();
    ask.status_when("nolog", "four shards done", |status| status["done"] == 4);
    fill(disk.folder(), 0);
    world.open_gate("all");
    let stopped = running.wait().exits(75).says("space");
    assert!(
        stopped.stderr.contains("error[STATE_DISK_FULL]"),
        "{stopped}"
    );
    assert!(
        stopped.stderr.contains("coordinator.redb"),
        "it says where: {stopped}"
    );

    fs::remove_file(disk.folder().join("filler")).unwrap();
    let done = ask.done("nolog");
    assert!((4..600).contains(&done), "{done} done");
    let before = world.starts().len();
    let begun_ms = now_ms();
    world.run(&file).run().exits(0);
    // The first run knew that its workers are dead; the second one's coordinator had nobody to wait for.
    let formed = ask
        .events_of("nolog", "epoch_formed")
        .into_iter()
        .find(|event| event.at_ms >= begun_ms)
        .unwrap();
    let waited_ms = formed.at_ms - begun_ms;
    assert!(waited_ms < 4_000, "waited {waited_ms} ms for dead workers");
    assert!(
        world.starts().len() - before <= 600 - usize::try_from(done).unwrap(),
        "what was done ran again"
    );
    let keys = Stage::keys(600);
    verify_commits(
        &ask.events("nolog"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    world.finish();
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = world
        .petctl()
        .args(["rendezvous", "--listen", &address])
        .run()
        .fails_with(78, "PORT_IN_USE");
    ran.says(&address).says("choose another port");
    world.finish();
}

#[test]
fn a_state_folder_in_use_is_refused_and_its_holder_named() {
    let world = World::new();
    let mut first = Coordinator::start(&world, None);
    let pid = first.process().pid();
    let second = world
        .petctl()
        .args(["rendezvous", "--listen", "127.0.0.1:0", "--state"])
        .arg(first.state());
    second
        .run()
        .fails_with(75, "STATE_IN_USE")
        .says(&pid.to_string())
        .says(&first.state().display().to_string());
    assert!(first.runs(), "the first one goes on");
    first.terminate();
    world.finish();
}

#[test]
fn a_read_only_state_folder_is_named_with_what_to_do() {
    let world = World::new();
    let Some(disk) = world.mount("readonly", 4 * 1024) else {
        return world.finish();
    };
    let file = Job::new("readonly").stage(Stage::gated(1)).write(&world);
    let coordinator = Coordinator::start(&world, None);
    coordinator.terminate();
    disk.make_read_only();
    let place = disk.folder().display().to_string();
    let ran = world
        .petctl()
        .args(["rendezvous", "--listen", "127.0.0.1:0", "--state"])
        .arg(disk.folder())
        .run();
    ran.fails_with(78, "STATE_READ_ONLY")
        .says(&place)
        .says("choose another");
    let ran = world.run(&file).arg("--home").arg(disk.folder()).run();
    ran.fails_with(78, "STATE_FOLDER")
        .says(&place)
        .says("--home");
    // And the outputs.
    let file = Job::new("nowrite")
        .output(disk.folder().join("out"))
        .stage(Stage::gated(1))
        .write(&world);
    let begun = Instant::now();
    world
        .run(&file)
        .run()
        .fails_with(78, "OUTPUT_UNWRITABLE")
        .says(&place);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    assert!(world.starts().is_empty());
    world
        .petctl()
        .args(["status", "nowrite"])
        .run()
        .fails_with(66, "NO_SUCH_JOB");
    assert!(
        !world.state_of("nowrite").join("coordinator").exists(),
        "nothing was started"
    );
    world.finish();
}

#[test]
fn the_state_of_a_newer_or_older_petctl_is_left_alone() {
    let world = World::new();
    let file = Job::new("newer").stage(Stage::gated(1)).write(&world);
    world.open_gate("all");
    world.run(&file).run().exits(0);
    let log = world.state_of("newer").join("coordinator/coordinator.redb");
    let own = set_format(&log, 99);
    let version = world.petctl().arg("--version").run().exits(0).stdout;
    world
        .run(&file)
        .run()
        .fails_with(78, "STATE_VERSION_NEWER")
        .says("99")
        .says(&format!("use {}", version.trim()));
    world
        .petctl()
        .args(["status", "newer"])
        .run()
        .fails_with(78, "STATE_VERSION_NEWER");
    let state = log.parent().unwrap();
    let ran = world
        .petctl()
        .args(["rendezvous", "--listen", "127.0.0.1:0", "--state"])
        .arg(state)
        .run();
    ran.fails_with(78, "STATE_VERSION_NEWER");
    set_format(&log, 3);
    world
        .run(&file)
        .run()
        .fails_with(78, "STATE_VERSION_OLDER")
        .says("older petctl");
    set_format(&log, own);
    world
        .petctl()
        .args(["status", "newer"])
        .run()
        .exits(0)
        .says("succeeded");

    let card = world.state_of("newer").join("job.json");
    let text = fs::read_to_string(&card).unwrap();
    assert!(text.contains("\"version\": 1"), "{text}");
    fs::write(&card, text.replace("\"version\": 1", "\"version\": 99")).unwrap();
    world
        .run(&file)
        .run()
        .fails_with(78, "STATE_TOO_NEW")
        .says("99");
    fs::write(&card, text).unwrap();
    world.run(&file).run().exits(0).says("nothing to do");
    world.finish();
}

#[test]
fn a_damaged_state_file_is_named_and_not_written_over() {
    let world = World::new();
    let file = Job::new("damaged").stage(Stage::gated(1)).write(&world);
    world.open_gate("all");
    world.run(&file).run().exits(0);
    let log = world
        .state_of("damaged")
        .join("coordinator/coordinator.redb");
    let good = fs::read(&log).unwrap();
    for bad in [
        Vec::new(),
        b"no database".to_vec(),
        good[..good.len() / 2].to_vec(),
    ] {
        fs::write(&log, &bad).unwrap();
        world
            .run(&file)
            .run()
            .fails_with(78, "STATE_CORRUPT")
            .says(&log.display().to_string());
        assert_eq!(
            fs::read(&log).unwrap().len(),
            bad.len(),
            "the damaged file is as it was"
        );
    }
    fs::write(&log, good).unwrap();
    world.run(&file).run().exits(0).says("nothing to do");
    world.finish();
}

#[test]
fn a_worker_whose_job_has_ended_ends_too() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let file = Job::new("ended").stage(Stage::gated(1)).write(&world);
    world.open_gate("all");
    let first = coordinator.worker("first", 1);
    coordinator.run(&file).run().exits(0);
    first.terminate();
    let late = world
        .petctl()
        .arg("worker")
        .args(coordinator.connect())
        .args(["--job", "ended", "--name", "late"]);
    let mut late = late.spawn();
    wait_until("the end of a worker that has nothing to do", || {
        !late.runs()
    });
    late.wait().exits(0);
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_coordinator_that_is_told_to_end_leaves_its_workers_their_shards() {
    let world = World::new();
    let mut coordinator = Coordinator::start(&world, None);
    let worker = coordinator.worker("one", 1);
    let file = Job::new("told").stage(Stage::gated(1)).write(&world);
    let run = coordinator.run(&file).spawn();
    wait_until("a shard that runs", || world.starts().len() == 1);
    coordinator.process().signal(Signal::TERM);
    wait_until("a coordinator that has ended", || !coordinator.runs());
    coordinator.start_again();
    world.open_gate("all");
    run.wait().exits(0);
    assert_eq!(world.starts().len(), 1);
    let keys = Stage::keys(1);
    verify_commits(
        &coordinator.ask().events("told"),
        &verify_outputs(&world.output(), "work", &keys),
        &keys,
    );
    worker.terminate();
    coordinator.terminate();
    world.finish();
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Answers with the version that was there.
fn set_format(path: &Path, version: u64) -> u64 {
    const META: redb::TableDefinition<'static, &'static str, u64> =
        redb::TableDefinition::new("meta");
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(META).unwrap();
    let before = table
        .insert("format", version)
        .unwrap()
        .map(|was| was.value())
        .unwrap();
    drop(table);
    transaction.commit().unwrap();
    before
}
