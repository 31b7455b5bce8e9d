//! Answers and refusals, in the shapes in which the service has them.

use serde_json::{Value, json};
use std::time::Duration;

/// What goes back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// `Null`: no body.
    pub(crate) body: Value,
    /// How long it takes until it goes.
    pub(crate) wait: Duration,
}

/// An answer, or a refusal.
pub(crate) type Answer = Result<Reply, Reply>;

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, Value::Null)
    }
}

/// A refusal of the control plane.
pub(crate) fn refuse(status: u16, code: &str, message: impl Into<String>) -> Reply {
    let error = json!({ "code": code, "message": message.into() });
    Reply::new(status, json!({ "error": error }))
}

/// A refusal of the service of clusters, which puts code and sentence at the top.
pub(crate) fn refuse_flat(status: u16, code: &str, message: impl Into<String>) -> Reply {
    let body = json!({ "code": code, "details": null, "message": message.into(), "subcode": "" });
    Reply::new(status, body)
}

/// No such resource.
pub(crate) fn not_found(kind_and_name: &str, group: &str) -> Reply {
    let message = format!(
        "The Resource '{kind_and_name}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    );
    refuse(404, "ResourceNotFound", message)
}

/// No such group.
pub(crate) fn no_group(group: &str) -> Reply {
    let message = format!("Resource group '{group}' could not be found.");
    refuse(404, "ResourceGroupNotFound", message)
}

/// The body lacks something, or is none.
pub(crate) fn no_content() -> Reply {
    let message = "The request content was invalid and could not be deserialized: 'Unexpected end of content.'.";
    refuse(400, "InvalidRequestContent", message)
}

/// A method that a path does not know.
pub(crate) fn no_method(method: &str) -> Reply {
    let message = format!("The requested resource does not support http method '{method}'.");
    let body = json!({ "message": message });
    Reply::new(405, body)
}
