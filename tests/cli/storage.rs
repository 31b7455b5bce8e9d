//! Uploads, downloads and a look at storage, with folders in the place of containers.

use crate::harness::{Harness, assert_seen};
use std::fs;
use std::process::Output;

fn harness() -> Harness {
    let harness = Harness::new();
    harness.write("in/a.txt", "one\n");
    harness.write("in/sub dir/b.log", "two\n");
    harness
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_address_with_its_signature_is_never_printed_whole() {
    let harness = Harness::new();
    let address = "https://acc.blob.core.windows.net/raw?sv=1&sp=rl&sig=hunter2%2Fsecret%3D";
    harness.write(
        "signed.toml",
        &format!(
            "[job]\nname = \"signed\"\n[storage]\ninput = \"{address}\"\noutput = \"{address}\"\n[[stage]]\nname = \"s\"\n\
             kind = \"shards\"\nshards = {{ glob = \"*\" }}\ncommand = [\"true\"]\n"
        ),
    );
    for words in [
        format!("storage ls {address}"),
        format!("storage cat {address}"),
        format!("storage rm {address} --yes"),
        format!("storage create {address}"),
        format!("upload . {address}"),
        format!("upload {address} az://a/b"),
        format!("download {address} here"),
        format!("download {address} --zip here.zip"),
        format!("status x --coordinator {address}"),
        format!("storage ls az://raw --endpoint {address}"),
        "run signed.toml".to_owned(),
        "run signed.toml --dry-run".to_owned(),
        "validate signed.toml".to_owned(),
        "validate signed.toml -o json".to_owned(),
        format!("run signed.toml --set storage.output={address}"),
        format!("run {address}"),
    ] {
        let output = harness.run(&words);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("hunter2"), "{words}: {said}");
    }
}

#[test]
fn a_folder_is_sent_once_and_then_only_what_changed() {
    let harness = harness();
    let first = json(&harness.run("upload in ./store -o json"));
    assert_eq!(
        (&first["files"], &first["unchanged"]),
        (&2.into(), &0.into())
    );
    let second = json(&harness.run("upload in ./store -o json"));
    assert_eq!(
        (&second["files"], &second["unchanged"]),
        (&0.into(), &2.into())
    );
    harness.write("in/a.txt", "other\n");
    let third = json(&harness.run("upload in ./store -o json"));
    assert_eq!(
        (&third["files"], &third["unchanged"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        fs::read_to_string(harness.path("store/a.txt")).unwrap(),
        "other\n"
    );
    assert_eq!(
        fs::read_to_string(harness.path("store/sub dir/b.log")).unwrap(),
        "two\n"
    );
}

#[test]
fn upload_dry_run() {
    let harness = harness();
    fs::create_dir(harness.path("in/empty")).unwrap();
    harness.write("store/old.txt", "x");
    assert_seen!(harness.see("upload in ./store --delete --dry-run --exclude *.log"));
    assert!(!harness.path("store/a.txt").exists());
}

#[test]
fn upload_delete_needs_a_yes() {
    let harness = harness();
    harness.write("store/old.txt", "x");
    assert_seen!(harness.see("upload in ./store --delete"));
    assert!(harness.path("store/old.txt").exists());
    assert!(
        harness
            .run("upload in ./store --delete --yes")
            .status
            .success()
    );
    assert!(!harness.path("store/old.txt").exists());
    assert!(harness.path("store/a.txt").exists());
}

#[test]
fn upload_of_nothing() {
    assert_seen!(harness().see("upload nowhere ./store"));
}

#[test]
fn upload_with_links_that_lead_nowhere() {
    let harness = harness();
    std::os::unix::fs::symlink("nowhere", harness.path("in/broken")).unwrap();
    std::os::unix::fs::symlink("gone", harness.path("in/dead")).unwrap();
    assert_seen!(harness.see("upload in ./store"));
}

#[test]
fn secret_on_the_command_line() {
    let harness = harness();
    for flag in ["--account-key", "--sas-token"] {
        let output = harness.run(&format!(
            "upload in az://raw --account some {flag} c2VjcmV0hunter2=="
        ));
        assert_eq!(output.status.code(), Some(2));
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    assert_seen!(
        harness
            .see("storage ls az://raw --account some --account-key c2VjcmV0hunter2==")
            .replace("c2VjcmV0hunter2==", "[secret]")
    );
}

#[test]
fn bad_container_name() {
    assert_seen!(harness().see("upload in az://My_Container/x"));
}

#[test]
fn other_storage() {
    assert_seen!(harness().see("upload in s3://bucket/x"));
}

#[test]
fn bad_pattern() {
    assert_seen!(harness().see("upload in ./store --include a[b"));
}

#[test]
fn download_of_a_folder_and_of_a_single_file() {
    let harness = harness();
    let first = json(&harness.run("download ./in ./out -o json"));
    assert_eq!(first["files"], 2);
    assert_eq!(
        fs::read_to_string(harness.path("out/sub dir/b.log")).unwrap(),
        "two\n"
    );
    assert_eq!(
        json(&harness.run("download ./in ./out -o json"))["unchanged"],
        2
    );
    assert!(
        harness
            .run("download ./in/a.txt renamed.txt")
            .status
            .success()
    );
    assert_eq!(
        fs::read_to_string(harness.path("renamed.txt")).unwrap(),
        "one\n"
    );
}

#[test]
fn a_jobs_committed_outputs_come_home_as_a_folder_and_as_the_same_zip_each_time() {
    let harness = Harness::new();
    let script = "echo $0 > $1/out.txt; echo png > $1/plot.png";
    harness.write(
        "job.toml",
        &format!(
            "[job]\nname = \"made\"\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\nkind = \"shards\"\n\
             shards = {{ range = [0, 3] }}\ncommand = [\"sh\", \"-c\", \"{script}\", \"{{key}}\", \"{{output}}\"]\n"
        ),
    );
    let ran = harness.run("run job.toml");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let keys: Vec<_> = fs::read_dir(harness.path("out/s"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // Left over by an attempt: no manifest, so nobody sees it.
    harness.write("out/s/half/out.txt", "half");

    let fetched = json(&harness.run("download made ./home -o json"));
    assert_eq!(fetched["files"], 6);
    for key in &keys {
        assert!(harness.path("home/s").join(key).join("out.txt").is_file());
    }
    assert!(!harness.path("home/s/half").exists());

    for name in ["one.zip", "two.zip"] {
        let zipped = json(&harness.run(&format!(
            "download made --zip {name} --include *.png -o json"
        )));
        assert_eq!(zipped["files"], 3);
    }
    assert!(
        fs::read(harness.path("one.zip")).unwrap() == fs::read(harness.path("two.zip")).unwrap()
    );
    assert!(
        harness
            .run("download made --zip one.zip --force")
            .status
            .success()
    );

    // What is not as its manifest says does not come home.
    let broken = harness.path("out/s").join(&keys[0]).join("out.txt");
    let text = fs::read_to_string(&broken).unwrap();
    fs::write(&broken, text.replace(|c: char| c.is_ascii_digit(), "x")).unwrap();
    let output = harness.run("download made --zip three.zip");
    assert_eq!(output.status.code(), Some(75));
    assert!(!harness.path("three.zip").exists());
}

#[test]
fn download_onto_a_zip_that_is_there() {
    let harness = harness();
    harness.write("there.zip", "mine");
    assert_seen!(harness.see("download ./in --zip there.zip"));
    assert_eq!(
        fs::read_to_string(harness.path("there.zip")).unwrap(),
        "mine"
    );
}

#[test]
fn download_of_a_job_that_is_not_there() {
    assert_seen!(harness().see("download nojob ./out"));
}

#[test]
fn storage_ls_of_nothing() {
    assert_seen!(harness().see("storage ls ./nowhere/x"));
}

#[test]
fn storage_cat_and_rm() {
    let harness = harness();
    assert_eq!(text(&harness.run("storage cat ./in/a.txt").stdout), "one\n");
    let listed = json(&harness.run("storage ls ./in -o json"));
    assert_eq!(listed["files"], 2);
    assert!(
        harness
            .run("storage rm ./in --recursive --include *.log --yes")
            .status
            .success()
    );
    assert!(harness.path("in/a.txt").exists());
    assert!(!harness.path("in/sub dir/b.log").exists());
}

#[test]
fn storage_rm_of_a_folder() {
    assert_seen!(harness().see("storage rm ./in"));
}

#[test]
fn storage_rm_dry_run() {
    assert_seen!(harness().see("storage rm ./in --recursive --dry-run"));
}

#[test]
fn layout_faults_are_listed_at_once() {
    let harness = Harness::new();
    harness.write(
        "scene/datacollector_config.jsonc",
        "{\n  // how long\n  \"seconds\": 0,\n  \"sensors\": []\n}\n",
    );
    harness.write(
        "scene/schemas/datacollector_config.schema.json",
        "{\"type\": \"object\", \"required\": [\"rate_hz\"], \"properties\": {\"seconds\": {\"minimum\": 1}}}",
    );
    assert_seen!(
        harness.see("upload scene ./store --layout datagen --script drive.py --wheel sim.whl")
    );
    assert!(!harness.path("store").exists());
}

#[test]
fn layout_that_is_none() {
    assert_seen!(harness().see("upload in ./store --layout datagne"));
}

#[test]
fn what_stands_in_the_place_of_another_argument_is_told_with_the_right_command() {
    let harness = harness();
    harness.write(
        "job.toml",
        "[job]\nname = \"made\"\n[storage]\noutput = \"out\"\n[[stage]]\nname = \"s\"\nkind = \"once\"\n\
         command = [\"true\"]\n",
    );
    assert!(harness.run("run job.toml").status.success());
    for (words, said, fix) in [
        (
            "storage cat ./in",
            "cat shows one file, and ",
            "petctl storage ls ",
        ),
        (
            "storage create ./in",
            "create makes a container, and ",
            "petctl storage create az://CONTAINER",
        ),
        (
            "upload az://raw/x ./in",
            "az://raw/x is an address",
            "petctl upload ./in az://raw/x",
        ),
        (
            "upload made az://raw/x",
            "can't find made",
            "petctl download made FOLDER; then petctl upload FOLDER az://raw/x",
        ),
        (
            "download ./in az://raw/x",
            "az://raw/x is an address",
            "petctl upload ./in az://raw/x",
        ),
        (
            "download in made",
            "the job is named first",
            "petctl download made in",
        ),
        (
            "run az://raw/job.toml",
            "a job file is a file on this machine",
            "petctl storage cat az://raw/job.toml > job.toml",
        ),
    ] {
        let output = harness.run(words);
        let shown = text(&output.stderr);
        assert!(!output.status.success(), "{words}: {shown}");
        assert!(shown.contains(said), "{words}: {shown}");
        assert!(shown.contains(fix), "{words}: {shown}");
    }
    assert!(!harness.path("az:").exists());
}

#[test]
fn more_shards_than_are_listed_can_not_be_demanded() {
    let harness = harness();
    let write = |source: &str, min: &str| {
        harness.write(
            "job.toml",
            &format!(
                "[job]\nname = \"m\"\n[storage]\ninput = \"in\"\noutput = \"out\"\n[[stage]]\nname = \"s\"\n\
                 kind = \"shards\"\nshards = {source}\nmin_done = {min}\ncommand = [\"true\", \"{{key}}\"]\n"
            ),
        );
    };
    let glob = "{ glob = \"**\" }";
    write(glob, "3");
    for words in [
        "validate job.toml",
        "run job.toml",
        "run job.toml --dry-run",
    ] {
        let output = harness.run(words);
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{words}: {shown}");
        let said = "stage `s`: min_done is 3, and 2 shards are listed by `**`";
        assert!(shown.contains(said), "{words}: {shown}");
    }
    assert!(!harness.path("out").exists());
    write(glob, "2");
    assert!(harness.run("validate job.toml").status.success());
    write("{ matrix = { a = [1, 2], b = { range = [0, 3] } } }", "7");
    let output = harness.run("validate job.toml");
    let shown = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{shown}");
    assert!(
        shown.contains("is 7, and the stage has 6 shards"),
        "{shown}"
    );
}
