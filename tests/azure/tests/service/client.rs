//! A client by hand: one connection for each request, trust in the service's CA only.

use petctl_test_azure::{Azure, CLIENT, SECRET, SUBSCRIPTION, TENANT};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The version of clusters.
pub(crate) const AKS: &str = "2026-05-01";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Got {
    pub(crate) fn code(&self) -> &str {
        let nested = self
            .body
            .pointer("/error/code")
            .or_else(|| self.body.get("code"));
        nested.and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        let nested = self
            .body
            .pointer("/error/message")
            .or_else(|| self.body.get("message"));
        nested.and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> &str {
        let state = self.body.pointer("/properties/provisioningState");
        state.and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }
}

fn read(answer: &str) -> Option<Got> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some(Got {
        status,
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

/// Somebody who asks.
pub(crate) struct Client {
    port: u16,
    tls: Arc<ClientConfig>,
    pub(crate) token: String,
}

impl Client {
    /// One without a token.
    pub(crate) fn stranger(azure: &Azure) -> Self {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_file_iter(azure.ca_file()).expect("a CA") {
            roots.add(ca.expect("a CA")).expect("a CA");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("an answer")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let endpoint = azure.endpoint();
        let port = endpoint.rsplit(':').next().expect("a port");
        Self {
            port: port.parse().expect("a port"),
            tls: Arc::new(tls),
            token: String::new(),
        }
    }

    /// The default client, signed in.
    pub(crate) fn new(azure: &Azure) -> Self {
        let mut client = Self::stranger(azure);
        let got = client
            .sign_in(TENANT, &secret_form(CLIENT, SECRET))
            .expect(200);
        client.token = got.body["access_token"]
            .as_str()
            .expect("a string")
            .to_owned();
        client
    }

    pub(crate) fn sign_in(&self, tenant: &str, form: &str) -> Got {
        self.send("POST", &format!("/{tenant}/oauth2/v2.0/token"), &[], form)
            .expect("an answer")
    }

    /// Sends what it is given; the target may be a whole address.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Got> {
        let own = format!("https://localhost:{}", self.port);
        let target = target.strip_prefix(&own).unwrap_or(target);
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session =
            ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, TcpStream::connect(("127.0.0.1", self.port))?);
        let mut text =
            format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        if !self.token.is_empty() {
            text.push_str(&format!("authorization: Bearer {}\r\n", self.token));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        read(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(crate) fn ask(&self, method: &str, path: &str, version: &str, body: Option<&Value>) -> Got {
        let join = if path.contains('?') { '&' } else { '?' };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(
            method,
            &format!("{path}{join}api-version={version}"),
            &[],
            &body,
        )
        .expect("an answer")
    }

    pub(crate) fn get(&self, path: &str, version: &str) -> Got {
        self.ask("GET", path, version, None)
    }

    pub(crate) fn put(&self, path: &str, version: &str, body: &Value) -> Got {
        self.ask("PUT", path, version, Some(body))
    }

    /// Follows an operation to its end: the last answer.
    pub(crate) fn follow(&self, begun: &Got) -> Got {
        let until = Instant::now() + Duration::from_secs(10);
        let by_status = begun.headers.get("azure-asyncoperation");
        let url = by_status
            .or_else(|| begun.headers.get("location"))
            .expect("an address to ask at");
        loop {
            let got = self.send("GET", url, &[], "").expect("an answer");
            let goes_on = got.status == 202 || got.body["status"] == json!("InProgress");
            if !goes_on {
                return got;
            }
            assert!(Instant::now() < until, "it does not end: {:#}", got.body);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A group that is there.
    pub(crate) fn group(&self) -> String {
        let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/trials");
        let body = json!({ "location": "eastus", "tags": { "petctl": "place" } });
        let got = self.put(&group, "2025-04-01", &body);
        assert!(matches!(got.status, 200 | 201), "{:#}", got.body);
        group
    }

    /// A cluster that is there, and its id.
    pub(crate) fn cluster(&self) -> String {
        let cluster = format!(
            "{}/providers/Microsoft.ContainerService/managedClusters/c",
            self.group()
        );
        let begun = self.put(&cluster, AKS, &cluster_body("eastus")).expect(201);
        assert_eq!(self.follow(&begun).body["status"], "Succeeded");
        cluster
    }

    /// All pages of a list, and how many there were.
    pub(crate) fn pages(&self, path: &str, version: &str) -> (Vec<Value>, usize) {
        let mut got = self.get(path, version).expect(200);
        let (mut all, mut pages) = (Vec::new(), 1);
        loop {
            all.extend(got.body["value"].as_array().expect("a list").clone());
            let Some(next) = got.body["nextLink"].as_str().map(str::to_owned) else {
                return (all, pages);
            };
            got = self
                .send("GET", &next, &[], "")
                .expect("an answer")
                .expect(200);
            pages += 1;
        }
    }
}

pub(crate) fn secret_form(client: &str, secret: &str) -> String {
    let secret = secret.replace(' ', "+");
    format!(
        "grant_type=client_credentials&client_id={client}&client_secret={secret}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
    )
}

pub(crate) fn cluster_body(region: &str) -> Value {
    wanted_cluster(region).body()
}

pub(crate) fn wanted_cluster(region: &str) -> petctl_azure::Cluster {
    petctl_azure::Cluster {
        location: region.to_owned(),
        dns_prefix: "trials".to_owned(),
        tier: "Free".to_owned(),
        version: None,
        system: petctl_azure::NodePool {
            name: "sys".to_owned(),
            system: true,
            size: "Standard_D4ds_v5".to_owned(),
            nodes: petctl_azure::Nodes::Fixed(1),
            spot: false,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            driver: None,
            mig: None,
            zones: Vec::new(),
        },
        tags: BTreeMap::from([("petctl".to_owned(), "place".to_owned())]),
    }
}

/// A pool of spot nodes with GPUs, as petctl asks for it.
pub(crate) fn spot_pool(least: u32) -> petctl_azure::NodePool {
    petctl_azure::NodePool {
        name: "gpu".to_owned(),
        system: false,
        size: "Standard_NC24ads_A100_v4".to_owned(),
        nodes: petctl_azure::Nodes::Between(least, 8),
        spot: true,
        labels: BTreeMap::from([("petctl".to_owned(), "gpu".to_owned())]),
        taints: vec!["sku=gpu:NoSchedule".to_owned()],
        driver: Some(false),
        mig: None,
        zones: Vec::new(),
    }
}
