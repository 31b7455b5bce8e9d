//! What the service refused, as a user meets it: the code, whose fault it is, and what to do.

use petctl_azure::{Refused, SPOT_QUOTA, Trouble};
use petctl_ui::error::{Code, Error};

/// What was tried, as the beginning of a sentence: `can't make cluster avs`.
pub(crate) fn refused(tried: &str, refused: &Refused) -> Error {
    let error = |code| Error::new(code, format!("{tried}: {refused}"));
    match refused.trouble() {
        Trouble::NoRight => no_right(tried, refused),
        Trouble::SignIn => error(Code::AzureSignIn)
            .fix("sign in again: az login; look at the clock of this machine: a token is good for its time only"),
        Trouble::Subscription => error(Code::AzureSignIn).fix(
            "look at `subscription` of the place, and whether it is enabled: az account list --all --output table",
        ),
        Trouble::Quota => quota(tried, refused),
        Trouble::Capacity => error(Code::AzureNoCapacity).fix(
            "give the command again later; or name another size, another region or other zones; or a pool without \
             `spot`: machines at full price are there more often",
        ),
        Trouble::NotOffered => error(Code::AzureRefused).fix(
            "name another size or another region: az vm list-skus --location REGION --resource-type virtualMachines \
             --output table",
        ),
        Trouble::NotRegistered => error(Code::AzureRefused)
            .fix("register the provider: az provider register --namespace NAMESPACE --wait"),
        Trouble::NameTaken => error(Code::AzureNameTaken)
            .fix("such names are unique in the whole of Azure: choose another one in the place"),
        Trouble::Locked => error(Code::AzureLocked).fix(
            "a lock keeps it: az lock list --output table; whoever set it can remove it: az lock delete --ids ID",
        ),
        Trouble::Busy | Trouble::NotYet | Trouble::Later | Trouble::There => error(Code::AzureBusy)
            .fix("give the command again: it goes on from what is there"),
        Trouble::NotThere | Trouble::Bad => error(Code::AzureRefused)
            .fix("change what the message names, in the place or by hand, and give the command again"),
    }
}

fn no_right(tried: &str, refused: &Refused) -> Error {
    let words = format!("{} {}", refused.message, details(refused));
    let action = quoted_after(&words, "action ");
    let scope = quoted_after(&words, "scope ");
    let (role, why) = role_for(action.unwrap_or_default());
    let scope = scope.unwrap_or("/subscriptions/SUBSCRIPTION");
    let who = quoted_after(&words, "object id ").unwrap_or("WHO");
    Error::new(Code::AzureRightMissing, format!("{tried}: {refused}")).fix(format!(
        "{why}; who has the right to give it runs: az role assignment create --assignee {who} --role '{role}' --scope \
         {scope}"
    ))
}

/// The role that has a right, and why that one.
fn role_for(action: &str) -> (&'static str, &'static str) {
    let action = action.to_ascii_lowercase();
    if action.starts_with("microsoft.authorization/roleassignments") {
        (
            "Role Based Access Control Administrator",
            "giving rights to others takes the role `Role Based Access Control Administrator`",
        )
    } else if action.starts_with("microsoft.authorization/locks") {
        ("Owner", "locks take the role `Owner`")
    } else {
        ("Contributor", "it takes the role `Contributor`")
    }
}

fn quota(tried: &str, refused: &Refused) -> Error {
    let form = "ask for more: https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas";
    let fix = if refused.is_of_spot_quota() {
        format!("spot machines of all sizes share the quota `{SPOT_QUOTA}`; {form}")
    } else {
        format!("{form}; or take a smaller pool, another size or another region")
    };
    Error::new(Code::AzureQuota, format!("{tried}: {refused}")).fix(fix)
}

fn details(refused: &Refused) -> String {
    let texts: Vec<&str> = refused.details.iter().map(|d| d.message.as_str()).collect();
    texts.join(" ")
}

/// What stands in quotation marks after a word.
fn quoted_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let after = text.split_once(word)?.1;
    let mut marks = after.split(['\'', '"']);
    marks.next()?;
    marks.next().filter(|quoted| !quoted.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use petctl_azure::Answer;
    use serde_json::json;

    fn of(status: u16, code: &str, message: &str) -> Error {
        let answer = Answer {
            status,
            body: json!({ "error": { "code": code, "message": message } }),
            ..Answer::default()
        };
        refused("can't make cluster avs", &Refused::of(&answer))
    }

    #[test]
    fn a_missing_right_is_named_with_its_role_and_the_command_that_grants_it() {
        let message = "The client 'a@b.c' with object id '1111' does not have authorization to perform action \
                       'Microsoft.Authorization/roleAssignments/write' over scope '/subscriptions/S/resourceGroups/G' \
                       or the scope is invalid.";
        let error = of(403, "AuthorizationFailed", message);
        assert!(error.is(Code::AzureRightMissing));
        let text = format!("{error:?}");
        for part in [
            "--assignee 1111",
            "--role 'Role Based Access Control Administrator'",
            "--scope /subscriptions/S/resourceGroups/G",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn each_trouble_has_its_code_and_its_exit() {
        for (status, code, expected, exit) in [
            (403, "AuthorizationFailed", Code::AzureRightMissing, 77),
            (401, "ExpiredAuthenticationToken", Code::AzureSignIn, 77),
            (409, "ReadOnlyDisabledSubscription", Code::AzureSignIn, 77),
            (400, "ErrCode_InsufficientVCPUQuota", Code::AzureQuota, 75),
            (200, "AllocationFailed", Code::AzureNoCapacity, 75),
            (400, "SkuNotAvailable", Code::AzureRefused, 78),
            (409, "StorageAccountAlreadyTaken", Code::AzureNameTaken, 78),
            (409, "ScopeLocked", Code::AzureLocked, 77),
            (429, "TooManyRequests", Code::AzureBusy, 75),
            (400, "InvalidParameter", Code::AzureRefused, 78),
        ] {
            let error = of(status, code, "why");
            assert!(error.is(expected), "{code}: {}", error.code());
            assert_eq!(error.exit().number(), exit, "{code}");
        }
    }
}
