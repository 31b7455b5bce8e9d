//! The script of docs/storage.md that reads committed outputs does read them.

use crate::commit::{MAKER, attempt, manifest};
use crate::service::{HOUR, azurite, container, fresh};
use petctl_commit::{BlobBegin, BlobCommitter};
use petctl_output::manifest::ManifestFile;
use petctl_storage::{Condition, open};
use std::process::Command;

#[tokio::test]
async fn the_python_script_of_the_docs_reads_committed_outputs_only() {
    let path = format!(
        "{}/../docs/storage.md",
        std::env::var("CARGO_MANIFEST_DIR").unwrap()
    );
    let page = std::fs::read_to_string(&path).unwrap();
    let section = page.split("## Committed outputs").nth(1).unwrap();
    let script = section.split("```python\n").nth(1).unwrap();
    let script = script.split("```").next().unwrap();
    let name = fresh("docs");
    let root = container(&name, "us101");
    let committer = BlobCommitter::new(open(&root, &azurite().access()).unwrap());
    committer.store().create().await.unwrap();
    for (key, number, commits) in [("a b/é.xml", 1, true), ("half", 2, false)] {
        let shard = attempt(key, 1, number);
        let begun = committer.begin(MAKER, shard, true).await.unwrap();
        let BlobBegin::Free(ticket) = begun else {
            panic!("{begun:?}")
        };
        let blob = format!("{}out 1.txt", committer.data_prefix(shard));
        let put = committer
            .store()
            .put(&blob, "hello".into(), &Condition::None);
        put.await.unwrap();
        if commits {
            let mut manifest = manifest(shard);
            manifest.files.push(ManifestFile {
                name: "out 1.txt".to_owned(),
                bytes: 5,
                sha256: String::new(),
            });
            let made = (&manifest, None);
            committer
                .publish(&ticket, MAKER, shard, made)
                .await
                .unwrap();
        }
    }
    let output = Command::new("python3")
        .args(["-c", script])
        .env("CONTAINER_URL", format!("{}/{name}", azurite().endpoint()))
        .env("AZURE_STORAGE_SAS_TOKEN", azurite().sas("rl", HOUR))
        .env("PYTHONUTF8", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "a b/é.xml out 1.txt 5\n"
    );
}
