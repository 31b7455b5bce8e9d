//! Kubeconfig files, whole in themselves: they name no other file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// How the API server is to know who asks.
pub enum Access {
    /// By a certificate and its key, both in PEM.
    Certificate {
        /// The certificate.
        certificate: Vec<u8>,
        /// Its key.
        key: Vec<u8>,
    },
    /// By a ServiceAccount's token.
    Token(String),
}

/// What a kubeconfig says.
pub struct Kubeconfig {
    /// The API server's address.
    pub server: String,
    /// Who vouches for it, in PEM.
    pub authority: Vec<u8>,
    /// The name of its only context.
    pub context: String,
    /// The namespace where none is named.
    pub namespace: String,
    /// Who asks.
    pub access: Access,
}

impl Kubeconfig {
    /// The file's text. It is JSON, which YAML holds.
    pub fn text(&self) -> String {
        let user = match &self.access {
            Access::Certificate { certificate, key } => json!({
                "client-certificate-data": base64(certificate),
                "client-key-data": base64(key),
            }),
            Access::Token(token) => json!({"token": token}),
        };
        let cluster = json!({
            "server": self.server,
            "certificate-authority-data": base64(&self.authority),
        });
        let context = json!({"cluster": "bed", "user": "user", "namespace": self.namespace});
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": self.context, "context": context}],
            "current-context": self.context,
        })
        .to_string()
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
