//! One request, a list of pages, an operation to its end.

use crate::cloud::Cloud;
use crate::error::refused;
use crate::sign_in::SignIn;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::request::Request;
use azure_core::http::{
    Body, ClientOptions, Context, ExponentialRetryOptions, Method as Verb, Pipeline,
    PipelineSendOptions, RetryOptions, Transport, Url,
};
use petctl_azure::{Answer, Method, Next, Operation, Refused, ResourceId, Trouble};
use petctl_ui::error::{Code, Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer may be silent.
const STALL: Duration = Duration::from_secs(60);
/// Most pages of a list: a service that goes round in a circle is left.
const MAX_PAGES: usize = 10_000;

/// How long is tried again what passes by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// The shortest pause before that.
const AGAIN: Duration = Duration::from_millis(500);

/// Version of the interface by which a subscription is read.
const SUBSCRIPTIONS: &str = "2022-12-01";

/// How often something that takes long is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The shortest pause.
    pub least: Duration,
    /// The longest pause.
    pub most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            least: Duration::from_millis(100),
            most: Duration::from_secs(10),
        }
    }
}

impl Pace {
    /// The pause after so long: a twentieth of it, so that what takes an hour is not asked for 36,000 times, and
    /// nobody waits for more than a twentieth too long.
    #[must_use]
    pub fn after(&self, elapsed: Duration) -> Duration {
        (elapsed / 20).clamp(self.least, self.most)
    }
}

/// The control plane, for somebody who is signed in.
#[derive(Debug)]
pub struct Arm {
    pipeline: Pipeline,
    base: Url,
    pace: Pace,
}

/// How a request that changes something ended.
pub(crate) type Ended = Result<Value, Refused>;

impl Arm {
    /// # Errors
    /// Where the cloud's address is none, or the system gives no connections.
    pub fn new(cloud: &Cloud, sign_in: &SignIn) -> Result<Self> {
        let base = https("resource_manager", &cloud.resource_manager)?;
        let connections = petctl_storage::connections(STALL)?;
        let options = ClientOptions {
            transport: Some(Transport::new(connections)),
            retry: retries(4),
            ..ClientOptions::default()
        };
        let bearer = BearerTokenAuthorizationPolicy::new(sign_in.credential(), [cloud.scope()]);
        let pipeline = Pipeline::new(
            Some("petctl"),
            option_env!("CARGO_PKG_VERSION"),
            options,
            Vec::new(),
            vec![Arc::new(bearer)],
            None,
        );
        Ok(Self {
            pipeline,
            base,
            pace: Pace::default(),
        })
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Waits before a request that was refused for a short while is sent again; `false`: that has gone on for too long.
    pub(crate) async fn waits_since(&self, begun: Instant) -> bool {
        let elapsed = begun.elapsed();
        if elapsed > PATIENCE {
            return false;
        }
        tokio::time::sleep(self.pace.after(elapsed).max(AGAIN)).await;
        true
    }

    /// Signs in, once for all the requests that are sent at once afterwards: those would each try for themselves, and
    /// wait for one another.
    ///
    /// # Errors
    /// Where nobody is signed in, nobody answers, or the subscription is not there.
    pub async fn sign_in(&self, subscription: &str) -> Result<()> {
        let path = format!("/subscriptions/{subscription}");
        match self.read(&path, SUBSCRIPTIONS).await {
            Err(error) if error.is(Code::AzureSignIn) || error.is(Code::AzureUnreachable) => {
                Err(error)
            }
            // Who may work in one group need not be let look at the subscription.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What is there; `None`: nothing is.
    ///
    /// # Errors
    /// [`Error`], where the service does not answer or refuses.
    pub async fn get(&self, id: &ResourceId, api_version: &str) -> Result<Option<Value>> {
        self.read(id.as_str(), api_version).await
    }

    /// The same of what has a path, and is no resource: a provider.
    pub(crate) async fn read(&self, path: &str, api_version: &str) -> Result<Option<Value>> {
        let url = self.url(path, api_version)?;
        let answer = self.send(Verb::Get, url, None).await?;
        let refusal = Refused::of(&answer);
        match answer.status {
            200..=299 => Ok(Some(answer.body)),
            // A subscription that is not there holds nothing that could be made.
            404 if refusal.trouble() != Trouble::Subscription => Ok(None),
            _ => Err(refused(&format!("can't read {path}"), &refusal)),
        }
    }

    /// Asks for something by POST that is answered at once.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask(&self, path: &str, api_version: &str, query: &str) -> Result<Value> {
        let mut url = self.url(path, api_version)?;
        if !query.is_empty() {
            let whole = format!("{}&{query}", url.query().unwrap_or_default());
            url.set_query(Some(&whole));
        }
        let answer = self.send(Verb::Post, url, None).await?;
        if answer.status < 300 {
            return Ok(answer.body);
        }
        Err(refused(&format!("can't ask {path}"), &Refused::of(&answer)))
    }

    /// All entries of a list; none where what would have it is not there.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn list(&self, path: &str, api_version: &str) -> Result<Vec<Value>> {
        let mut url = self.url(path, api_version)?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.send(Verb::Get, url, None).await?;
            match answer.status {
                200..=299 => {}
                404 => return Ok(all),
                _ => {
                    return Err(refused(
                        &format!("can't list {path}"),
                        &Refused::of(&answer),
                    ));
                }
            }
            let page = answer.body.get("value").and_then(Value::as_array);
            all.extend(page.into_iter().flatten().cloned());
            match answer.body.get("nextLink").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => url = self.followed(next)?,
                _ => return Ok(all),
            }
        }
        let what = format!("the list {path} does not end");
        Err(Error::new(Code::AzureUnreachable, what))
    }

    /// PUT, and waits until it is done: what is there then.
    pub(crate) async fn put(
        &self,
        id: &ResourceId,
        api_version: &str,
        body: &Value,
    ) -> Result<Ended> {
        let method = Method::Put;
        self.change(method, id.as_str(), api_version, Some(body))
            .await
    }

    /// DELETE, and waits until nothing is there.
    pub(crate) async fn delete(&self, id: &ResourceId, api_version: &str) -> Result<Ended> {
        let method = Method::Delete;
        self.change(method, id.as_str(), api_version, None).await
    }

    /// POST of something that takes long, and waits until it is done.
    pub(crate) async fn post(&self, path: &str, api_version: &str) -> Result<Ended> {
        self.change(Method::Post, path, api_version, None).await
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        api_version: &str,
        body: Option<&Value>,
    ) -> Result<Ended> {
        let verb = match method {
            Method::Put => Verb::Put,
            Method::Delete => Verb::Delete,
            Method::Post => Verb::Post,
        };
        let url = self.url(path, api_version)?;
        let answer = self.send(verb, url.clone(), body).await?;
        let (operation, next) = Operation::begun(method, url.as_str(), &answer);
        self.follow(operation, next).await
    }

    /// Waits for what somebody else has begun, or this program before it was killed.
    pub(crate) async fn settled(
        &self,
        method: Method,
        id: &ResourceId,
        api_version: &str,
    ) -> Result<Ended> {
        let url = self.url(id.as_str(), api_version)?;
        let (operation, next) = Operation::of_resource(method, url.as_str());
        self.follow(operation, next).await
    }

    async fn follow(&self, mut operation: Operation, mut next: Next) -> Result<Ended> {
        let begun = Instant::now();
        let mut asked = false;
        loop {
            match next {
                Next::Done(value) => return Ok(Ok(value)),
                Next::Failed(refused) => return Ok(Err(refused)),
                Next::Ask { url, after } => {
                    // What the service asks for is heeded; what is asked for first may be over at once.
                    let pause = after.unwrap_or_else(|| self.pace.after(begun.elapsed()));
                    if asked || after.is_some() {
                        tokio::time::sleep(pause).await;
                    }
                    asked = true;
                    let answer = self.send(Verb::Get, self.followed(&url)?, None).await?;
                    // An answer that says "not now" says nothing about the operation.
                    if answer.status >= 400 && Refused::of(&answer).trouble() == Trouble::Later {
                        next = Next::Ask {
                            url,
                            after: answer.retry_after(),
                        };
                        continue;
                    }
                    next = operation.answered(&answer);
                }
            }
        }
    }

    fn url(&self, path: &str, api_version: &str) -> Result<Url> {
        let text = format!(
            "{}{path}{}api-version={api_version}",
            self.base.as_str().trim_end_matches('/'),
            if path.contains('?') { '&' } else { '?' }
        );
        Url::parse(&text)
            .map_err(|error| Error::new(Code::Bug, format!("{text} is no address")).because(&error))
    }

    /// An address that the service has named. The token goes nowhere but to the control plane itself.
    fn followed(&self, address: &str) -> Result<Url> {
        let foreign = || {
            let what = format!(
                "the service at {} leads to {address}, which is not its own",
                self.base
            );
            Error::new(Code::AzureUnreachable, what)
                .fix("look at what stands between this machine and Azure, such as a proxy")
        };
        let url = self.base.join(address).map_err(|_| foreign())?;
        let (own, host) = (
            self.base.host_str().unwrap_or_default(),
            url.host_str().unwrap_or_default(),
        );
        // Regions have their own: westeurope.management.azure.com.
        let is_own = host.eq_ignore_ascii_case(own) && url.port() == self.base.port()
            || host.to_ascii_lowercase().ends_with(&format!(".{own}"));
        if url.scheme() == "https" && is_own {
            Ok(url)
        } else {
            Err(foreign())
        }
    }

    async fn send(&self, verb: Verb, url: Url, body: Option<&Value>) -> Result<Answer> {
        let shown = format!("{} {}", verb.as_ref(), url.path());
        let mut request = Request::new(url, verb);
        request.insert_header("accept", "application/json");
        if let Some(body) = body {
            request.insert_header("content-type", "application/json");
            request.set_body(Body::from(body.to_string()));
        } else if verb == Verb::Post {
            request.insert_header("content-length", "0");
        }
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let context = Context::new();
        let sent = self
            .pipeline
            .send(&context, &mut request, Some(options))
            .await;
        let answer = sent.map_err(|error| self.unreachable(&shown, &error))?;
        let (status, headers, bytes) = answer.deconstruct();
        let headers: BTreeMap<String, String> = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_ascii_lowercase(),
                    value.as_str().to_owned(),
                )
            })
            .collect();
        let status = u16::from(status);
        tracing::debug!(%shown, status, "answered");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(body) => body,
                Err(_) if status >= 300 => Value::Null,
                Err(_) => return Err(self.foreign(&shown, status, &headers)),
            }
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn unreachable(&self, shown: &str, error: &azure_core::Error) -> Error {
        if let Some(refused) = SignIn::refusal(error) {
            return refused;
        }
        let host = self.base.host_str().unwrap_or_default();
        Error::new(
            Code::AzureUnreachable,
            format!("Azure's control plane does not answer: {shown} at {host}"),
        )
        .because(error)
        .fix("look at the network, and at HTTPS_PROXY and NO_PROXY where a proxy is needed; then give the command again")
    }

    fn foreign(&self, shown: &str, status: u16, headers: &BTreeMap<String, String>) -> Error {
        let kind = headers
            .get("content-type")
            .map_or("nothing said of it", String::as_str);
        let host = self.base.host_str().unwrap_or_default();
        Error::new(
            Code::AzureUnreachable,
            format!("somebody else answers in the place of Azure's control plane: {shown} at {host}: HTTP {status}, {kind}"),
        )
        .fix("a proxy or a network that asks for a login may stand in between: open any page in a browser")
    }
}

/// So many more tries, for what passes within seconds. What a service asks for by `Retry-After` is heeded beside it.
pub(crate) fn retries(max_retries: u32) -> RetryOptions {
    RetryOptions::exponential(ExponentialRetryOptions {
        max_retries,
        ..ExponentialRetryOptions::default()
    })
}

/// An address of Azure, as a key of the place says it.
pub(crate) fn https(key: &str, address: &str) -> Result<Url> {
    let wrong = |why: &str| {
        let what = format!("`{key}` of the place is {address}: {why}");
        Error::new(Code::BadPlace, what).fix("write it like https://management.azure.com")
    };
    let url = Url::parse(address).map_err(|_| wrong("it is no address"))?;
    // A token on plain text would be everybody's.
    if url.scheme() != "https" {
        return Err(wrong("it is not https"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;

    #[test]
    fn nobody_waits_for_more_than_a_twentieth_too_long() {
        let pace = Pace::default();
        for (elapsed_s, pause_ms) in [(0, 100), (1, 100), (10, 500), (100, 5_000), (4_000, 10_000)]
        {
            assert_eq!(
                pace.after(Duration::from_secs(elapsed_s)),
                Duration::from_millis(pause_ms)
            );
        }
    }
}
