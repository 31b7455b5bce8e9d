//! A code that a person types into a browser, on any machine.
//!
//! Source: RFC 8628; Microsoft identity platform, "Device authorization grant flow".

use crate::cloud::Cloud;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::request::Request;
use azure_core::http::{Body, ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Url};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The program that people know from Azure's own tools; every tenant has it.
const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// How long before its end a token is renewed.
const MARGIN: time::Duration = time::Duration::minutes(5);
/// How often is asked where the service does not say.
const INTERVAL_S: u64 = 5;

pub(super) struct Device {
    pipeline: Pipeline,
    base: Url,
    client_id: String,
    say: Box<dyn Fn(&str) + Send + Sync>,
    token: Mutex<Option<AccessToken>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Device {
    pub(super) fn new(
        cloud: &Cloud,
        tenant: &str,
        client_id: Option<String>,
        options: ClientOptions,
        say: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = format!("{}/{tenant}/oauth2/v2.0/", cloud.authority);
        let base = Url::parse(&address).map_err(|error| {
            Error::new(Code::AzureSignIn, format!("{address} is no address")).because(&error)
        })?;
        Ok(Self {
            pipeline: Pipeline::new(
                Some("petctl"),
                option_env!("CARGO_PKG_VERSION"),
                options,
                Vec::new(),
                Vec::new(),
                None,
            ),
            base,
            client_id: client_id.unwrap_or_else(|| CLIENT.to_owned()),
            say: Box::new(say),
            token: Mutex::new(None),
        })
    }

    async fn post(&self, name: &str, form: &[(&str, &str)]) -> azure_core::Result<Value> {
        let mut url = self.base.join(name)?;
        // What a form is made of is what the query of an address is made of.
        url.query_pairs_mut().extend_pairs(form);
        let body = url.query().unwrap_or_default().to_owned();
        url.set_query(None);
        let mut request = Request::new(url, Method::Post);
        request.insert_header("content-type", "application/x-www-form-urlencoded");
        request.set_body(Body::from(body));
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let answer = self
            .pipeline
            .send(&Context::new(), &mut request, Some(options))
            .await?;
        let (_, _, bytes) = answer.deconstruct();
        serde_json::from_slice(&bytes)
            .map_err(|_| refused("the sign-in service answers with no JSON"))
    }

    async fn sign_in(&self, scope: &str) -> azure_core::Result<AccessToken> {
        let client = ("client_id", self.client_id.as_str());
        let begun = self.post("devicecode", &[client, ("scope", scope)]).await?;
        let text = |value: &Value, name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let code = text(&begun, "device_code");
        if code.is_empty() {
            return Err(refused(&text(&begun, "error_description")));
        }
        (self.say)(&format!(
            "to sign in to Azure, open {} in a browser and type the code {}",
            text(&begun, "verification_uri"),
            text(&begun, "user_code")
        ));
        let number = |value: &Value, name: &str, otherwise: u64| {
            value.get(name).and_then(Value::as_u64).unwrap_or(otherwise)
        };
        let mut pause = Duration::from_secs(number(&begun, "interval", INTERVAL_S));
        let until = Instant::now() + Duration::from_secs(number(&begun, "expires_in", 900));
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            let form = [("grant_type", grant), client, ("device_code", &code)];
            let answer = self.post("token", &form).await?;
            let token = text(&answer, "access_token");
            if !token.is_empty() {
                let lasts = i64::try_from(number(&answer, "expires_in", 3600)).unwrap_or(3600);
                let ends = OffsetDateTime::now_utc() + time::Duration::seconds(lasts);
                return Ok(AccessToken::new(token, ends));
            }
            match text(&answer, "error").as_str() {
                "authorization_pending" => {}
                "slow_down" => pause += Duration::from_secs(INTERVAL_S),
                _ => return Err(refused(&text(&answer, "error_description"))),
            }
        }
        Err(refused("nobody has typed the code in time"))
    }
}

#[async_trait::async_trait]
impl TokenCredential for Device {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let mut token = self.token.lock().await;
        if let Some(known) = token
            .as_ref()
            .filter(|known| known.expires_on - MARGIN > OffsetDateTime::now_utc())
        {
            return Ok(known.clone());
        }
        let signed = self.sign_in(&scopes.join(" ")).await?;
        *token = Some(signed.clone());
        Ok(signed)
    }
}

fn refused(why: &str) -> azure_core::Error {
    azure_core::Error::with_message(ErrorKind::Credential, why.to_owned())
}
