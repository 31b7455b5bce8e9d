//! `petctl upload` and `petctl download`.

use petctl_test_it::{Azurite, Cloud, Fault, Matching, Proxy, Sas, World, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use walkdir::WalkDir;

/// Names that have gone wrong somewhere.
const ODD: [&str; 8] = [
    "plain.txt",
    "with blanks/a b  c.txt",
    "percent %41 %2F 100%.txt",
    "plus+and&and=and#and?.txt",
    "データ/走行-01.xml",
    "Ümläute und ß.txt",
    "quote'and\"more.txt",
    "deep/a/b/c/d/e.txt",
];

fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in WalkDir::new(folder).min_depth(1).into_iter().flatten() {
        let name = entry
            .path()
            .strip_prefix(folder)
            .unwrap()
            .display()
            .to_string();
        if entry.file_type().is_file() {
            found.insert(name, fs::read(entry.path()).unwrap());
        } else if fs::read_dir(entry.path()).unwrap().next().is_none() {
            found.insert(format!("{name}/"), Vec::new());
        }
    }
    found
}

/// Bytes that no compression or chance repeats.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut content = vec![0; bytes];
    random.fill(&mut content);
    content
}

#[test]
fn a_tree_with_every_odd_name_comes_back_as_it_was_and_only_changes_are_sent_again() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let source = world.path("source");
    for (number, name) in ODD.iter().enumerate() {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(number * 700, 3)).unwrap();
    }
    fs::create_dir_all(source.join("empty/inside")).unwrap();
    fs::write(source.join("large"), noise(20_000_000, 4)).unwrap();
    let upload = |more: &[&str]| {
        let upload = world
            .petctl()
            .arg("upload")
            .arg(&source)
            .arg(cloud.address("up"));
        upload
            .args(["--endpoint", &cloud.endpoint()])
            .args(more)
            .run()
    };
    let proxy = cloud.proxy();
    upload(&["--dry-run"]).exits(0);
    assert_eq!(proxy.count("PUT", ""), 0, "a dry run sends nothing");
    upload(&[]).exits(0);
    let home = world.path("home-again");
    let download = || {
        let download = world
            .petctl()
            .arg("download")
            .arg(cloud.address("up"))
            .arg(&home);
        download.args(["--endpoint", &cloud.endpoint()]).run()
    };
    download().exits(0);
    assert!(tree(&source) == tree(&home), "{:?}", tree(&home).keys());
    let (sent, fetched) = (proxy.sent(), proxy.count("GET", "/up/"));
    upload(&[]).exits(0);
    download().exits(0);
    assert_eq!(proxy.sent(), sent, "nothing has changed");
    assert_eq!(proxy.count("GET", "/up/"), fetched, "nothing has changed");
    fs::write(source.join("plain.txt"), "other").unwrap();
    fs::remove_file(source.join(ODD[2])).unwrap();
    upload(&["--delete", "--yes"]).exits(0);
    assert_eq!(proxy.sent(), sent + 5, "one file has changed");
    let left = cloud.blobs().list("up/");
    assert!(!left.contains_key(&format!("up/{}", ODD[2])), "{left:?}");
    assert_eq!(cloud.blobs().get("up/plain.txt").unwrap(), b"other");
    world.finish();
}

#[test]
fn an_upload_that_is_killed_goes_on_where_it_was() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    let file = world.path("job/large");
    let bytes = noise(200_000_000, 5);
    fs::write(&file, &bytes).unwrap();
    let upload = || {
        let upload = world
            .petctl()
            .arg("upload")
            .arg(&file)
            .arg(cloud.address("up/"));
        upload.args(["--endpoint", &cloud.endpoint()])
    };
    let proxy = cloud.proxy();
    let blocks = Matching::of("PUT", "comp=block").but("comp=blocklist");
    // Slow enough to be killed in the middle.
    proxy.strike_all(blocks, Fault::Slow(20_000));
    let mut first = upload().spawn();
    wait_until("three quarters of it", || {
        proxy.sent() > bytes.len() as u64 / 4 * 3
    });
    first.kill();
    proxy.calm();
    let before = proxy.seen();
    let interrupted: BTreeSet<u64> = before.iter().map(|seen| seen.connection).collect();
    let sent: u64 = before.iter().map(|seen| seen.sent).sum();
    let block = before.iter().map(|seen| seen.sent).max().unwrap();
    upload().run().exits(0);
    assert!(
        cloud.blobs().get("up/large").unwrap() == bytes,
        "the same bytes"
    );
    let total: u64 = proxy.seen().iter().map(|seen| seen.sent).sum();
    // The list of blocks itself is some more.
    let lists: u64 = proxy
        .seen()
        .iter()
        .filter(|seen| seen.target.contains("comp=blocklist"))
        .map(|seen| seen.sent)
        .sum();
    let again = total - lists - bytes.len() as u64;
    let most = block * interrupted.len() as u64;
    assert!(
        again <= most,
        "{again} bytes were sent again, of {sent} before the kill; {} connections, blocks of {block}",
        interrupted.len()
    );
    world.finish();
}

#[test]
fn a_sas_that_ends_in_the_middle_of_a_file_is_renewed_and_nothing_is_sent_twice() {
    let world = World::new();
    let azurite = Azurite::shared();
    let cloud = Cloud::shared(&world);
    world.remove_env("AZURE_STORAGE_KEY");
    let proxy = Proxy::start(azurite.address(), 1);
    let bytes = noise(48_000_000, 6);
    fs::write(world.path("job/large"), &bytes).unwrap();
    let renew = |sas: &Sas| {
        fs::write(world.path("job/sas.new"), azurite.sas(sas)).unwrap();
        fs::rename(world.path("job/sas.new"), world.path("job/sas")).unwrap();
    };
    renew(&Sas::default().lasting(8));
    let blocks = Matching::of("PUT", "comp=block&");
    // The last blocks come when the first SAS is over.
    proxy.strike_all(blocks, Fault::Slow(1_500));
    let endpoint = proxy.endpoint(azurite.account());
    let upload = world
        .petctl()
        .arg("upload")
        .arg("large")
        .arg(cloud.address("up/"));
    let upload = upload
        .args(["--endpoint", &endpoint, "--sas-token", "file:sas"])
        .spawn();
    wait_until("a block", || proxy.count("PUT", "comp=block&") > 0);
    renew(&Sas::default());
    let ran = upload.wait().exits(0);
    assert!(
        cloud.blobs().get("up/large").unwrap() == bytes,
        "the same bytes: {ran}"
    );
    world.finish();
}

#[test]
fn an_upload_through_bad_weather_arrives_whole() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(7);
    let source = world.path("source");
    fs::create_dir_all(&source).unwrap();
    for number in 0..60 {
        let bytes = noise(number * 9_000, number as u64);
        fs::write(source.join(format!("file-{number}")), bytes).unwrap();
    }
    fs::write(source.join("large"), noise(30_000_000, 9)).unwrap();
    cloud.proxy().set_weather(petctl_test_it::Weather {
        refused: 60,
        lost: 40,
        cut: 40,
        slow: 20,
    });
    let endpoint = cloud.endpoint();
    let up = world
        .petctl()
        .arg("upload")
        .arg(&source)
        .arg(cloud.address("up"));
    up.args(["--endpoint", &endpoint]).run().exits(0);
    let home = world.path("home-again");
    let down = world
        .petctl()
        .arg("download")
        .arg(cloud.address("up"))
        .arg(&home);
    down.args(["--endpoint", &endpoint]).run().exits(0);
    assert!(
        tree(&source) == tree(&home),
        "what came back is what went there"
    );
    let proxy = cloud.proxy();
    for (what, times) in [
        (
            "refused",
            proxy.struck(|fault| matches!(fault, Fault::Refuse { .. })),
        ),
        ("lost", proxy.struck(|fault| fault == Fault::LoseAnswer)),
        (
            "cut",
            proxy.struck(|fault| matches!(fault, Fault::CutRequest | Fault::CutAnswer)),
        ),
        (
            "slow",
            proxy.struck(|fault| matches!(fault, Fault::Slow(_))),
        ),
    ] {
        assert!(times > 0, "no request was {what}: the weather was fine");
    }
    world.finish();
}
