//! Single blobs that can't be read, or are of another kind: the others come, and these are named.

use petctl_test_it::{Cloud, Fault, Job, Matching, Ran, Stage, World};
use std::collections::BTreeSet;
use std::fs;

/// What the service says of a single blob.
const REFUSED: [(&str, u16, &str, &str); 3] = [
    (
        "thawing",
        409,
        "BlobBeingRehydrated",
        "it is on its way back from the archive",
    ),
    (
        "locked",
        409,
        "BlobUsesCustomerSpecifiedEncryption",
        "it is encrypted with a key of its owner's",
    ),
    (
        "typed",
        409,
        "InvalidBlobType",
        "it is a page or append blob",
    ),
];

/// Blobs of all kinds below `in`, of which some are refused.
fn fill(cloud: &Cloud<'_>) {
    cloud.fill(&["plain-0", "plain-1", "z/plain-2"], 3_000);
    cloud.blobs().put_pages("in/pages", &[7; 1_024]);
    cloud.blobs().put_appended("in/log", b"one line\n");
    cloud.fill(&["archived"], 10);
    cloud.blobs().archive("in/archived");
    let names: Vec<&str> = REFUSED.iter().map(|(name, ..)| *name).collect();
    cloud.fill(&names, 10);
    for (name, status, code, _) in REFUSED {
        let fault = Fault::RefuseName { status, code };
        let of_name = Matching::has(format!("/in/{name}"));
        cloud.proxy().strike_all(of_name, fault);
    }
}

/// Those that can be read.
const READ: [&str; 5] = ["log", "pages", "plain-0", "plain-1", "z/plain-2"];

#[track_caller]
fn names_the_refused(mut ran: Ran) -> Ran {
    for (name, _, _, why) in REFUSED {
        ran = ran.says(&format!("/in/{name}: {why}"));
    }
    ran.says("/in/archived: it is archived")
        .says("STORAGE_BLOCKED")
}

#[test]
fn a_download_brings_all_that_can_be_read_and_names_the_rest() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    fill(&cloud);
    let home = world.path("taken");
    let download = |to: &[&str]| {
        let download = world.petctl().arg("download").arg(cloud.address("in"));
        let download = download.args(to).args(["--endpoint", &cloud.endpoint()]);
        download.run()
    };
    let folder = home.to_str().unwrap();
    let ran = names_the_refused(download(&[folder]).exits(75));
    let ran = ran.says("5 files fetched, 4 names not: the same command tries them again");
    for name in READ {
        assert!(home.join(name).is_file(), "{name}: {ran}");
    }
    assert_eq!(fs::read(home.join("pages")).unwrap(), [7; 1_024]);
    assert_eq!(fs::read(home.join("log")).unwrap(), b"one line\n");
    // No zip that lacks something; and all of them are named.
    let zip = world.path("all.zip");
    names_the_refused(download(&["--zip", zip.to_str().unwrap()]).exits(75));
    assert!(!zip.exists());
    // What never will be again leaves the same command nothing to hope for.
    cloud.proxy().calm();
    let ran = download(&[folder]).exits(65);
    ran.says("3 files fetched, 1 name not: the same command will not bring them");
    let ran = download(&[folder, "--exclude", "archived"]).exits(0);
    ran.says("8 unchanged");
    world.finish();
}

#[test]
fn what_is_shown_of_a_single_blob_is_its_bytes_or_why_not() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    fill(&cloud);
    let cat = |name: &str| {
        let cat = world.petctl().args(["storage", "cat"]);
        let cat = cat.arg(cloud.address(&format!("in/{name}")));
        cat.args(["--endpoint", &cloud.endpoint()]).run()
    };
    assert_eq!(cat("log").exits(0).stdout, "one line\n");
    assert_eq!(cat("pages").exits(0).stdout.len(), 1_024);
    for (name, _, _, why) in REFUSED {
        let ran = cat(name);
        assert_ne!(ran.exit, Some(0), "{ran}");
        ran.says("STORAGE_BLOCKED").says(why);
    }
    cat("archived").says("it is archived");
    world.finish();
}

#[test]
fn inputs_that_cannot_be_read_fail_their_shards_alone() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    fill(&cloud);
    world.expect_warning("staging failed");
    let file = Job::new("odd")
        .workers(1, 1, 4)
        .storage(cloud.storage(true))
        .stage(
            Stage::script(1, "cp \"$1\" \"$PETCTL_OUTPUT/copy\"")
                .shards("{ glob = \"**\" }")
                .args(&["{input}"])
                .with("retries = 1\nbackoff = \"10ms\""),
        )
        .write(&world);
    world.run(&file).run().exits(1);
    let ask = world.ask();
    let rows = ask.report("odd");
    let done: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row["state"] == "done")
        .filter_map(|row| row["shard"].as_str())
        .collect();
    assert_eq!(done, BTreeSet::from(READ), "{rows:?}");
    for (name, _, _, why) in REFUSED {
        let shard = ask.shard("odd", name);
        assert_eq!(shard["error"]["code"], "STORAGE_BLOCKED", "{shard}");
        let message = shard["error"]["message"].to_string();
        assert!(message.contains(why), "{shard}");
    }
    let archived = ask.shard("odd", "archived");
    assert_eq!(archived["error"]["code"], "STORAGE_BLOCKED", "{archived}");
    world.finish();
}

#[test]
fn an_upload_over_a_blob_of_another_kind_sends_the_rest() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    cloud.blobs().put_pages("up/disk", &[7; 512]);
    // Azure refuses to make a block blob of it; Azurite does not.
    let fault = Fault::RefuseName {
        status: 409,
        code: "InvalidBlobType",
    };
    let puts = Matching::of("PUT", "/up/disk");
    cloud.proxy().strike_all(puts, fault);
    let source = world.path("source");
    fs::create_dir_all(&source).unwrap();
    for name in ["a", "disk", "z"] {
        fs::write(source.join(name), name).unwrap();
    }
    let upload = world.petctl().arg("upload").arg(&source);
    let upload = upload.arg(cloud.address("up"));
    let ran = upload.args(["--endpoint", &cloud.endpoint()]).run();
    ran.exits(65)
        .says("/up/disk: it is a page or append blob")
        .says("2 files sent, 1 name not");
    for name in ["a", "z"] {
        let sent = cloud.blobs().get(&format!("up/{name}"));
        assert_eq!(sent.as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(cloud.blobs().get("up/disk").unwrap(), [7; 512]);
    world.finish();
}
