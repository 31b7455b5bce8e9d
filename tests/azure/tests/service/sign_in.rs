//! Tokens: got, refused, expired.

use crate::client::{Client, secret_form};
use petctl_test_azure::{Azure, CLIENT, SECRET, TENANT};
use std::time::Duration;
use tempfile::tempdir;

const ROOT: &str = "/subscriptions?api-version=2022-12-01";

#[test]
fn who_is_not_signed_in_is_told_where_to() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let mut client = Client::stranger(&azure);
    let got = client.send("GET", ROOT, &[], "").unwrap().expect(401);
    assert_eq!(got.code(), "AuthenticationFailed");
    assert!(got.headers["www-authenticate"].contains(TENANT));
    client.token = "of somebody else".to_owned();
    let got = client.send("GET", ROOT, &[], "").unwrap().expect(401);
    assert_eq!(got.code(), "InvalidAuthenticationToken");
    azure.set(|world| world.token_life = Duration::ZERO);
    client.token = Client::new(&azure).token;
    let got = client.send("GET", ROOT, &[], "").unwrap().expect(401);
    assert_eq!(got.code(), "ExpiredAuthenticationToken");
}

#[test]
fn a_secret_an_assertion_a_browser_and_a_machine_give_tokens() {
    let folder = tempdir().unwrap();
    let azure = Azure::start(folder.path());
    let mut client = Client::stranger(&azure);
    for (tenant, form, number) in [
        (TENANT, secret_form(CLIENT, "wrong"), "AADSTS7000215:"),
        (TENANT, secret_form("somebody", SECRET), "AADSTS700016:"),
        ("elsewhere", secret_form(CLIENT, SECRET), "AADSTS90002:"),
    ] {
        let refused = client.sign_in(tenant, &form);
        let said = refused.body["error_description"].as_str().unwrap();
        assert!(refused.status >= 400 && said.starts_with(number), "{said}");
    }
    let scope = "scope=https%3A%2F%2Fmanagement.azure.com%2F.default";
    let kind =
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT}&{scope}&{kind}&client_assertion=e30.e30.x"
    );
    client.sign_in(TENANT, &form).expect(200);
    let public = "client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46";
    let path = format!("/{TENANT}/oauth2/v2.0/devicecode");
    let code = client
        .send("POST", &path, &[], &format!("{public}&{scope}"))
        .unwrap()
        .expect(200)
        .body;
    let code = code["device_code"].as_str().unwrap();
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let form = format!("{grant}&{public}&device_code={code}");
    for _ in 0..2 {
        assert_eq!(
            client.sign_in(TENANT, &form).expect(400).body["error"],
            "authorization_pending"
        );
    }
    let person = client.sign_in(TENANT, &form).expect(200).body;
    client.token = person["access_token"].as_str().unwrap().to_owned();
    client.send("GET", ROOT, &[], "").unwrap().expect(200);
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";
    client.send("GET", path, &[], "").unwrap().expect(400);
    let machine = client
        .send("GET", path, &[("metadata", "true")], "")
        .unwrap()
        .expect(200)
        .body;
    client.token = machine["access_token"].as_str().unwrap().to_owned();
    client.send("GET", ROOT, &[], "").unwrap().expect(200);
}
