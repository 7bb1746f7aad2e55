//! Deletes threads that nobody used for as long as the configuration keeps them, tenant by tenant.

use std::{sync::Arc, time::Duration};

use agent_host_config::StoreConfig;
use agent_host_core::ports::{
    clock::Clock,
    store::{Deletion, Store, Tenants},
};
use agent_host_telemetry::happening::ThreadsExpired;

/// How often threads that are past their time are looked for.
const EVERY: Duration = Duration::from_secs(600);
/// Threads deleted together: messages wait for that.
const BATCH: usize = 20;
/// Between two batches.
const PAUSE: Duration = Duration::from_millis(200);

/// Whose threads are kept for how long.
type Rule = (Tenants, Duration);

/// Deletes for as long as the host lives; whom no rule is for keeps everything.
pub(crate) fn keep_to(config: &StoreConfig, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) {
    let rules = rules(config);
    if rules.is_empty() {
        return;
    }
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    tokio::spawn(async move {
        loop {
            for (of, kept) in &rules {
                expire(store.as_ref(), of, *kept, clock.as_ref()).await;
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// Until nothing is left, or the store does not work: whoever needs it says so.
async fn expire(store: &dyn Store, of: &Tenants, kept: Duration, clock: &dyn Clock) {
    // A time before the clock began: nothing is so old.
    let Some(since) = clock.now().checked_sub(kept) else { return };
    while let Ok(threads @ 1..) = store.delete(Deletion::Unused { of: of.clone(), since, limit: BATCH }).await
    {
        ThreadsExpired { threads }.emit();
        tokio::time::sleep(PAUSE).await;
    }
}

/// A tenant with a time of its own has no other; zero keeps.
fn rules(config: &StoreConfig) -> Vec<Rule> {
    let own = config.tenant_retention.keys().map(|tenant| Arc::from(tenant.as_str())).collect();
    let tenants = config.tenant_retention.iter();
    tenants
        .map(|(tenant, kept)| (Tenants::Only(tenant.as_str().into()), *kept))
        .chain([(Tenants::Except(own), config.retention)])
        .filter(|(_, kept)| !kept.is_zero())
        .collect()
}

#[cfg(test)]
mod tests {
    use agent_host_config::Durability;

    use super::*;

    fn config(retention: u64, tenants: &[(&str, u64)]) -> StoreConfig {
        let of = |(tenant, days): &(&str, u64)| ((*tenant).to_owned(), Duration::from_secs(days * 86_400));
        StoreConfig {
            path: "data".into(),
            durability: Durability::Durable,
            patience: Duration::from_secs(3),
            retention: Duration::from_secs(retention * 86_400),
            tenant_retention: tenants.iter().map(of).collect(),
        }
    }

    #[test]
    fn each_tenant_has_one_rule_or_none() {
        for (config, kept) in [
            (config(0, &[]), [None, None, None]),
            (config(9, &[]), [Some(9), Some(9), Some(9)]),
            (config(0, &[("a", 3)]), [Some(3), None, None]),
            (config(9, &[("a", 3), ("b", 0)]), [Some(3), None, Some(9)]),
        ] {
            let rules = rules(&config);
            for (tenant, days) in ["a", "b", "c"].into_iter().zip(kept) {
                let own: Vec<_> = rules.iter().filter(|(of, _)| of.has(tenant)).collect();
                let found: Vec<u64> = own.iter().map(|(_, kept)| kept.as_secs() / 86_400).collect();
                assert_eq!(found, Vec::from_iter(days), "{tenant} of {config:?}");
            }
        }
    }
}
