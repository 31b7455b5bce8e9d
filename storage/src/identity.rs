//! Entra identities: of the pod, of the machine, of the developer's own login.

use crate::error::{StorageError, StorageProblem};
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

/// Where a virtual machine asks for its identity.
const MACHINE_IDENTITY: &str = "169.254.169.254:80";
/// How long that may take to accept a connection; outside of Azure nothing does.
const MACHINE_IDENTITY_TIMEOUT: Duration = Duration::from_millis(500);

/// The first identity that there is. Only the pod's can be told without asking anybody.
pub(crate) fn find(client_id: Option<&str>) -> Result<Arc<dyn TokenCredential>, StorageError> {
    if std::env::var_os("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        let options = WorkloadIdentityCredentialOptions {
            client_id: client_id.map(str::to_owned),
            ..WorkloadIdentityCredentialOptions::default()
        };
        let credential = WorkloadIdentityCredential::new(Some(options)).map_err(|error| {
            StorageError::new(
                StorageProblem::NoCredential,
                format!("the pod's workload identity can't be used: {error}"),
            )
            .fix("look at the service account's azure.workload.identity annotations, or set `client_id` in [storage]")
        })?;
        return Ok(credential);
    }
    Ok(Arc::new(Found {
        client_id: client_id.map(str::to_owned),
        credential: OnceCell::new(),
    }))
}

/// The machine's identity where there is one, else the developer's tools; found out at the first request.
#[derive(Debug)]
struct Found {
    client_id: Option<String>,
    credential: OnceCell<Arc<dyn TokenCredential>>,
}

impl Found {
    async fn look(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        if std::env::var_os("IDENTITY_ENDPOINT").is_some() || is_azure_machine().await {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: self.client_id.clone().map(UserAssignedId::ClientId),
                ..ManagedIdentityCredentialOptions::default()
            };
            return Ok(ManagedIdentityCredential::new(Some(options))?);
        }
        Ok(DeveloperToolsCredential::new(None)?)
    }
}

#[async_trait]
impl TokenCredential for Found {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let credential = self.credential.get_or_try_init(|| self.look()).await?;
        credential.get_token(scopes, options).await.map_err(|error| {
            let refused = StorageError::new(
                StorageProblem::NoCredential,
                "no credential for the storage account was found: no SAS, no account key, and no identity of this \
                 machine or of `az login` gave a token",
            )
            .fix("run `az login`, or name a SAS or a key: `sas_token = \"env:NAME\"` in [storage]");
            tracing::debug!(%error, "no identity");
            azure_core::Error::new(ErrorKind::Credential, refused)
        })
    }
}

async fn is_azure_machine() -> bool {
    let connected = TcpStream::connect(MACHINE_IDENTITY);
    matches!(
        tokio::time::timeout(MACHINE_IDENTITY_TIMEOUT, connected).await,
        Ok(Ok(_))
    )
}
