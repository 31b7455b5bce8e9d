//! Pages of a listing, against Azurite.

use super::*;
use petctl_azurite::{Azurite, AzuriteOptions};

#[tokio::test]
async fn pages_of_any_size_give_every_blob_once_in_order() {
    let azurite = Azurite::start(AzuriteOptions::default()).unwrap();
    let account = Account::find(&azurite.access()).unwrap();
    let mut store = BlobStore::new(&account, "pages", "p q", &Patience::default()).unwrap();
    store.create().await.unwrap();
    let all: Vec<String> = (0..23).map(|n| format!("{}/{n:02}", n / 5)).collect();
    for name in &all {
        let done = store.put(name, Bytes::new(), &Condition::None).await;
        done.unwrap();
    }
    for size in [1, 5, 22, 23, 24] {
        store.page_names = size;
        let mut names = Vec::new();
        let mut mark: Option<String> = None;
        loop {
            let page = store.list("", mark.as_deref()).await.unwrap();
            names.extend(page.entries.into_iter().map(|entry| entry.name));
            mark = page.mark;
            if mark.is_none() {
                break;
            }
        }
        assert_eq!(names, all, "{size}");
    }
}
