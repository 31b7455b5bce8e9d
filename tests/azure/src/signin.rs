//! Sign-in: Entra's tokens, and those that machines get of their metadata service.

use crate::answer::{Answer, Reply, refuse};
use crate::control::Call;
use crate::request::Asked;
use crate::state::{Device, Token, guid, letters, time_text};
use crate::world::millis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// How often a sign-in elsewhere is not done yet when it is asked for.
const PENDING: u32 = 2;
/// Azure's own command line: a client that every tenant knows, for people.
pub(crate) const PUBLIC_CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// Whether a request is for this part.
pub(crate) fn serves(asked: &Asked) -> bool {
    let segments = asked.segments();
    matches!(segments[..], ["metadata", ..] | [_, "oauth2", ..])
}

pub(crate) fn answer(call: &mut Call<'_>) -> Answer {
    let segments = call.asked.segments();
    match (call.asked.method.as_str(), &segments[..]) {
        ("GET", ["metadata", "identity", "oauth2", "token"]) => metadata(call),
        ("POST", [tenant, "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"]) => {
            check_tenant(call, tenant)?;
            token(call)
        }
        ("POST", [tenant, "oauth2", "v2.0", "devicecode"]) => {
            check_tenant(call, tenant)?;
            device(call)
        }
        _ => Err(Reply::new(404, json!({ "error": "not_found" }))),
    }
}

/// A refusal as Entra gives it.
fn deny(call: &Call<'_>, status: u16, error: &str, number: u32, sentence: &str) -> Reply {
    let (trace, correlation) = (guid(), guid());
    let time = time_text(call.now).replace('T', " ");
    let time = format!("{}Z", time.split('.').next().unwrap_or_default());
    Reply::new(
        status,
        json!({
            "error": error,
            "error_description": format!(
                "AADSTS{number}: {sentence} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}"
            ),
            "error_codes": [number],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
        }),
    )
}

fn check_tenant(call: &Call<'_>, tenant: &str) -> Result<(), Reply> {
    let known = tenant.eq_ignore_ascii_case(&call.world.tenant)
        || ["common", "organizations"].contains(&tenant);
    if known {
        return Ok(());
    }
    let sentence = format!(
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."
    );
    Err(deny(call, 400, "invalid_request", 90_002, &sentence))
}

fn unknown_client(call: &Call<'_>, client: &str) -> Reply {
    let sentence = format!(
        "Application with identifier '{client}' was not found in the directory '{}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
        call.world.tenant
    );
    deny(call, 400, "unauthorized_client", 700_016, &sentence)
}

fn token(call: &mut Call<'_>) -> Answer {
    let form = call.asked.form();
    let field = |name: &str| {
        let pair = form.iter().find(|(key, _)| key == name);
        pair.map_or("", |(_, value)| value.as_str())
    };
    let client = field("client_id").to_owned();
    let scope = if field("scope").is_empty() {
        field("resource")
    } else {
        field("scope")
    }
    .to_owned();
    match field("grant_type") {
        "client_credentials" => {
            let (secret, assertion) = (field("client_secret"), field("client_assertion"));
            if assertion.is_empty() {
                check_secret(call, &client, secret)?;
            } else {
                check_assertion(call, &client, assertion)?;
            }
            if scope.is_empty() {
                let sentence = "The request body must contain the following parameter: 'scope'.";
                return Err(deny(call, 400, "invalid_request", 900_144, sentence));
            }
            Ok(granted(call, &client, &scope, false))
        }
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            device_token(call, field("device_code"))
        }
        "refresh_token" => {
            let known = call.state.tokens.get(field("refresh_token")).cloned();
            match known {
                Some(known) if known.client == client => Ok(granted(call, &client, &scope, true)),
                _ => Err(deny(
                    call,
                    400,
                    "invalid_grant",
                    70_000,
                    "Provided grant is invalid or malformed.",
                )),
            }
        }
        other => {
            let sentence = format!("The app requested an unsupported grant type '{other}'.");
            Err(deny(call, 400, "unsupported_grant_type", 70_003, &sentence))
        }
    }
}

fn check_secret(call: &Call<'_>, client: &str, secret: &str) -> Result<(), Reply> {
    let Some(known) = call.world.clients.get(client) else {
        return Err(unknown_client(call, client));
    };
    if !secret.is_empty() && known.secret.as_deref() == Some(secret) {
        return Ok(());
    }
    let sentence = match secret {
        "" => {
            return Err(deny(
                call,
                401,
                "invalid_client",
                7_000_216,
                "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
            ));
        }
        _ => format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client}'."
        ),
    };
    Err(deny(call, 401, "invalid_client", 7_000_215, &sentence))
}

/// A signed assertion. Who signed it nobody looks at; of a managed identity, a credential must name its issuer and
/// subject.
fn check_assertion(call: &Call<'_>, client: &str, assertion: &str) -> Result<(), Reply> {
    let claims = assertion
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    let ends = claims.as_ref().and_then(|claims| claims["exp"].as_u64());
    if ends.is_some_and(|ends| ends.saturating_mul(1_000) < call.now) {
        let sentence = "Client assertion is not within its valid time range.";
        return Err(deny(call, 401, "invalid_client", 700_024, sentence));
    }
    if let Some((key, _)) = call.state.identity(client) {
        let Some(claims) = claims else {
            let sentence = "Client assertion is malformed and cannot be read.";
            return Err(deny(call, 401, "invalid_client", 50_027, sentence));
        };
        let mut all = call
            .state
            .within(&format!("{key}/federatedidentitycredentials"));
        let matches =
            |own: &Value| own["issuer"] == claims["iss"] && own["subject"] == claims["sub"];
        if all.any(|(_, body)| matches(&body["properties"])) {
            return Ok(());
        }
        let sentence = format!(
            "No matching federated identity record found for presented assertion subject '{}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
            claims["sub"].as_str().unwrap_or_default()
        );
        return Err(deny(call, 401, "invalid_client", 700_213, &sentence));
    }
    match call.world.clients.get(client) {
        None => Err(unknown_client(call, client)),
        Some(known) if known.assertion => Ok(()),
        Some(_) => {
            let sentence = "Client assertion contains an invalid signature. The key was not found.";
            Err(deny(call, 401, "invalid_client", 700_027, sentence))
        }
    }
}

/// A new token, and its answer.
fn granted(call: &mut Call<'_>, client: &str, scope: &str, refreshes: bool) -> Reply {
    let life = millis(call.world.token_life);
    let token = issue(call, client, scope, life);
    let seconds = life / 1_000;
    let mut body = json!({
        "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
    });
    if refreshes {
        body["scope"] = json!(scope);
        body["refresh_token"] = json!(issue(call, client, scope, life.saturating_mul(24)));
    }
    Reply::new(200, body).with("cache-control", "no-store, no-cache")
}

fn issue(call: &mut Call<'_>, client: &str, audience: &str, life_ms: u64) -> String {
    let token = format!("made-up-{}", letters(40));
    call.state.tokens.insert(
        token.clone(),
        Token {
            client: client.to_owned(),
            audience: audience.to_owned(),
            expires_ms: call.now.saturating_add(life_ms),
        },
    );
    token
}

fn device(call: &mut Call<'_>) -> Answer {
    let form = call.asked.form();
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let client = field("client_id");
    if client != PUBLIC_CLIENT && !call.world.clients.contains_key(client) {
        return Err(unknown_client(call, client));
    }
    let (device, user) = (letters(60), letters(9).to_ascii_uppercase());
    call.state.devices.insert(
        device.clone(),
        Device {
            client: client.to_owned(),
            scope: field("scope").to_owned(),
            asked: 0,
        },
    );
    let place = "https://microsoft.com/devicelogin";
    Ok(Reply::new(
        200,
        json!({
            "user_code": user, "device_code": device, "verification_uri": place, "expires_in": 900, "interval": 1,
            "message": format!(
                "To sign in, use a web browser to open the page {place} and enter the code {user} to authenticate."
            ),
        }),
    ))
}

fn device_token(call: &mut Call<'_>, code: &str) -> Answer {
    let Some(device) = call.state.devices.get_mut(code) else {
        let sentence = "The provided value for the input parameter 'device_code' is not valid.";
        return Err(deny(call, 400, "bad_verification_code", 70_018, sentence));
    };
    device.asked += 1;
    if device.asked <= PENDING {
        let sentence = "OAuth 2.0 device flow error. Authorization is pending. Continue polling.";
        return Err(deny(call, 400, "authorization_pending", 70_016, sentence));
    }
    let device = device.clone();
    call.state.devices.remove(code);
    Ok(granted(call, &device.client, &device.scope, true))
}

/// What a machine asks its metadata service for.
fn metadata(call: &mut Call<'_>) -> Answer {
    let refused = |sentence: &str| {
        Reply::new(
            400,
            json!({ "error": "invalid_request", "error_description": sentence }),
        )
    };
    let says = call
        .asked
        .header("metadata")
        .is_some_and(|said| said.eq_ignore_ascii_case("true"));
    if !says {
        return Err(refused("Required metadata header not specified"));
    }
    let resource = call
        .asked
        .parameter("resource")
        .unwrap_or_default()
        .to_owned();
    if call.asked.parameter("api-version").is_none() || resource.is_empty() {
        return Err(refused(
            "Required query variable 'api-version' or 'resource' is missing",
        ));
    }
    let asked = call.asked.parameter("client_id").map(str::to_owned);
    let client = asked
        .or_else(|| call.world.clients.keys().next().cloned())
        .unwrap_or_default();
    if !call.world.clients.contains_key(&client) && call.state.identity(&client).is_none() {
        return Err(refused("Identity not found"));
    }
    let life = millis(call.world.token_life);
    let token = issue(call, &client, &resource, life);
    let now = call.now / 1_000;
    Ok(Reply::new(
        200,
        json!({
            "access_token": token, "client_id": client, "expires_in": (life / 1_000).to_string(),
            "expires_on": (now + life / 1_000).to_string(), "ext_expires_in": (life / 1_000).to_string(),
            "not_before": now.to_string(), "resource": resource, "token_type": "Bearer",
        }),
    ))
}

/// Who signed in, by the token of a request to the control plane.
pub(crate) fn bearer(call: &Call<'_>) -> Result<String, Reply> {
    let challenge = |code: &str, message: &str, error: &str| {
        let value = format!(
            "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", error_description=\"{error}\"",
            call.endpoint, call.world.tenant
        );
        refuse(401, code, message).with("www-authenticate", value)
    };
    let Some(header) = call.asked.header("authorization") else {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(challenge(
            "AuthenticationFailed",
            message,
            "The authentication failed because of missing 'Authorization' header.",
        ));
    };
    let token = header.split_once(' ').map_or("", |(_, token)| token.trim());
    let Some(known) = call.state.tokens.get(token) else {
        return Err(challenge(
            "InvalidAuthenticationToken",
            "The access token is invalid.",
            "Could not parse JWT token.",
        ));
    };
    if known.expires_ms <= call.now {
        let message = format!(
            "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
            time_text(known.expires_ms),
            time_text(call.now)
        );
        return Err(challenge("ExpiredAuthenticationToken", &message, &message));
    }
    let is_ours = ["https://management.", call.endpoint]
        .iter()
        .any(|own| known.audience.contains(own));
    if !is_ours {
        let message = format!(
            "The access token has been obtained for wrong audience or resource '{}'. It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'.",
            known.audience
        );
        return Err(challenge(
            "InvalidAuthenticationTokenAudience",
            &message,
            &message,
        ));
    }
    Ok(known.client.clone())
}
