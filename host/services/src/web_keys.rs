//! The key set of an issuer, fetched from its address.

use std::sync::Arc;

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        BoxFuture,
        keys::{KeySource, NoKeySet},
    },
    web_address::WebAddress,
};

use crate::web::{self, Authorities};

/// A set that is larger is a mistake, or an attack: one of ten keys has some 5 KiB.
const MOST: usize = 1 << 20;

/// The set at one address.
#[derive(Debug, Clone)]
pub struct WebKeys(Arc<(WebAddress, Authorities)>);

impl WebKeys {
    /// The set at `address`, from whom these authorities vouch for.
    pub fn new(address: WebAddress, authorities: Authorities) -> Self {
        Self(Arc::new((address, authorities)))
    }
}

impl KeySource for WebKeys {
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, NoKeySet>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            match failpoint!("services.key_set") {
                Some(Action::Error) => return Err(NoKeySet("injected by a failpoint".to_owned())),
                Some(action) => tokio::time::sleep(action.pause().unwrap_or_default()).await,
                None => {}
            }
            // For a broken twin: a host that reads on for as long as it is sent something.
            let bounded = failpoint!("services.key_set.limit") != Some(Action::Off);
            let (address, authorities) = &*this;
            let set = web::get(address, authorities, if bounded { MOST } else { usize::MAX }).await;
            set.map_err(NoKeySet)
        })
    }
}
