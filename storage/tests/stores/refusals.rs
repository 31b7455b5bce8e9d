//! Each refusal of the service, told so that a user knows what to do; and no secret in any of it.

use crate::service::{HOUR, azurite, container, fresh, hasty, new_store, with_sas};
use bytes::Bytes;
use petctl_azurite::{ACCOUNT, AccountSas, KEY};
use petctl_spec::{SecretRef, StorageAccess};
use petctl_storage::{Condition, Need, SharedStore, StorageError, StorageProblem, open, open_with};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A container with a blob, and a store on it with a SAS that has these permissions.
struct Sas {
    folder: TempDir,
    token: String,
    root: petctl_spec::StorageRoot,
    access: StorageAccess,
    store: SharedStore,
}

async fn sas(token: String) -> Sas {
    let name = fresh("sas");
    let root = container(&name, "");
    let direct = open(&root, &azurite().access()).unwrap();
    direct.create().await.unwrap();
    direct
        .put("a", "hello".into(), &Condition::None)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let access = with_sas(&folder.path().join("sas"), &token);
    let store = open_with(&root, &access, &hasty()).unwrap();
    Sas {
        folder,
        token,
        root,
        access,
        store,
    }
}

fn hide_nothing(error: &StorageError, secret: &str) {
    let shown = format!("{error:?} {error} {}", error.fix);
    let signature = secret.split("sig=").nth(1).unwrap_or(secret);
    assert!(!shown.contains(signature), "{shown}");
    assert!(!shown.contains(secret), "{shown}");
}

async fn put(store: &SharedStore) -> Result<petctl_storage::PutOutcome, StorageError> {
    store.put("a", "new".into(), &Condition::None).await
}

#[tokio::test]
async fn a_sas_opens_what_it_allows() {
    let sas = sas(azurite().sas("rwdlac", HOUR)).await;
    put(&sas.store).await.unwrap();
    assert_eq!(sas.store.list("", None).await.unwrap().entries.len(), 1);
    assert!(sas.store.delete("a", None).await.unwrap());
    sas.store
        .require(&[
            Need::Read,
            Need::List,
            Need::Write,
            Need::Delete,
            Need::Create,
        ])
        .unwrap();
    let shown = format!("{:?} {:?}", sas.store, sas.access);
    assert!(!shown.contains(&sas.token), "{shown}");
}

#[tokio::test]
async fn a_missing_permission_is_named_before_and_after_the_request() {
    let sas = sas(azurite().sas("rl", HOUR)).await;
    let before = sas.store.require(&[Need::Read, Need::Write]).unwrap_err();
    let after = put(&sas.store).await.unwrap_err();
    for error in [&before, &after] {
        assert_eq!(error.problem, StorageProblem::Denied, "{error}");
        assert!(
            error
                .message
                .contains("the SAS has permissions rl; writing needs w or c"),
            "{error}"
        );
        hide_nothing(error, &sas.token);
    }
    assert_eq!(after.service_code, "AuthorizationPermissionMismatch");
    let error = sas.store.delete("a", None).await.unwrap_err();
    assert!(error.message.contains("deleting needs d"), "{error}");
}

#[tokio::test]
async fn each_other_lack_of_a_sas_is_named() {
    let expires = SystemTime::now() + HOUR;
    let lacking = |change: fn(&mut AccountSas)| {
        let mut sas = AccountSas::new("rwdlac", expires);
        change(&mut sas);
        sas.sign(ACCOUNT, KEY)
    };
    let only_read = sas(azurite().sas("r", HOUR)).await;
    let error = only_read.store.list("", None).await.unwrap_err();
    assert!(error.message.contains("listing needs l"), "{error}");
    let other_service = sas(lacking(|sas| sas.services = "q".to_owned())).await;
    let error = put(&other_service.store).await.unwrap_err();
    assert!(
        error.message.contains("not for the blob service"),
        "{error}"
    );
    let only_containers = sas(lacking(|sas| sas.resource_types = "c".to_owned())).await;
    let error = put(&only_containers.store).await.unwrap_err();
    assert!(
        error.message.contains("resource types c; writing needs o"),
        "{error}"
    );
    let only_blobs = sas(lacking(|sas| sas.resource_types = "o".to_owned())).await;
    let error = only_blobs.store.list("", None).await.unwrap_err();
    assert!(error.message.contains("listing needs c"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let later = lacking(|sas| sas.starts = Some(SystemTime::now() + HOUR / 2));
    let access = with_sas(&folder.path().join("sas"), &later);
    let error = open(&container("raw", ""), &access).unwrap_err();
    assert_eq!(error.problem, StorageProblem::Expired, "{error}");
    assert!(error.message.contains("not valid before"), "{error}");
}

#[tokio::test]
async fn a_sas_that_is_over_is_said_so_with_its_time_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let over = AccountSas::new(
        "r",
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000),
    );
    let token = over.sign(ACCOUNT, KEY);
    let access = with_sas(&folder.path().join("sas"), &token);
    let error = open(&container("raw", ""), &access).unwrap_err();
    assert_eq!(error.code().as_str(), "STORAGE_EXPIRED");
    assert!(
        error
            .message
            .contains("the SAS ended at 2020-09-13T12:26:40Z"),
        "{error}"
    );
    assert!(error.fix.contains("file:PATH"), "{}", error.fix);
    hide_nothing(&error, &token);
}

#[tokio::test]
async fn a_sas_that_ends_while_it_is_used_is_read_again_from_its_file() {
    let sas = sas(azurite().sas("rwdlac", Duration::from_secs(2))).await;
    put(&sas.store).await.unwrap();
    let error = loop {
        match put(&sas.store).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.problem, StorageProblem::Expired, "{error}");
    assert!(error.message.contains("the SAS ended at"), "{error}");
    hide_nothing(&error, &sas.token);
    let path = sas.folder.path().join("sas");
    std::fs::write(path, azurite().sas("rwdlac", HOUR)).unwrap();
    put(&sas.store).await.unwrap();
}

#[tokio::test]
async fn a_sas_that_the_service_refuses_is_read_again_from_its_file() {
    let good = azurite().sas("rwdlac", HOUR);
    let wrong = AccountSas::new("rwdlac", SystemTime::now() + HOUR).sign(ACCOUNT, "d3Jvbmc=");
    let sas = sas(wrong.clone()).await;
    let error = put(&sas.store).await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Denied, "{error}");
    assert!(error.message.contains("does not accept the SAS"), "{error}");
    hide_nothing(&error, &wrong);
    std::fs::write(sas.folder.path().join("sas"), good).unwrap();
    put(&sas.store).await.unwrap();
    assert!(open(&sas.root, &sas.access).is_ok());
}

#[tokio::test]
async fn a_wrong_key_is_told_from_a_missing_container() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "d3Jvbmcga2V5\n").unwrap();
    let access = StorageAccess {
        account_key: Some(SecretRef::File(path.display().to_string())),
        ..azurite().access()
    };
    let store = open_with(&container("raw", ""), &access, &hasty()).unwrap();
    let error = put(&store).await.unwrap_err();
    assert_eq!(error.problem, StorageProblem::Denied, "{error}");
    assert!(error.message.contains("does not accept the key"), "{error}");
    hide_nothing(&error, "d3Jvbmcga2V5");
}

#[tokio::test]
async fn a_container_that_is_not_there_is_named_with_the_command_that_makes_it() {
    let name = fresh("gone");
    let store = open(&container(&name, "p"), &azurite().access()).unwrap();
    for error in [
        store.list("", None).await.unwrap_err(),
        store.head("a").await.unwrap_err(),
        store.get("a", None, None).await.err().unwrap(),
        put(&store).await.unwrap_err(),
        store.delete("a", None).await.unwrap_err(),
        store.blocks("a").await.unwrap_err(),
    ] {
        assert_eq!(error.problem, StorageProblem::NotFound, "{error}");
        assert!(
            error
                .message
                .contains(&format!("the container {name} is not there")),
            "{error}"
        );
        assert!(
            error
                .fix
                .contains(&format!("petctl storage create az://{name}")),
            "{}",
            error.fix
        );
    }
}

#[tokio::test]
async fn a_name_that_azure_refuses_is_refused_before() {
    let store = new_store("names", "").await;
    for name in [
        "ends.with.dot.",
        "back\\slash",
        "new\nline",
        &"x".repeat(1_025),
    ] {
        let error = store
            .put(name, Bytes::new(), &Condition::None)
            .await
            .unwrap_err();
        assert_eq!(error.problem, StorageProblem::BadName, "{error}");
    }
    for name in ["Raw", "ab", "a--b", "-ab", "a_b"] {
        let error = open(&container(name, ""), &azurite().access()).unwrap_err();
        assert_eq!(error.problem, StorageProblem::BadName, "{error}");
    }
}

#[tokio::test]
async fn no_log_line_of_any_level_shows_a_signature() {
    let sas = sas(azurite().sas("rl", HOUR)).await;
    let heard = Arc::new(Mutex::new(String::new()));
    {
        let _listening = tracing::subscriber::set_default(Listener(heard.clone()));
        put(&sas.store).await.unwrap_err();
        sas.store.list("", None).await.unwrap();
        let store = open_with(&sas.root, &azurite().access(), &hasty()).unwrap();
        put(&store).await.unwrap();
    }
    let heard = heard.lock().unwrap();
    let signature = sas.token.split("sig=").nth(1).unwrap();
    assert!(
        heard.contains("PUT") || heard.contains("Put"),
        "the listener hears nothing"
    );
    assert!(!heard.contains(signature), "a signature was logged");
    assert!(!heard.contains(KEY) && !heard.contains("SharedKey devstoreaccount1:"));
}

/// Writes down everything.
struct Listener(Arc<Mutex<String>>);

impl Listener {
    fn note(&self, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        writeln!(self.0.lock().unwrap(), "{value:?}").unwrap();
    }
}

impl tracing::field::Visit for &Listener {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.note(value);
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut &*self);
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut &*self);
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut &*self);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
