//! What is asked of an API server, counted.

use kube::client::Body;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// By what is wanted. The watches of a keeper are few and long: a new one means that the last has ended.
const VERBS: [&str; 6] = ["get", "watch", "create", "patch", "delete", "other"];

/// Requests so far; a clone counts the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<[AtomicU64; VERBS.len()]>);

impl Requests {
    /// Counts a request.
    pub(crate) fn count(&self, request: &hyper::Request<Body>) {
        let watches = |query: &str| query.split('&').any(|part| part == "watch=true");
        let verb = match request.method().as_str() {
            "GET" if request.uri().query().is_some_and(watches) => "watch",
            "GET" => "get",
            "POST" => "create",
            "PATCH" | "PUT" => "patch",
            "DELETE" => "delete",
            _ => "other",
        };
        for (known, count) in VERBS.iter().zip(self.0.iter()) {
            if *known == verb {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many there were, by what was wanted.
    pub(crate) fn so_far(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        VERBS.into_iter().zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_they_want() {
        let requests = Requests::default();
        let asked = [
            ("GET", "/api/v1/namespaces/ml/pods/a"),
            (
                "GET",
                "/api/v1/namespaces/ml/pods?&labelSelector=x&watch=true",
            ),
            ("PATCH", "/apis/batch/v1/namespaces/ml/jobs/a?"),
            ("PATCH", "/apis/batch/v1/namespaces/ml/jobs/b?"),
        ];
        for (method, uri) in asked {
            let request = hyper::Request::builder().method(method).uri(uri);
            requests.count(&request.body(Body::empty()).unwrap());
        }
        let some: BTreeMap<&str, u64> = [("get", 1), ("watch", 1), ("patch", 2)].into();
        let mut counted = requests.so_far();
        counted.retain(|_, count| *count > 0);
        assert_eq!(counted, some);
    }
}
