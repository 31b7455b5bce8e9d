//! A container of one test, and how its job gets there.

use crate::blob::{Azurite, Blobs, Fault, Matching, Proxy};
use crate::world::World;

/// A container, on a service of the test's own or on the shared one.
#[derive(Debug)]
pub struct Cloud<'a> {
    azurite: &'a Azurite,
    proxy: Option<Proxy>,
    container: String,
}

impl<'a> Cloud<'a> {
    /// A container on the shared service, with the account's key in the environment of the world.
    pub fn shared(world: &World) -> Self {
        Self::on(Azurite::shared(), world)
    }

    /// A container on that service, with the account's key in the environment of the world.
    pub fn on(azurite: &'a Azurite, world: &World) -> Self {
        let letters: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(10)
            .collect();
        let cloud = Self {
            azurite,
            proxy: None,
            container: format!("it-{}", letters.to_lowercase()),
        };
        cloud.blobs().create();
        world.set_env("AZURE_STORAGE_ACCOUNT", azurite.account());
        world.set_env("AZURE_STORAGE_KEY", azurite.key());
        cloud
    }

    /// petctl reaches it through a proxy only.
    #[must_use]
    pub fn through_proxy(mut self, seed: u64) -> Self {
        self.proxy = Some(Proxy::start(self.azurite.address(), seed));
        self
    }

    /// The proxy.
    ///
    /// # Panics
    /// Where there is none.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it was made with a proxy")
    }

    /// The service.
    pub fn azurite(&self) -> &'a Azurite {
        self.azurite
    }

    /// Its blobs, past petctl and the proxy.
    pub fn blobs(&self) -> Blobs {
        self.azurite.blobs(&self.container)
    }

    /// The address of the service, as petctl shall use it.
    pub fn endpoint(&self) -> String {
        let account = self.azurite.account();
        self.proxy
            .as_ref()
            .map_or_else(|| self.azurite.endpoint(), |proxy| proxy.endpoint(account))
    }

    /// `az://CONTAINER/NAME`
    pub fn address(&self, name: &str) -> String {
        format!("az://{}/{name}", self.container)
    }

    /// Lines of a job file's `[storage]`: outputs below `out`, inputs below `in` where wanted.
    pub fn storage(&self, with_input: bool) -> String {
        let input = match with_input {
            true => format!("input = {:?}\n", self.address("in")),
            false => String::new(),
        };
        format!(
            "{input}output = {:?}\nendpoint = {:?}\n",
            self.address("out"),
            self.endpoint()
        )
    }

    /// Writes inputs `in/NAME`, each of so many bytes that say its name over and over.
    pub fn fill(&self, names: &[&str], bytes: usize) {
        let blobs = self.blobs();
        for name in names {
            let content: Vec<u8> = format!("{name}\n").bytes().cycle().take(bytes).collect();
            blobs.put(&format!("in/{name}"), &content);
        }
    }

    /// The proxy holds the next requests of that method whose target has that text.
    pub fn hold(&self, method: &'static str, has: &str, fault: Fault) {
        self.proxy().strike_all(Matching::of(method, has), fault);
    }
}
