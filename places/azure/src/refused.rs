//! Refusals: what the service says, and what kind of trouble that is.

use crate::Answer;
use serde_json::Value;
use std::fmt;

/// How deep refusals within refusals are read.
const DEPTH: usize = 8;

/// What the service refused, or failed to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status of the answer in which it was said; 200 where an operation failed later.
    pub status: u16,
    /// Its code.
    pub code: String,
    /// Its sentence.
    pub message: String,
    /// What lies beneath, outermost first: a template fails because a resource does, that because of a quota.
    pub details: Vec<Detail>,
}

/// A code and a sentence beneath another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The code.
    pub code: String,
    /// The sentence.
    pub message: String,
}

/// Kinds of trouble, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Who signed in has no right to do that.
    NoRight,
    /// Nobody is signed in, or not for long enough, or in another tenant.
    SignIn,
    /// The subscription is disabled, or there is none of that id.
    Subscription,
    /// Nothing of that id is there.
    NotThere,
    /// The subscription may not have so many cores of that kind.
    Quota,
    /// The region has no such machines now: they may come back.
    Capacity,
    /// That size is not offered in the region, or not to this subscription.
    NotOffered,
    /// The provider of that kind of resource is not registered in the subscription.
    NotRegistered,
    /// Somebody somewhere has that name already.
    NameTaken,
    /// A lock keeps it from being changed or deleted.
    Locked,
    /// Another operation is under way on it.
    Busy,
    /// What it depends on is not known everywhere yet: an identity, a role.
    NotYet,
    /// Too many requests, or the service has trouble of its own.
    Later,
    /// It is there already: what was wanted is so.
    There,
    /// The request itself is wrong.
    Bad,
}

impl Trouble {
    /// Whether the same request will do in a moment: what is in its way goes by itself.
    #[must_use]
    pub fn is_short(self) -> bool {
        matches!(self, Self::Busy | Self::NotYet | Self::Later)
    }

    /// Whether the same request may do in a while.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Quota | Self::Capacity | Self::Busy | Self::NotYet | Self::Later => true,
            Self::NoRight
            | Self::SignIn
            | Self::Subscription
            | Self::NotThere
            | Self::NotOffered
            | Self::NotRegistered
            | Self::NameTaken
            | Self::Locked
            | Self::There
            | Self::Bad => false,
        }
    }
}

/// Codes and their kind, as the service has them in recordings, its documentation and reports of users.
const CODES: &[(&str, Trouble)] = &[
    ("AuthorizationFailed", Trouble::NoRight),
    ("LinkedAuthorizationFailed", Trouble::NoRight),
    ("RequestDisallowedByPolicy", Trouble::NoRight),
    ("AuthenticationFailed", Trouble::SignIn),
    ("ExpiredAuthenticationToken", Trouble::SignIn),
    ("InvalidAuthenticationToken", Trouble::SignIn),
    ("InvalidAuthenticationTokenTenant", Trouble::SignIn),
    ("SubscriptionNotFound", Trouble::Subscription),
    ("InvalidSubscriptionId", Trouble::Subscription),
    ("ReadOnlyDisabledSubscription", Trouble::Subscription),
    ("DisabledSubscription", Trouble::Subscription),
    ("ResourceNotFound", Trouble::NotThere),
    ("ResourceGroupNotFound", Trouble::NotThere),
    ("ParentResourceNotFound", Trouble::NotThere),
    ("NotFound", Trouble::NotThere),
    ("ErrCode_InsufficientVCPUQuota", Trouble::Quota),
    ("InsufficientVCPUQuota", Trouble::Quota),
    ("QuotaExceeded", Trouble::Quota),
    ("OperationNotAllowed", Trouble::Quota),
    ("StorageAccountLimitExceeded", Trouble::Quota),
    ("AllocationFailed", Trouble::Capacity),
    ("ZonalAllocationFailed", Trouble::Capacity),
    ("OverconstrainedAllocationRequest", Trouble::Capacity),
    ("OverconstrainedZonalAllocationRequest", Trouble::Capacity),
    ("ServiceCapacityExceeded", Trouble::Capacity),
    ("SKUNotAvailable", Trouble::NotOffered),
    ("VMSizeNotSupported", Trouble::NotOffered),
    ("ErrCode_VMSizeNotSupported", Trouble::NotOffered),
    ("LocationNotAvailableForResourceType", Trouble::NotOffered),
    ("MissingSubscriptionRegistration", Trouble::NotRegistered),
    ("SubscriptionNotRegistered", Trouble::NotRegistered),
    ("StorageAccountAlreadyTaken", Trouble::NameTaken),
    ("AlreadyInUse", Trouble::NameTaken),
    ("ScopeLocked", Trouble::Locked),
    ("AnotherOperationInProgress", Trouble::Busy),
    ("ResourceGroupBeingDeleted", Trouble::Busy),
    ("EtagMismatch", Trouble::Busy),
    ("PreconditionFailed", Trouble::Busy),
    ("Conflict", Trouble::Busy),
    ("ServicePrincipalNotFound", Trouble::NotYet),
    ("PrincipalNotFound", Trouble::NotYet),
    ("FailedIdentityOperation", Trouble::NotYet),
    ("TooManyRequests", Trouble::Later),
    ("SubscriptionRequestsThrottled", Trouble::Later),
    ("ServerTimeout", Trouble::Later),
    ("InternalServerError", Trouble::Later),
    ("RoleAssignmentExists", Trouble::There),
];

/// Codes that only say that something beneath them went wrong.
const WRAPPERS: &[&str] = &[
    "InvalidTemplateDeployment",
    "DeploymentFailed",
    "ResourceDeploymentFailure",
    "ReconcileVMSSAgentPoolFailed",
    "CreateVMSSAgentPoolFailed",
    "VMSSAgentPoolReconciler",
    "BadRequest",
    "Failed",
    "Canceled",
];

impl Refused {
    /// What an answer says: `{"error": {…}}`, or what older providers have, the same without `error`.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        let error = answer.body.get("error").filter(|error| error.is_object());
        let mut refused = Self {
            status: answer.status,
            ..Self::default()
        };
        refused.read(error.unwrap_or(&answer.body), 0);
        if refused.code.is_empty() {
            let status = answer.body.get("status").and_then(Value::as_str);
            refused.code = status.map_or_else(|| answer.status.to_string(), str::to_owned);
        }
        refused
    }

    /// A resource that stands as failed, and may not say why.
    pub(crate) fn of_resource(answer: &Answer) -> Self {
        let state = answer.provisioning_state().unwrap_or("Failed").to_owned();
        let why = answer.body.pointer("/properties/status/provisioningError");
        let mut refused = Self {
            status: answer.status,
            ..Self::default()
        };
        if let Some(why) = why {
            refused.read(why, 0);
        }
        if refused.code.is_empty() {
            refused.code = state;
        }
        refused
    }

    fn read(&mut self, error: &Value, depth: usize) {
        let text = |name: &str| {
            let text = error.get(name).and_then(Value::as_str);
            text.unwrap_or_default().trim().to_owned()
        };
        let (code, message) = (text("code"), text("message"));
        if depth == 0 {
            (self.code, self.message) = (code, message);
        } else if !code.is_empty() || !message.is_empty() {
            self.details.push(Detail { code, message });
        }
        if depth == DEPTH {
            return;
        }
        let details = error.get("details").and_then(Value::as_array);
        for detail in details.into_iter().flatten() {
            self.read(detail, depth + 1);
        }
        if let Some(inner) = error.get("innererror").filter(|inner| inner.is_object()) {
            self.read(inner, depth + 1);
        }
    }

    /// What kind of trouble it is: what lies deepest tells most.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let beneath = self.details.iter().rev();
        let said = beneath.map(|detail| (&*detail.code, &*detail.message));
        for (code, message) in said.chain([(&*self.code, &*self.message)]) {
            if let Some(known) = known(code) {
                return worded(code, message).unwrap_or(known);
            }
            let wraps = code.is_empty() || WRAPPERS.iter().any(|w| w.eq_ignore_ascii_case(code));
            if let Some(known) = quoted(message).filter(|_| wraps) {
                return known;
            }
        }
        match self.status {
            401 => Trouble::SignIn,
            403 => Trouble::NoRight,
            404 => Trouble::NotThere,
            409 | 412 => Trouble::Busy,
            408 | 429 | 500..=599 => Trouble::Later,
            _ => Trouble::Bad,
        }
    }

    /// The quota that was too small, where a sentence names it: of spot machines it is one for all sizes.
    #[must_use]
    pub fn is_of_spot_quota(&self) -> bool {
        let names = |text: &str| text.to_ascii_lowercase().contains("lowprioritycores");
        names(&self.message) || self.details.iter().any(|detail| names(&detail.message))
    }
}

fn known(code: &str) -> Option<Trouble> {
    let found = CODES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(code));
    found.map(|(_, trouble)| *trouble)
}

/// A code that stands for several things, which only its sentence tells apart.
fn worded(code: &str, message: &str) -> Option<Trouble> {
    if !code.eq_ignore_ascii_case("OperationNotAllowed") {
        return None;
    }
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["quota", "cores limit", "exceeding approved"]) {
        Some(Trouble::Quota)
    } else if says(&["in progress", "in-progress", "pending-operation", "being "]) {
        Some(Trouble::Busy)
    } else if message.is_empty() {
        None
    } else {
        Some(Trouble::Bad)
    }
}

/// A code that a sentence quotes: `Code="X"`, `"code": "X"`, `Code: X`.
fn quoted(message: &str) -> Option<Trouble> {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut is_named = false;
    words.find_map(|word| {
        if word.is_empty() {
            return None;
        }
        let found = known(word).filter(|_| is_named);
        is_named = word.eq_ignore_ascii_case("code");
        found
    })
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        for detail in self
            .details
            .iter()
            .filter(|detail| !self.message.contains(&detail.message))
        {
            write!(f, "; {}: {}", detail.code, detail.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::{Refused, Trouble};
    use crate::Answer;
    use serde_json::{Value, json};

    fn refused(status: u16, body: Value) -> Refused {
        Refused::of(&Answer {
            status,
            body,
            ..Answer::default()
        })
    }

    #[test]
    fn what_lies_deepest_tells_the_kind() {
        let quota = "Operation could not be completed as it results in exceeding approved LowPriorityCores quota.";
        let template = json!({"error": {
            "code": "InvalidTemplateDeployment",
            "message": "The template deployment failed with multiple errors.",
            "details": [{"code": "QuotaExceeded", "message": quota}],
        }});
        let refused_by_quota = refused(400, template);
        assert_eq!(refused_by_quota.trouble(), Trouble::Quota);
        assert!(refused_by_quota.trouble().passes() && refused_by_quota.is_of_spot_quota());
        assert_eq!(
            refused_by_quota.to_string(),
            format!(
                "InvalidTemplateDeployment: The template deployment failed with multiple errors.; QuotaExceeded: {quota}"
            )
        );
        let scale_set = r#"VMSSAgentPoolReconciler retry failed: Status=409, Code="OverconstrainedAllocationRequest""#;
        let pool = json!({"status": "Failed", "error": {
            "code": "ReconcileVMSSAgentPoolFailed", "message": scale_set,
        }});
        assert_eq!(refused(200, pool).trouble(), Trouble::Capacity);
    }

    #[test]
    fn what_is_not_allowed_now_or_at_all_or_for_want_of_quota_is_told_by_its_sentence() {
        for (message, trouble) in [
            (
                "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.",
                Trouble::Quota,
            ),
            (
                "Operation is not allowed: Another agentpool operation (a100 - Creating) is in progress, please wait",
                Trouble::Busy,
            ),
            ("Managed cluster is stopped: start it first", Trouble::Bad),
        ] {
            let body = json!({ "code": "OperationNotAllowed", "message": message });
            assert_eq!(refused(409, body).trouble(), trouble, "{message}");
        }
    }

    #[test]
    fn a_word_of_a_sentence_is_no_code() {
        let said = "Code=\"Weird\" Message=\"a Conflict of tastes\"";
        let failed = json!({"error": {"code": "DeploymentFailed", "message": said}});
        assert_eq!(refused(400, failed).trouble(), Trouble::Bad);
    }

    #[test]
    fn codes_are_read_where_older_providers_have_them_and_else_the_status_tells() {
        let old = json!({"code": "ServicePrincipalNotFound", "message": "not found in tenant"});
        assert_eq!(refused(400, old).trouble(), Trouble::NotYet);
        for (status, trouble) in [
            (401, Trouble::SignIn),
            (403, Trouble::NoRight),
            (404, Trouble::NotThere),
            (409, Trouble::Busy),
            (429, Trouble::Later),
            (503, Trouble::Later),
            (400, Trouble::Bad),
        ] {
            let answered = refused(status, Value::Null);
            assert_eq!(
                (answered.trouble(), answered.code),
                (trouble, status.to_string())
            );
        }
    }

    #[test]
    fn an_answer_nested_without_end_is_read_to_a_depth() {
        let mut error = json!({"code": "QuotaExceeded", "message": "deep"});
        for _ in 0..100 {
            error = json!({"code": "Failed", "details": [error]});
        }
        let read = refused(400, json!({"error": error}));
        assert_eq!(read.details.len(), super::DEPTH);
    }
}
