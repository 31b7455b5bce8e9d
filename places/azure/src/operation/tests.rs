use super::{Method, Next, Operation};
use crate::Answer;
use serde_json::{Value, json};
use std::time::Duration;

const RESOURCE: &str =
    "https://management.azure.com/subscriptions/s/resourceGroups/g?api-version=1";
const STATUS: &str = "https://management.azure.com/operations/1?api-version=2&t=signed";
const RESULT: &str = "https://management.azure.com/operationresults/1?api-version=2";

fn answer(status: u16, headers: &[(&str, &str)], body: Value) -> Answer {
    let headers = headers.iter();
    Answer {
        status,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body,
    }
}

fn ask(url: &str, after: Option<u64>) -> Next {
    Next::Ask {
        url: url.to_owned(),
        after: after.map(Duration::from_secs),
    }
}

fn failed(next: Next) -> (String, String) {
    let Next::Failed(refused) = next else {
        panic!("{next:?}");
    };
    (refused.code, refused.message)
}

#[test]
fn an_error_beside_a_status_that_is_no_end_ends_nothing() {
    let begun = answer(
        201,
        &[("azure-asyncoperation", STATUS), ("retry-after", "7")],
        json!({}),
    );
    let (mut put, next) = Operation::begun(Method::Put, RESOURCE, &begun);
    assert_eq!(next, ask(STATUS, Some(7)));
    let error = json!({"code": "AllocationFailed", "message": "no room"});
    let goes = answer(200, &[], json!({"status": "InProgress", "error": error}));
    assert_eq!(put.answered(&goes), ask(STATUS, None));
    let ends = answer(200, &[], json!({"status": "Failed", "error": error}));
    assert_eq!(
        failed(put.answered(&ends)),
        ("AllocationFailed".to_owned(), "no room".to_owned())
    );
}

#[test]
fn a_status_that_is_forgotten_is_told_by_the_resource() {
    let begun = answer(200, &[("azure-asyncoperation", STATUS)], json!({}));
    let (mut put, _) = Operation::begun(Method::Put, RESOURCE, &begun);
    assert_eq!(
        put.answered(&answer(404, &[], Value::Null)),
        ask(RESOURCE, None)
    );
    let there = |state: &str| {
        answer(
            200,
            &[],
            json!({"properties": {"provisioningState": state}}),
        )
    };
    assert_eq!(put.answered(&there("Updating")), ask(RESOURCE, None));
    assert_eq!(
        put.answered(&there("Succeeded")),
        Next::Done(there("Succeeded").body)
    );
    assert_eq!(failed(put.answered(&there("Failed"))).0, "Failed");
}

#[test]
fn a_resource_without_a_state_is_there_at_once() {
    let made = answer(
        201,
        &[],
        json!({"id": "x", "properties": {"roleName": "AcrPull"}}),
    );
    let (_, next) = Operation::begun(Method::Put, RESOURCE, &made);
    assert_eq!(next, Next::Done(made.body));
}

#[test]
fn a_deletion_is_over_when_the_resource_is_gone() {
    let gone = answer(404, &[], Value::Null);
    let (_, next) = Operation::begun(Method::Delete, RESOURCE, &gone);
    assert_eq!(next, Next::Done(Value::Null), "nothing was there");
    let both = [("azure-asyncoperation", STATUS), ("location", RESULT)];
    let (mut delete, next) =
        Operation::begun(Method::Delete, RESOURCE, &answer(202, &both, Value::Null));
    assert_eq!(next, ask(STATUS, None));
    let done = answer(200, &[], json!({"status": "Succeeded"}));
    assert_eq!(delete.answered(&done), ask(RESOURCE, None));
    let there = answer(
        200,
        &[],
        json!({"properties": {"provisioningState": "Succeeded"}}),
    );
    assert_eq!(
        delete.answered(&there),
        ask(RESOURCE, None),
        "it is there still"
    );
    assert_eq!(delete.answered(&gone), Next::Done(Value::Null));
}

#[test]
fn a_deletion_that_only_says_where_its_result_will_be_is_followed_there() {
    let begun = answer(202, &[("location", RESULT)], Value::Null);
    let (mut delete, next) = Operation::begun(Method::Delete, RESOURCE, &begun);
    assert_eq!(next, ask(RESULT, None));
    let moved = answer(
        202,
        &[("location", STATUS), ("retry-after", "15")],
        Value::Null,
    );
    assert_eq!(delete.answered(&moved), ask(STATUS, Some(15)));
    assert_eq!(
        delete.answered(&answer(204, &[], Value::Null)),
        ask(RESOURCE, None)
    );
    assert_eq!(
        delete.answered(&answer(404, &[], Value::Null)),
        Next::Done(Value::Null)
    );
}

#[test]
fn what_a_post_gives_is_at_its_location() {
    let both = [("azure-asyncoperation", STATUS), ("location", RESULT)];
    let (mut post, _) = Operation::begun(Method::Post, RESOURCE, &answer(202, &both, Value::Null));
    let done = answer(200, &[], json!({"status": "Succeeded"}));
    assert_eq!(post.answered(&done), ask(RESULT, None));
    assert_eq!(
        post.answered(&answer(204, &[], Value::Null)),
        Next::Done(Value::Null)
    );
    let at_once = answer(200, &[], json!({"kubeconfigs": []}));
    let (_, next) = Operation::begun(Method::Post, RESOURCE, &at_once);
    assert_eq!(next, Next::Done(at_once.body));
}

#[test]
fn one_that_was_left_alone_is_picked_up_at_the_resource() {
    let (mut put, next) = Operation::of_resource(Method::Put, RESOURCE);
    assert_eq!(next, ask(RESOURCE, None));
    let never = json!({"error": {"code": "ResourceNotFound", "message": "not found"}});
    assert_eq!(
        failed(put.answered(&answer(404, &[], never))).0,
        "ResourceNotFound"
    );
    let (mut delete, _) = Operation::of_resource(Method::Delete, RESOURCE);
    assert_eq!(
        delete.answered(&answer(404, &[], Value::Null)),
        Next::Done(Value::Null)
    );
}
