//! Which Azure: the public one, a sovereign one, or an own one (Azure Stack).

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};

/// Where the control plane and the sign-in are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The control plane, such as `https://management.azure.com`.
    pub resource_manager: String,
    /// Who signs people and programs in, such as `https://login.microsoftonline.com`.
    pub authority: String,
}

impl Default for Cloud {
    fn default() -> Self {
        Self::named("public").unwrap_or(Self {
            resource_manager: String::new(),
            authority: String::new(),
        })
    }
}

impl Cloud {
    /// One of Microsoft's: `public`, `us-government`, `china`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (resource_manager, authority) = match name {
            "public" => (
                "https://management.azure.com",
                "https://login.microsoftonline.com",
            ),
            "us-government" => (
                "https://management.usgovcloudapi.net",
                "https://login.microsoftonline.us",
            ),
            "china" => (
                "https://management.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
            ),
            _ => return None,
        };
        Some(Self {
            resource_manager: resource_manager.to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// What a token for the control plane is asked for.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("{}/.default", self.resource_manager)
    }

    pub(crate) fn configuration(&self) -> CloudConfiguration {
        let mut custom = CustomConfiguration::default();
        custom.authority_host.clone_from(&self.authority);
        custom.into()
    }
}
